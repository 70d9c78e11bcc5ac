"""Telling a run why it is being ended, or that it is to end by itself.

Prefect's engine ends on SIGTERM: as Crashed, unless it knows that the reason is a cancellation. The warm worker sends
SIGUSR1 just before SIGTERM to say so; Python runs the two handlers in that order. SIGUSR2 alone asks a long-lived run
to end by itself (`tasks.foundation.ending`).
"""

import os
import signal

CANCEL_SIGNAL = signal.SIGUSR1
END_SIGNAL = signal.SIGUSR2


def listen() -> None:
    """Have this process, which runs a flow, take the two signals for what they say.

    `CANCEL_SIGNAL` is the reason of the SIGTERM that follows; `END_SIGNAL` is the wish that the run ends by itself.
    """
    from prefect._internal import control_listener

    from tasks.foundation.ending import ask_to_end

    def remember(signum: int, frame: object) -> None:
        # Prefect's own supervisors say it over a TCP connection for each run; the engine only reads the result.
        control_listener._set_intent("cancel")

    signal.signal(CANCEL_SIGNAL, remember)
    signal.signal(END_SIGNAL, lambda signum, frame: ask_to_end())


def cancel(pid: int) -> None:
    """Ask the run in process `pid` to end as Cancelled.

    Raises:
        ProcessLookupError: it has ended.
    """
    os.kill(pid, CANCEL_SIGNAL)
    os.kill(pid, signal.SIGTERM)
