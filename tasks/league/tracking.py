"""Progress of a sync as one bar: tasks that run inside another one add to its counts."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

import httpx

from tasks.foundation.lifecycle import logger
from tasks.foundation.progress import Progress, ProgressReport


class Tracker:
    """Step, counts and the match at hand of one run."""

    def __init__(self) -> None:
        self._report = ProgressReport()
        self._step = ""
        self._from, self._to = 0.0, 0.0
        #: Total, processed and failed of the last step that had items.
        self._counts = 0, 0, 0
        self.total = 0
        self.processed = 0
        self.failed = 0

    async def step(self, name: str, begins: float, ends: float, *, total: int = 0) -> None:
        """Begin a step. A step that begins at the end, such as `done`, shows the counts of the last one that had items.

        Args:
            name: shown to people.
            begins: percent of the whole at which it begins.
            ends: percent at which it ends.
            total: how many items it has.
        """
        if self.total:
            self._counts = self.total, self.processed, self.failed
        self._step, self._from, self._to = name, begins, ends
        self.total, self.processed, self.failed = self._counts if begins >= 100 else (total, 0, 0)
        await self._show(None)

    async def item(self, current: str, *, failed: bool) -> None:
        """Count an item of the step.

        Args:
            current: its match id.
            failed: it is not stored, and will be tried again.
        """
        self.processed += 1
        self.failed += failed
        await self._show(current)

    async def _show(self, current: str | None) -> None:
        # A batch that is repeated after an outage passes its items twice.
        share = min(1.0, self.processed / self.total) if self.total else 0.0
        percent = self._from + (self._to - self._from) * share
        progress = Progress(
            step=self._step,
            percent=round(percent, 1),
            total=self.total,
            processed=self.processed,
            failed=self.failed,
            current=current,
        )
        try:
            await self._report.update(progress)
        except httpx.HTTPError as error:
            # Prefect's API is away: what is done stands in the ledger, and an hour's work is worth more than its bar.
            logger(step=self._step).warning("progress cannot be shown", error=type(error).__name__)


_tracker: ContextVar[Tracker | None] = ContextVar("league_tracker", default=None)


@contextmanager
def tracking() -> Iterator[Tracker]:
    """A tracker for this task and those that run inside it."""
    tracker = Tracker()
    token = _tracker.set(tracker)
    try:
        yield tracker
    finally:
        _tracker.reset(token)


@asynccontextmanager
async def items_tracked(total: int) -> AsyncIterator[Tracker]:
    """The tracker of the task that this one runs in, which knows the whole; else one of its own."""
    if (whole := _tracker.get()) is not None:
        yield whole
        return
    with tracking() as tracker:
        await tracker.step("fetch matches and timelines", 0, 100, total=total)
        yield tracker
