"""What could not be fetched, and why: matches and timelines that Riot answered 404 for, and those that failed."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel
from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select

from tasks.league.core import fetches
from tasks.league.core.tables import Fetch, FetchKind, FetchState, Listing

#: PENDING is on its way and REMOVED was meant.
FAILURES = (FetchState.FAILED, FetchState.MISSING)


class Failure(BaseModel):
    """One match or timeline that could not be fetched."""

    match_id: str
    kind: FetchKind
    state: FetchState
    #: Tries in a row.
    failures: int
    reason: str
    #: When it is tried again.
    due_at: datetime | None


def failures(session: Session, *, puuid: str | None = None, limit: int | None = None) -> Sequence[Failure]:
    """What could not be fetched: failed ones first, then missing ones, each the next to be tried first.

    Args:
        session: the league ledger.
        puuid: only matches that were listed for this player.
        limit: at most so many.
    """
    asked = select(Fetch).where(*_wanted(puuid))
    ordered = asked.order_by(
        col(Fetch.state), col(Fetch.due_at).is_(None), col(Fetch.due_at), col(Fetch.match_id).desc(), col(Fetch.kind)
    )
    return [
        Failure(
            match_id=row.match_id,
            kind=row.kind,
            state=row.state,
            failures=row.failures,
            reason=row.reason or "",
            due_at=row.due_at,
        )
        for row in session.exec(ordered.limit(limit)).all()
    ]


def failure_counts(session: Session, *, puuid: str | None = None) -> dict[tuple[FetchState, FetchKind], int]:
    """How many there are of each state and kind, those of which there is none left out.

    Args:
        session: the league ledger.
        puuid: only matches that were listed for this player.
    """
    by_kind = fetches.counts(session, puuid)
    return {(state, kind): n for state in FAILURES for kind, states in by_kind.items() if (n := states[state])}


def told(counts: dict[tuple[FetchState, FetchKind], int]) -> str:
    """The counts in words: `2 matches failed, 1 timeline missing at Riot's`."""
    nouns = {FetchKind.MATCH: ("match", "matches"), FetchKind.TIMELINE: ("timeline", "timelines")}
    what = {FetchState.FAILED: "failed", FetchState.MISSING: "missing at Riot's (404)"}
    parts = [f"{count:,} {nouns[kind][count != 1]} {what[state]}" for (state, kind), count in counts.items()]
    return ", ".join(parts) or "nothing failed, and nothing is missing"


def _wanted(puuid: str | None) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = [col(Fetch.state).in_(FAILURES)]
    if puuid is not None:
        wanted.append(col(Fetch.match_id).in_(select(Listing.match_id).where(Listing.puuid == puuid)))
    return wanted
