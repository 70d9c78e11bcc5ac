"""Removes what is old and needed by nothing any more: trades, published events, flat positions, and what goes along.

Needs the traders ledger, and asks the exchange nothing. What is still needed stays, however old (`core/cleanup`). On
SQLite the freed room is used again by new rows; the file itself does not shrink.
"""

import asyncio
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from blocks.engine import session
from tasks.foundation.core.columns import utc_now
from tasks.foundation.progress import Progress, ProgressReport
from tasks.foundation.retries import MAINTENANCE
from tasks.traders.core.cleanup import RULES, Bounds, Rule, Step, bounds, old_trades, old_unpublished
from tasks.traders.core.tables import DOMAIN

#: Rows looked at in one transaction; others wait for it that long.
BATCH = 2_000


class CleanedPart(BaseModel):
    """What is gone of one kind of rows."""

    model_config = ConfigDict(frozen=True)

    what: str
    rows: int


class CleanupReport(BaseModel):
    """What was removed; in a dry run, what would have been."""

    model_config = ConfigDict(frozen=True)

    dry_run: bool
    #: Of before this moment.
    before: datetime
    parts: tuple[CleanedPart, ...] = ()
    rows: int = 0
    #: Old as well, and kept: not yet in positions, or needed for those of a trader who was not polled yet.
    trades_kept: int = 0
    #: Old as well, and kept until they are published.
    events_kept: int = 0


@MAINTENANCE.task
async def cleanup_old_data(days: int = 30, dry_run: bool = False) -> CleanupReport:
    """Remove trades, events, flat positions and what is beside them of more than so many days ago.

    Each transaction removes a few rows, so that a run that is stopped leaves less to do for the next one.

    Args:
        days: what is younger stays.
        dry_run: change nothing, and report what would be removed.

    Raises:
        ValueError: `days` is less than 1 or beyond all trades.
        LedgerError: the database cannot be used.
    """
    limits = await asyncio.to_thread(_bounds, days, utc_now())
    report, parts = ProgressReport(), []
    for number, rule in enumerate(RULES):
        await report.update(Progress(step=rule.what, percent=100 * number / len(RULES)))
        parts.append(CleanedPart(what=rule.what, rows=await _apply(rule, limits, dry_run)))
    await report.update(Progress(step="done", percent=100))
    trades, events = await asyncio.to_thread(_kept, limits)
    if dry_run:
        # They are all there still.
        trades -= parts[0].rows
    return CleanupReport(
        dry_run=dry_run,
        before=limits.before,
        parts=tuple(parts),
        rows=sum(part.rows for part in parts),
        trades_kept=trades,
        events_kept=events,
    )


async def _apply(rule: Rule, limits: Bounds, dry_run: bool) -> int:
    rows, step = 0, Step(0, -1)
    while step.then is not None:
        step = await asyncio.to_thread(_step, rule, limits, step.then, dry_run)
        rows += step.rows
    return rows


def _step(rule: Rule, limits: Bounds, after: int, dry_run: bool) -> Step:
    with session(DOMAIN, read_only=dry_run) as opened:
        return rule.step(opened, limits, after, BATCH, dry_run)


def _bounds(days: int, now: datetime) -> Bounds:
    with session(DOMAIN, read_only=True) as opened:
        return bounds(opened, days=days, now=now)


def _kept(limits: Bounds) -> tuple[int, int]:
    with session(DOMAIN, read_only=True) as opened:
        return old_trades(opened, limits), old_unpublished(opened, limits)
