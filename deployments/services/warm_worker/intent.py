"""Telling a run why it is being ended.

Prefect's engine ends on SIGTERM: as Crashed, unless it knows that the reason is a cancellation. The warm worker sends
SIGUSR1 just before SIGTERM to say so; Python runs the two handlers in that order.
"""

import os
import signal

CANCEL_SIGNAL = signal.SIGUSR1


def listen_for_cancellation() -> None:
    """Have this process, which runs a flow, take `CANCEL_SIGNAL` as the reason of the SIGTERM that follows."""
    from prefect._internal import control_listener

    def remember(signum: int, frame: object) -> None:
        # Prefect's own supervisors say it over a TCP connection for each run; the engine only reads the result.
        control_listener._set_intent("cancel")

    signal.signal(CANCEL_SIGNAL, remember)


def cancel(pid: int) -> None:
    """Ask the run in process `pid` to end as Cancelled.

    Raises:
        ProcessLookupError: it has ended.
    """
    os.kill(pid, CANCEL_SIGNAL)
    os.kill(pid, signal.SIGTERM)
