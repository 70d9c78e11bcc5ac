"""Discovery: follows the exchange's public trades, stores them, and so finds everybody who trades.

Needs the traders ledger, the rate limiter's database, and the exchange; it costs no weight but where gaps are filled.
Long-lived: it runs until it is stopped, and one run at a time whatever starts it.
"""

import asyncio
import time
from contextlib import AsyncExitStack

from pydantic import BaseModel, ConfigDict

from blocks.settings import settings
from tasks.foundation.ending import end_asked
from tasks.foundation.lifecycle import logger
from tasks.foundation.retries import INGEST
from tasks.traders.api import exchange, exchange_client
from tasks.traders.core.leases import DISCOVERY
from tasks.traders.core.tables import GapState
from tasks.traders.discovery_begin import begin, known_traders
from tasks.traders.discovery_report import DiscoveryReport
from tasks.traders.discovery_run import DiscoveryRun, in_thread, sigterm_held
from tasks.traders.leasing import leased

#: Why a run ended that was given a time.
TIME_IS_OVER = "its time is over"
#: Why one ended that was asked to, with the worker that ran it.
ASKED_TO_END = "its worker was stopped"


class DiscoveryResult(BaseModel):
    """What a run of discovery came to; always `trades = stored + duplicates + rejected`."""

    model_config = ConfigDict(frozen=True)

    #: Who follows the stream instead; None where this run did. Then nothing was done.
    running: str | None = None
    ended_for: str = ""
    coins: tuple[str, ...] = ()
    lasted_seconds: float = 0.0
    connections: int = 0
    frames: int = 0
    trades: int = 0
    stored: int = 0
    duplicates: int = 0
    rejected: int = 0
    late: int = 0
    #: Addresses that were never seen before.
    new_traders: int = 0
    gaps: int = 0
    gaps_filled: int = 0
    gaps_partial: int = 0


@INGEST.task
async def manage_discovery_stream(coins: list[str] | None = None, seconds: float | None = None) -> DiscoveryResult:
    """Follow the trades of some coins and store them, until stopped.

    Killed at any point, it goes on at its next start where it was: the time between is a gap, which is filled as far as
    the exchange gives trades back. Where another run follows the stream already, it returns at once.

    Args:
        coins: names as the exchange has them; None: the settings'.
        seconds: how long; None: until it is stopped (with its worker, by SIGTERM, or by cancelling the run). What has
            come by then is stored.

    Raises:
        ValueError: no coin, or more than the exchange permits.
        CoinsRefusedError: the exchange knows none of the coins.
        LedgerError: the database cannot be used.
    """
    chosen = tuple(dict.fromkeys(coins if coins is not None else settings().traders.coin_names))
    with sigterm_held() as sigterm, end_asked() as asked:
        async with leased(DISCOVERY) as hold:
            if hold.held_by is not None:
                return DiscoveryResult(running=hold.held_by, coins=chosen)
            return await _follow(DiscoveryRun(hold, logger(task="discovery")), chosen, seconds, sigterm, asked)


async def _follow(
    run: DiscoveryRun, coins: tuple[str, ...], seconds: float | None, sigterm: asyncio.Event, asked: asyncio.Event
) -> DiscoveryResult:
    began_at = time.monotonic()

    async def time_is_over() -> None:
        if seconds is not None:
            await asyncio.sleep(seconds)
            run.stop(TIME_IS_OVER)

    async def told_to_end() -> None:
        await sigterm.wait()
        run.stop("stopped by SIGTERM")

    async def asked_to_end() -> None:
        await asked.wait()
        run.stop(ASKED_TO_END)

    async with AsyncExitStack() as stack:
        stream = await stack.enter_async_context((await exchange()).stream(coins))
        client = await stack.enter_async_context(exchange_client())
        known = await in_thread(lambda: begin(coins))
        report = DiscoveryReport(run, seconds, known, logger(task="discovery"))
        await run.follow(stream, client, [report.go_on, time_is_over, told_to_end, asked_to_end])
    if run.stopped_for == TIME_IS_OVER:
        await run.finish()
    traders = await in_thread(known_traders)
    await report.rate()
    await report.progress(done=True)
    tally = run.tally
    return DiscoveryResult(
        ended_for=run.stopped_for or "",
        coins=coins,
        lasted_seconds=round(time.monotonic() - began_at, 3),
        connections=run.connections,
        frames=tally.frames,
        trades=tally.trades,
        stored=tally.stored,
        duplicates=tally.duplicates,
        rejected=tally.rejected,
        late=tally.late,
        new_traders=traders - known,
        gaps=tally.gaps,
        gaps_filled=tally.closed_gaps[GapState.FILLED.value],
        gaps_partial=tally.closed_gaps[GapState.PARTIAL.value],
    )
