"""Tries again what is due, whoever's it is: what failed or was missing, and what a sync that died left behind.

Needs a key of the Riot API and the league ledger.
"""

import asyncio
from datetime import timedelta

from pydantic import BaseModel, ConfigDict

from blocks.engine import session
from blocks.settings import settings
from tasks.foundation.core.columns import utc_now
from tasks.foundation.retries import RECOVERY
from tasks.league.api import riot_client
from tasks.league.batches import BatchResult, Failure, Item
from tasks.league.core.recovery import open_items
from tasks.league.core.tables import DOMAIN
from tasks.league.matches import sync_matches
from tasks.league.steps import run_step
from tasks.league.tracking import tracking


class RetryReport(BaseModel):
    """What was due, and what became of it."""

    model_config = ConfigDict(frozen=True)

    #: Matches and timelines that were due.
    due: int
    matches_stored: int = 0
    timelines_stored: int = 0
    #: Answered 404 (again), and asked for again later than before.
    missing: int = 0
    failed: int = 0
    failures: tuple[Failure, ...] = ()
    requests: int = 0
    http_429: int = 0


@RECOVERY.task
async def auto_retry_failed_matches() -> RetryReport:
    """Fetch whatever is due, of all players, newest games first.

    A match that is answered 404 is asked for again later each time, so that one that Riot will never have costs next to
    nothing. What a sync is just fetching is left to it: PENDING rows count as left behind when none of their player's
    games was tried for longer than a request may take.

    Raises:
        RiotKeyMissingError: there is no key.
        RiotKeyError: the key is refused.
        RiotUnavailableError: Riot gave no answer for long; what was not tried is due still.
        LedgerError: the database cannot be used.
    """
    items = await asyncio.to_thread(_open)
    if not items:
        return RetryReport(due=0)
    with tracking() as tracker:
        async with riot_client() as client:
            before = (client.counts.requests, client.counts.http_429)
            await tracker.step("fetch what is due", 0, 99, total=len(items))
            result, size = BatchResult(), settings().league.batch_size * 2
            for start in range(0, len(items), size):
                result += await run_step(sync_matches, items[start : start + size])
            await tracker.step("done", 100, 100)
            return RetryReport(
                due=len(items),
                **result.model_dump(exclude={"failures"}),
                failures=result.failures,
                requests=client.counts.requests - before[0],
                http_429=client.counts.http_429 - before[1],
            )


def _open() -> list[Item]:
    now = utc_now()
    # A request that nobody has given up yet is younger than this.
    quiet_since = now - timedelta(seconds=settings().league.patience_seconds + settings().league.request_seconds)
    with session(DOMAIN, read_only=True) as opened:
        return open_items(opened, now=now, quiet_since=quiet_since)
