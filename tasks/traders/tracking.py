"""Keeps the positions of all who trade current: polls whoever traded since the last poll, and fetches histories.

Needs the exchange (`blocks/exchange`), the traders ledger and the rate limiter's. One run at a time, by a lease.
Between polls the stream keeps positions current at no weight; a poll's snapshot is compared with what it made of them.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import httpx
from pydantic import BaseModel, ConfigDict

from blocks.engine import session
from blocks.exchange.info import ExchangeClient
from blocks.exchange.limits import INFO_ROUTE
from blocks.rate_mirror import read_uses
from blocks.settings import settings
from tasks.foundation.core.columns import utc_now
from tasks.foundation.lifecycle import logger
from tasks.foundation.progress import Progress, ProgressReport
from tasks.foundation.retries import MAINTENANCE
from tasks.foundation.writing import Writer
from tasks.traders.api import exchange, exchange_client
from tasks.traders.core.budget import permitted
from tasks.traders.core.due import Queue, queue
from tasks.traders.core.tables import DOMAIN, Change
from tasks.traders.core.tracking_runs import TRACKING, Mark, Since, begin_run, end_run, mark, since
from tasks.traders.leasing import leased
from tasks.traders.polling import Done, Polling
from tasks.traders.positions import advance_positions
from tasks.traders.publishing import Publisher

#: Seconds between two looks at how far it is.
_SHOW_SECONDS = 2.0


class TrackingError(ConnectionError):
    """The exchange answered nothing in the whole time of a run."""


class TrackingResult(BaseModel):
    """What one run did. Where `held_by` is set another one is running, and this one did nothing."""

    model_config = ConfigDict(frozen=True)

    held_by: str | None = None
    run_id: int | None = None
    #: Polls that were due at the beginning, and those that still are.
    due: int = 0
    left: int = 0
    polled: int = 0
    #: They wait, each with its reason.
    failed: int = 0
    histories: int = 0
    failed_histories: int = 0
    #: Since the run began, whoever did it: discovery reconciles and folds as well.
    compared: int = 0
    drifted: int = 0
    events: int = 0
    events_by_change: dict[Change, int] = {}
    published: int = 0
    #: Why nothing can be published, where that is so; what waits is kept.
    publishing_error: str | None = None
    #: Spent, and permitted in the time that the run took.
    weight: int = 0
    permitted_weight: int = 0
    http_429: int = 0
    seconds: float = 0.0


@MAINTENANCE.task
async def track_traders_batch(
    batch_size: int | None = None, seconds: float | None = None, full: bool = False
) -> TrackingResult:
    """Poll the positions of traders who were seen trading since their last poll, the oldest first.

    Traders who were never polled come first of all. Histories that are due get their share of the weight
    (`QUINTET_TRADERS__HISTORY_SHARE`) while both wait. Stored trades and snapshots are made into positions and events
    before and after, and events published.

    Args:
        batch_size: polls at most, and histories at most; None: as many as the exchange permits in the time.
        seconds: time after which nothing new is begun; None: `QUINTET_TRADERS__TRACK_SECONDS`.
        full: poll everybody, whether seen trading or not.

    Raises:
        ValueError: `batch_size` or `seconds` is not above 0.
        TrackingError: the exchange answered nothing in all the time.
        ExchangeUnavailableError: it gave no answer for longer than the patience.
        LedgerError: a database cannot be used.
    """
    seconds = settings().traders.track_seconds if seconds is None else seconds
    if seconds <= 0 or (batch_size is not None and batch_size < 1):
        raise ValueError("batch_size and seconds have to be above 0")
    async with leased(TRACKING) as hold:
        if not hold.ours:
            return TrackingResult(held_by=hold.held_by)
        async with Publisher() as publisher, exchange_client() as client:
            run = _Run(publisher, client)
            await run.begin(full)
            try:
                async with Writer(DOMAIN) as writer:
                    polling = Polling(
                        client,
                        writer,
                        settings().traders,
                        seconds=seconds,
                        batch_size=batch_size,
                        full=full,
                        goes_on=lambda: hold.ours,
                    )
                    run.done = polling.done
                    async with run.shown(seconds):
                        await polling.run()
            finally:
                result = await run.end(full)
    if result.due and client.counts.requests > run.requests and not run.answered:
        raise TrackingError(f"the exchange answered nothing in {result.seconds:.0f} s")
    return result


class _Run:
    """The row of one run, and what stands around its polls."""

    def __init__(self, publisher: Publisher, client: ExchangeClient) -> None:
        self.done = Done()
        self._publisher = publisher
        self._client = client
        # The client may be one that others used before.
        self.requests = client.counts.requests
        self._weight = client.counts.weight
        self._http_429 = client.counts.http_429

    @property
    def answered(self) -> int:
        """How many polls and histories the exchange gave an answer to, be it a refusal."""
        return self.done.polled + self.done.failed + self.done.histories + self.done.failed_histories

    async def begin(self, full: bool) -> None:
        """Positions and events as they are, and what is due."""
        self._mark = await asyncio.to_thread(_mark)
        await asyncio.to_thread(advance_positions)
        await self._publisher.publish()
        self._run_id, self._queue = await asyncio.to_thread(_begin, utc_now(), full)
        configured = await exchange()
        self._window = configured.limits[INFO_ROUTE][0]
        self._used = await asyncio.to_thread(read_uses, configured.key_name, INFO_ROUTE)
        self._began = time.monotonic()

    async def end(self, full: bool) -> TrackingResult:
        """Positions and events once more, and the run's row."""
        # What was permitted while there were polls; what follows needs no exchange.
        lasted = time.monotonic() - self._began
        await asyncio.to_thread(advance_positions)
        await self._publisher.publish()
        happened, left = await asyncio.to_thread(_happened, self._mark, utc_now())
        # In a full run everybody is due, before it and after.
        left_of_all = max(0, self._queue.polls - self.done.polled - self.done.failed)
        result = TrackingResult(
            run_id=self._run_id,
            due=self._queue.polls,
            left=left_of_all if full else left.polls,
            polled=self.done.polled,
            failed=self.done.failed,
            histories=self.done.histories,
            failed_histories=self.done.failed_histories,
            compared=happened.compared,
            drifted=happened.drifted,
            events=sum(happened.events.values()),
            events_by_change=happened.events,
            published=self._publisher.published,
            publishing_error=self._publisher.error,
            weight=self._client.counts.weight - self._weight,
            permitted_weight=permitted(self._window.limit, self._window.seconds, lasted, self._used),
            http_429=self._client.counts.http_429 - self._http_429,
            seconds=round(lasted, 3),
        )
        totals = {"compared_total": happened.compared_total, "drifted_total": happened.drifted_total}
        await asyncio.to_thread(_end, result, utc_now(), totals)
        return result

    @asynccontextmanager
    async def shown(self, seconds: float) -> AsyncIterator[None]:
        """Show progress while something goes on."""
        report, began = ProgressReport(), time.monotonic()

        async def show() -> None:
            while True:
                await asyncio.sleep(_SHOW_SECONDS)
                await self._show(report, (time.monotonic() - began) / seconds)

        showing = asyncio.create_task(show())
        try:
            yield
        finally:
            showing.cancel()
            await asyncio.wait([showing])
        if not showing.cancelled():
            showing.result()
        await self._show(report, 1.0)

    async def _show(self, report: ProgressReport, time_share: float) -> None:
        processed = self.done.polled + self.done.failed
        # It ends when the time is up or all are polled, whichever comes first.
        share = min(1.0, max(time_share, processed / max(1, self._queue.polls)))
        progress = Progress(
            step="done" if time_share >= 1 else "poll positions and fetch histories",
            percent=round(100 * share, 1),
            total=self._queue.polls,
            processed=processed,
            failed=self.done.failed,
            current=self.done.current,
        )
        try:
            await report.update(progress)
        except httpx.HTTPError as error:
            # Prefect's API is away: what is done stands in the ledger.
            logger().warning("progress cannot be shown", error=type(error).__name__)


def _mark() -> Mark:
    with session(DOMAIN, read_only=True) as opened:
        return mark(opened)


def _begin(now: datetime, full: bool) -> tuple[int, Queue]:
    with session(DOMAIN) as opened:
        due = queue(opened, now=now, full=full)
        return begin_run(opened, due=due.polls, now=now), due


def _happened(before: Mark, now: datetime) -> tuple[Since, Queue]:
    with session(DOMAIN, read_only=True) as opened:
        return since(opened, before), queue(opened, now=now)


def _end(result: TrackingResult, now: datetime, totals: dict[str, int]) -> None:
    if result.run_id is None:
        raise RuntimeError("a run without a row cannot end")
    counted = {"due", "polled", "failed", "histories", "compared", "drifted", "events", "published"}
    counts = result.model_dump(include=counted | {"weight", "permitted_weight", "http_429"})
    with session(DOMAIN) as opened:
        end_run(opened, result.run_id, now=now, **counts, **totals)
