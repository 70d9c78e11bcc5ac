"""What the ledger itself tells of its health: how much is still to be fetched, and which syncs never ended."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, func, or_, select

from tasks.league.core.fetches import counts
from tasks.league.core.tables import Fetch, FetchKind, FetchState, Summoner, Watermark

#: `league-retry-failed` runs far more often: what is due for so long is tried by nobody.
OVERDUE = timedelta(days=1)
#: A sync of thousands of games on a development key takes some hours.
ENDLESS = timedelta(days=1)


@dataclass(frozen=True)
class Backlog:
    """What is still to be fetched."""

    states: dict[FetchKind, dict[FetchState, int]]
    #: The longest overdue; None where nothing is due.
    oldest_due: datetime | None


@dataclass(frozen=True)
class Syncs:
    """How the syncs of those who were asked for stand."""

    tracked: int
    #: Of the player whose last sync is longest ago.
    oldest: datetime | None
    #: Puuids of players whose sync began long ago and never ended.
    endless: tuple[str, ...]


def backlog(session: Session, now: datetime) -> Backlog:
    """Count what is fetched and what is not, and find what is longest overdue."""
    open_states = (FetchState.MISSING, FetchState.FAILED)
    due = select(func.min(Fetch.due_at)).where(col(Fetch.state).in_(open_states), col(Fetch.due_at) <= now)
    return Backlog(counts(session), session.exec(due).one())


def syncs(session: Session, now: datetime) -> Syncs:
    """Look at the last syncs of the tracked players."""
    tracked, oldest = session.exec(
        select(func.count(), func.min(Summoner.synced_at)).where(col(Summoner.tracked))
    ).one()
    begun = (
        select(Summoner.puuid)
        .join(Watermark, col(Watermark.puuid) == col(Summoner.puuid))
        .where(
            col(Summoner.tracked),
            Watermark.listed_at < now - ENDLESS,
            or_(col(Summoner.synced_at).is_(None), col(Summoner.synced_at) < col(Watermark.listed_at)),
        )
        .order_by(col(Summoner.puuid))
    )
    return Syncs(tracked, oldest, tuple(session.exec(begun.distinct())))


def asked_platform(session: Session) -> str | None:
    """The platform of the player who was synced last; None where nobody was."""
    last = (
        select(Summoner.platform)
        .where(col(Summoner.tracked))
        .order_by(col(Summoner.synced_at).is_(None), col(Summoner.synced_at).desc(), col(Summoner.puuid))
    )
    return session.exec(last.limit(1)).first()
