"""Which games are old, by when they ended and never by when they were fetched, and what goes with them.

What stays of a removed game are its listings and its fetch rows, as REMOVED: the API lists games for years, and every
sync would fetch them again. A game that tells no time at all is never old.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from tasks.league.core.tables import (
    ChampionMastery,
    Listing,
    Match,
    Participant,
    Payload,
    RankedEntry,
    Summoner,
    Timeline,
    Watermark,
    YearlyBreakdown,
    YearlyStats,
)

#: A hundred years; no game is older, and the calendar has an end.
MAXIMUM_DAYS = 36_500
#: What refers to a player.
_REFERENCES: tuple[Any, ...] = (
    Participant,
    YearlyStats,
    YearlyBreakdown,
    Listing,
    Watermark,
    RankedEntry,
    ChampionMastery,
)
_ended = func.coalesce(Match.game_end, Match.game_start, Match.game_creation)


@dataclass(frozen=True)
class OldMatch:
    """A game that ended too long ago."""

    match_id: str
    platform: str
    year: int | None
    #: Compressed bytes of its payloads.
    size: int
    #: Its timeline is stored as well.
    timeline: bool


def ended_before(days: int, now: datetime) -> datetime:
    """The moment that games must have ended before to be old.

    Raises:
        ValueError: the number of days is less than 1 or beyond all games.
    """
    if not 1 <= days <= MAXIMUM_DAYS:
        raise ValueError(
            f"days must be from 1 to {MAXIMUM_DAYS}, not {days}: games younger than a day are never removed"
        )
    return now - timedelta(days=days)


def old_matches(session: Session, before: datetime) -> list[OldMatch]:
    """The games that ended before a moment, oldest first.

    Where Riot gives no end (before patch 11.20) the start counts, and where a game never began its creation.

    Args:
        session: an open transaction; nothing is changed.
        before: a game that ended at this very moment stays.
    """
    sizes = select(func.sum(func.length(Payload.body))).where(Payload.match_id == Match.match_id).scalar_subquery()
    timeline = select(Timeline.match_id).where(Timeline.match_id == Match.match_id).exists()
    columns = (col(Match.match_id), col(Match.platform), col(Match.year), func.coalesce(sizes, 0), timeline)
    wanted = sa_select(*columns).where(_ended < before).order_by(_ended, col(Match.match_id))
    return [OldMatch(*row) for row in session.connection().execute(wanted)]


def timeless_matches(session: Session) -> int:
    """How many games tell no time, and so are never old."""
    return session.exec(select(func.count()).select_from(Match).where(_ended.is_(None))).one()


def remove_unreferenced_players(session: Session, puuids: Sequence[str]) -> int:
    """Remove those of the players whom nobody tracks and nothing refers to any more.

    Args:
        session: the transaction that removed their games; it holds their rows locked.
        puuids: the players in question.

    Returns:
        How many were removed.
    """
    unreferenced = [~select(table.puuid).where(table.puuid == Summoner.puuid).exists() for table in _REFERENCES]
    statement = delete(Summoner).where(col(Summoner.puuid).in_(puuids), col(Summoner.tracked).is_(False), *unreferenced)
    return session.connection().execute(statement).rowcount
