"""Removes games that ended long ago.

Needs the league ledger, and asks the Riot API nothing. What is removed is not fetched again by any sync, retry or
recovery; `recover_player_data(..., include_removed=True)` is the way back, as long as Riot has the games (two years).
On SQLite the freed room is used again by new games; the file itself does not shrink.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from pydantic import BaseModel, ConfigDict
from sqlmodel import Session

from blocks.engine import session
from tasks.foundation.core.columns import utc_now
from tasks.foundation.retries import MAINTENANCE
from tasks.league.core.cleanup import (
    OldMatch,
    ended_before,
    old_matches,
    remove_unreferenced_players,
    timeless_matches,
)
from tasks.league.core.recovery import players_of
from tasks.league.core.storing import remove_matches
from tasks.league.core.tables import DOMAIN
from tasks.league.tracking import tracking
from tasks.league.writing import Writer

#: Games removed in one transaction, with the statistics of those who took part; others wait for it that long.
BATCH = 50


class CleanedYear(BaseModel):
    """What is gone of one year on one platform."""

    model_config = ConfigDict(frozen=True)

    platform: str
    #: None for games that never began.
    year: int | None
    matches: int
    timelines: int
    #: Compressed.
    bytes: int


class CleanupReport(BaseModel):
    """What was removed; in a dry run, what would have been."""

    model_config = ConfigDict(frozen=True)

    dry_run: bool
    #: Games that ended before this moment.
    before: datetime
    matches: int = 0
    timelines: int = 0
    #: Compressed bytes of payloads.
    bytes_freed: int = 0
    #: Players that nothing referred to any more; unknown (0) in a dry run.
    players: int = 0
    #: Games that tell no time and are left for ever.
    timeless: int = 0
    years: tuple[CleanedYear, ...] = ()


def _look(before: datetime) -> tuple[list[OldMatch], int]:
    with session(DOMAIN, read_only=True) as opened:
        return old_matches(opened, before), timeless_matches(opened)


def _remove(opened: Session, match_ids: Sequence[str]) -> int:
    players = players_of(opened, match_ids)
    remove_matches(opened, match_ids)
    return remove_unreferenced_players(opened, sorted(players))


def _years(old: Sequence[OldMatch]) -> tuple[CleanedYear, ...]:
    parts: dict[tuple[str, int | None], list[OldMatch]] = defaultdict(list)
    for match in old:
        parts[match.platform, match.year].append(match)
    return tuple(
        CleanedYear(
            platform=platform,
            year=year,
            matches=len(part),
            timelines=sum(match.timeline for match in part),
            bytes=sum(match.size for match in part),
        )
        for (platform, year), part in sorted(parts.items(), key=lambda item: (item[0][0], item[0][1] or 0))
    )


@MAINTENANCE.task
async def cleanup_old_data(days: int = 30, dry_run: bool = False) -> CleanupReport:
    """Remove matches, participants, timelines and payloads of games that ended more than so many days ago.

    The statistics of all who took part are derived anew in the same transaction. Each transaction removes a few games,
    so that a run that is stopped leaves less to do for the next one. Timelines that Riot has without a match tell no
    time, and stay.

    Args:
        days: games that ended within so many days stay.
        dry_run: change nothing, and report what would be removed.

    Raises:
        ValueError: `days` is less than 1 or beyond all games.
    """
    before = ended_before(days, utc_now())
    with tracking() as tracker:
        await tracker.step("find old games", 0, 5)
        old, timeless = await asyncio.to_thread(_look, before)
        players = 0
        if not dry_run:
            await tracker.step("remove old games", 5, 99, total=len(old))
            async with Writer() as writer:
                for start in range(0, len(old), BATCH):
                    batch = [match.match_id for match in old[start : start + BATCH]]
                    players += await writer.do(partial(_remove, match_ids=batch))
                    for match_id in batch:
                        await tracker.item(match_id, failed=False)
        await tracker.step("done", 100, 100)
    return CleanupReport(
        dry_run=dry_run,
        before=before,
        matches=len(old),
        timelines=sum(match.timeline for match in old),
        bytes_freed=sum(match.size for match in old),
        players=players,
        timeless=timeless,
        years=_years(old),
    )
