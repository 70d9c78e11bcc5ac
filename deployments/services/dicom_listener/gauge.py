"""How full disk and backlog are, asked for every instance and watched in between."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tasks.dicom.core.backpressure import Level, Load, Pressure, Watermarks, backlog, free_disk, judge
from tasks.dicom.core.receiving import Transactions

log = logging.getLogger("quintet.listener")

# Counting rows costs a query; in between, what came in since is added.
_COUNT_SECONDS = 5.0


class Gauge:
    """The pressure now. Safe for many threads."""

    def __init__(
        self,
        folder: Path,
        begin: Transactions,
        marks: Watermarks,
        *,
        on_change: Callable[[Pressure], None],
    ) -> None:
        """Measure for the first time.

        Args:
            folder: on the file system that is watched.
            begin: opens a transaction of the ledger.
            marks: where to alert and where to stop.
            on_change: called when the level changes, by whichever thread notices it; must return at once.
        """
        self._folder = folder
        self._begin = begin
        self._marks = marks
        self._on_change = on_change
        self._lock = threading.Lock()
        self._level = Level.NORMAL
        self._counted_at = float("-inf")
        self._counted = 0
        self._since = 0

    def arrived(self) -> None:
        """One more instance waits."""
        with self._lock:
            self._since += 1

    def accepts(self) -> bool:
        """Whether one more instance may be taken, as of now."""
        return self.measure().accepts

    def measure(self) -> Pressure:
        """The pressure now; tells when the level has changed."""
        with self._lock:
            waiting = self._counted + self._since
        try:
            free, total = free_disk(self._folder)
        except OSError as error:
            log.critical("cannot tell how full the disk is: %s", error.strerror)
            free, total = 0, 0
        pressure = judge(Load(free, total, waiting), self._marks)
        with self._lock:
            changed, self._level = self._level is not pressure.level, pressure.level
        if changed:
            self._on_change(pressure)
        return pressure

    def count(self) -> None:
        """Count the backlog again if it is time; keeps the last number while the ledger does not answer."""
        if time.monotonic() - self._counted_at < _COUNT_SECONDS:
            return
        with self._lock:
            before = self._since
        try:
            with self._begin() as session:
                counted = backlog(session)
        except Exception as error:  # noqa: BLE001 - any driver's; the committer says more when it matters
            log.warning("cannot count the backlog now: %s", type(error).__name__)
            return
        with self._lock:
            self._counted, self._since = counted, self._since - before
        self._counted_at = time.monotonic()
