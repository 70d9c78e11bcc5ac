"""What a person sees of a run of discovery while it goes on: its progress, and the rate of discovery over time.

Prefect's API may be away for a while: the stream goes on, and the next report is shown.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable
from datetime import UTC, datetime
from itertools import pairwise
from uuid import UUID

import httpx
from prefect.artifacts import MarkdownArtifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.context import FlowRunContext, TaskRunContext
from sqlalchemy.exc import OperationalError
from sqlmodel import col, select
from structlog.stdlib import BoundLogger

from blocks.engine import LedgerUnreadableError, session
from tasks.foundation.artifacts import picture
from tasks.foundation.core.escaping import markdown_table
from tasks.foundation.core.plots import Line, line_plot
from tasks.foundation.progress import Progress, ProgressReport
from tasks.traders.core.tables import DOMAIN, Coin, Gap, GapState
from tasks.traders.discovery_begin import known_traders
from tasks.traders.discovery_run import DiscoveryRun, in_thread

KEY = "traders-discovery-rate"
#: Each report is two requests to Prefect's API.
PROGRESS_SECONDS = 10.0
#: A picture takes half a second of a processor.
RATE_SECONDS = 300.0
#: As far as the picture goes back.
MINUTES = 24 * 60
_MINUTE = 60


class DiscoveryReport:
    """Reports one run.

    Args:
        run: whose tally is told.
        seconds: how long it is to last; None: for ever.
        known: how many traders there were at its beginning.
        log: of the run.
    """

    def __init__(self, run: DiscoveryRun, seconds: float | None, known: int, log: BoundLogger) -> None:
        self._run = run
        self._seconds = seconds
        self._known = known
        self._log = log
        self._began = time.monotonic()
        self._progress = ProgressReport()
        self._artifact: UUID | None = None
        self._told = False
        #: Minute since 1970 -> traders that were known at its end.
        self._traders: deque[tuple[int, int]] = deque([(_this_minute() - 1, known)], maxlen=MINUTES)

    async def go_on(self) -> None:
        """Report for ever."""
        next_rate = self._began + min(_MINUTE, RATE_SECONDS)
        while True:
            await self.progress()
            await asyncio.sleep(PROGRESS_SECONDS)
            if _this_minute() - 1 > self._traders[-1][0]:
                await self._count()
            if time.monotonic() >= next_rate:
                await self.rate()
                next_rate += RATE_SECONDS

    async def progress(self, *, done: bool = False) -> None:
        """Show how far it is."""
        tally = self._run.tally
        elapsed = time.monotonic() - self._began
        part = 0.0 if self._seconds is None else min(99.0, 100 * elapsed / max(self._seconds, 0.001))
        step = f"{tally.trades:,} trades received, {tally.stored:,} stored in {elapsed / _MINUTE:,.1f} minutes"
        await self._shown(
            self._progress.update(
                Progress(
                    step=step,
                    percent=100 if done else part,
                    total=tally.trades,
                    processed=tally.stored,
                    failed=tally.rejected,
                )
            )
        )

    async def rate(self) -> None:
        """Show trades and new traders over time, and how far each coin is whole."""
        if FlowRunContext.get() is None and TaskRunContext.get() is None:
            return
        try:
            text = await in_thread(self._page)
        except (OperationalError, LedgerUnreadableError) as error:
            self._log.warning("the rate cannot be told now", error=type(error).__name__)
            return
        await self._shown(self._leave(text))

    async def _count(self) -> None:
        try:
            self._traders.append((_this_minute() - 1, await in_thread(known_traders)))
        except (OperationalError, LedgerUnreadableError) as error:
            self._log.warning("traders cannot be counted now", error=type(error).__name__)

    async def _leave(self, text: str) -> None:
        if self._artifact is None:
            self._artifact = (await MarkdownArtifact(key=KEY, markdown=text).acreate()).id
            return
        # The same one, so that a run of weeks leaves one artifact and not thousands.
        async with get_client() as client:
            await client.update_artifact(artifact_id=self._artifact, artifact=ArtifactUpdate(data=text))

    async def _shown(self, showing: Awaitable[None]) -> None:
        try:
            await showing
            self._told = False
        except (httpx.HTTPError, OSError) as error:
            if not self._told:
                self._log.warning("Prefect's API takes no report now", error=type(error).__name__)
            self._told = True

    def _page(self) -> str:
        now = _this_minute()
        by_minute = self._run.tally.by_minute
        first = max(now - MINUTES, min(by_minute, default=now))
        # The present minute is not over: it is shown only where there is no other yet.
        trades = [(_moment(minute), float(by_minute.get(minute, 0))) for minute in range(first, max(now, first + 1))]
        counts, known = list(self._traders), known_traders()
        if len(counts) < 2:
            counts.append((now, known))
        found = [
            (_moment(minute), (traders - before) / (minute - earlier))
            for (earlier, before), (minute, traders) in pairwise(counts)
        ]
        tally = self._run.tally
        totals = [
            ("received", tally.trades),
            ("stored", tally.stored),
            ("duplicates", tally.duplicates),
            ("rejected", tally.rejected),
            ("late", tally.late),
            ("frames", tally.frames),
            ("connections", self._run.connections),
            ("new traders", known - self._known),
        ]
        shown = [f"{what}: **{count:,}**" for what, count in totals]
        return "\n\n".join(
            [
                "# Discovery of traders",
                " · ".join(shown),
                picture(
                    line_plot("Trades stored a minute", [Line("trades", trades)], unit="trades"), "trades a minute"
                ),
                picture(
                    line_plot("New traders a minute", [Line("traders", found)], unit="traders"), "traders a minute"
                ),
                _coins(),
            ]
        )


def _coins() -> str:
    with session(DOMAIN, read_only=True) as opened:
        coins = opened.exec(select(Coin).where(col(Coin.subscribed)).order_by(col(Coin.coin)).limit(100)).all()
        gaps = set(opened.exec(select(Gap.coin).where(col(Gap.state) == GapState.OPEN)).all())
    rows = [
        (coin.coin, _time(coin.seen_time), _time(coin.whole_time), "open" if coin.coin in gaps else "")
        for coin in coins
    ]
    return markdown_table(["coin", "newest trade", "whole up to", "gap"], rows)


def _this_minute() -> int:
    return int(time.time()) // _MINUTE


def _moment(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * _MINUTE, UTC)


def _time(milliseconds: int | None) -> str:
    return "" if milliseconds is None else f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S}"
