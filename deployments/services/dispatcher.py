"""Starts a flow run for every association that becomes READY, as soon as Prefect's API answers.

A thread beside the listener. It reads what to start from the ledger and writes there what it started, so nothing is
lost when the API is down, the listener is killed, or both: it goes on where it stopped, and the sweep flow does the
same. The run's idempotency key makes starting it twice harmless.
"""

import logging
import threading

from blocks.engine import session
from tasks.dicom.core.dispatch import never_dispatched
from tasks.dicom.core.tables import DOMAIN
from tasks.dicom.runs import start_runs

log = logging.getLogger("quintet.dispatcher")

#: Between two looks at the ledger when nobody wakes us: another process may have made an association READY.
IDLE_SECONDS = 5.0
#: Between two tries while the API is away.
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.5, 10.0


class Dispatcher:
    """The dispatching thread; `wake` after an association became READY."""

    def __init__(self) -> None:
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the ledger now."""
        self._wake.set()

    def stop(self, timeout: float = 5.0) -> None:
        """Finish the request under way and end the thread."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        wait, away = IDLE_SECONDS, False
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                started = self._dispatch_all()
            except Exception as error:  # noqa: BLE001 - whatever it is, the listener receives on and we try again
                # Said once, not every few seconds; the ledger holds what waits.
                log.log(
                    logging.DEBUG if away else logging.WARNING,
                    "cannot start flow runs now (%s: %s); received files wait in the ledger",
                    type(error).__name__,
                    error,
                )
                wait = min(wait * 2, LAST_RETRY_SECONDS) if away else FIRST_RETRY_SECONDS
                away = True
                self._stopping.wait(wait)
                continue
            if away:
                log.warning("Prefect's API answers again; started %d waiting flow runs", started)
            wait, away = IDLE_SECONDS, False
            self._wake.wait(wait)

    def _dispatch_all(self) -> int:
        with session(DOMAIN, read_only=True) as opened:
            waiting = never_dispatched(opened)
        return start_runs(waiting) if waiting else 0
