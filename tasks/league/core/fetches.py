"""What is still to be fetched, what was missing or failed, and when that is tried again.

A match id becomes two rows, match and timeline, when the API first lists it, and is never forgotten from then on::

    PENDING ──> STORED <────────────┐
       │ └────> MISSING (404) ──────┤   asked again at `due_at`, later each time
       └──────> FAILED (no match) ──┘
    any ──────> REMOVED                 cleaned away: left alone until somebody asks for that very match
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import and_, case, func, or_
from sqlmodel import Session, col, select

from tasks.foundation.core.backoff import equal_jitter
from tasks.foundation.core.upsert import insert_for, upsert_rows
from tasks.league.core.participants import split_match_id
from tasks.league.core.tables import Fetch, FetchKind, FetchState, Listing, Watermark

BOTH = (FetchKind.MATCH, FetchKind.TIMELINE)
_KEY = ("match_id", "kind")
_REASON_LENGTH = 500


def _row(match_id: str, kind: FetchKind, state: FetchState, *, now: datetime | None = None) -> dict[str, Any]:
    split_match_id(match_id)
    return {
        "match_id": match_id,
        "kind": kind,
        "state": state,
        "failures": 0,
        "reason": None,
        "due_at": None,
        "tried_at": now,
    }


def mark_stored(session: Session, match_id: str, kind: FetchKind, *, now: datetime) -> None:
    """The match or timeline is stored."""
    changed = ("state", "failures", "reason", "due_at", "tried_at")
    upsert_rows(session, Fetch, [_row(match_id, kind, FetchState.STORED, now=now)], key=_KEY, update=changed)


def mark_removed(session: Session, match_ids: Iterable[str]) -> None:
    """The matches and their timelines were cleaned away."""
    rows = [_row(match_id, kind, FetchState.REMOVED) for match_id in match_ids for kind in BOTH]
    upsert_rows(session, Fetch, rows, key=_KEY, update=("state", "failures", "reason", "due_at"))


def _unless_removed(new: Any) -> dict[str, Any]:
    old: Any = Fetch
    kept = old.state == FetchState.REMOVED
    changed = ("state", "failures", "reason", "due_at")
    return {name: case((kept, getattr(old, name)), else_=new[name]) for name in changed}


def reopen(session: Session, match_ids: Iterable[str], *, kinds: Sequence[FetchKind] = BOTH) -> None:
    """Fetch these again although they are said to be stored: their rows are gone or damaged. REMOVED ones stay so."""
    rows = [_row(match_id, kind, FetchState.PENDING) for match_id in match_ids for kind in kinds]
    upsert_rows(session, Fetch, rows, key=_KEY, update=_unless_removed)


def _mark_tried(
    session: Session,
    match_id: str,
    kind: FetchKind,
    state: FetchState,
    reason: str,
    *,
    now: datetime,
    base_seconds: float,
    cap_seconds: float,
    uniform: Callable[[float, float], float],
) -> FetchState:
    upsert_rows(session, Fetch, [_row(match_id, kind, FetchState.PENDING)], key=_KEY)
    fetch = session.exec(
        select(Fetch)
        .where(col(Fetch.match_id) == match_id, col(Fetch.kind) == kind)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    if fetch.state in (FetchState.STORED, FetchState.REMOVED):
        # Another stored or removed it while this was asked: that is the later word.
        return fetch.state
    fetch.state = state
    fetch.failures += 1
    fetch.reason = reason.replace("\x00", "\N{REPLACEMENT CHARACTER}")[:_REASON_LENGTH]
    fetch.tried_at = now
    fetch.due_at = now + equal_jitter(
        fetch.failures, base_seconds=base_seconds, cap_seconds=cap_seconds, uniform=uniform
    )
    session.flush()
    return fetch.state


def mark_missing(
    session: Session,
    match_id: str,
    kind: FetchKind,
    *,
    now: datetime,
    base_seconds: float,
    cap_seconds: float,
    uniform: Callable[[float, float], float],
) -> FetchState:
    """The API answered 404: it is asked again later, and later each time.

    Args:
        session: the transaction; nothing is committed.
        match_id: what was asked for.
        kind: match or timeline.
        now: when.
        base_seconds: the longest wait after the first 404; it doubles each time.
        cap_seconds: the longest wait of all. Waits are at least half of what they are at most.
        uniform: draws a number from a range, such as `random.uniform`.

    Returns:
        The state it is in now: a match that was stored or removed meanwhile stays so.
    """
    return _mark_tried(
        session,
        match_id,
        kind,
        FetchState.MISSING,
        "404: Riot does not have it",
        now=now,
        base_seconds=base_seconds,
        cap_seconds=cap_seconds,
        uniform=uniform,
    )


def mark_failed(
    session: Session,
    match_id: str,
    kind: FetchKind,
    *,
    reason: str,
    now: datetime,
    base_seconds: float,
    cap_seconds: float,
    uniform: Callable[[float, float], float],
) -> FetchState:
    """It could not be fetched or read: it is tried again later, as with `mark_missing`.

    Args:
        session: the transaction; nothing is committed.
        match_id: what was asked for.
        kind: match or timeline.
        reason: for people; cut to 500 characters.
        now: when.
        base_seconds: the longest wait after the first failure; it doubles each time.
        cap_seconds: the longest wait of all. Waits are at least half of what they are at most.
        uniform: draws a number from a range, such as `random.uniform`.

    Returns:
        The state it is in now: a match that was stored or removed meanwhile stays so.
    """
    return _mark_tried(
        session,
        match_id,
        kind,
        FetchState.FAILED,
        reason,
        now=now,
        base_seconds=base_seconds,
        cap_seconds=cap_seconds,
        uniform=uniform,
    )


def _is_due(now: datetime) -> Any:
    return and_(col(Fetch.state).in_((FetchState.MISSING, FetchState.FAILED)), col(Fetch.due_at) <= now)


def pending(
    session: Session,
    *,
    now: datetime,
    puuid: str | None = None,
    limit: int | None = None,
    kinds: Sequence[FetchKind] = BOTH,
) -> list[Fetch]:
    """What is to be fetched now: what never was, and what is due again. Newest games first, match before timeline.

    Args:
        session: a transaction.
        now: the present moment.
        puuid: only what was listed for this player.
        limit: at most so many.
        kinds: matches, timelines or both.
    """
    wanted = select(Fetch).where(
        or_(col(Fetch.state) == FetchState.PENDING, _is_due(now)), col(Fetch.kind).in_(list(kinds))
    )
    if puuid is not None:
        wanted = wanted.join(Listing, col(Listing.match_id) == col(Fetch.match_id)).where(col(Listing.puuid) == puuid)
    # Numbers without leading zeros: the longer is the greater.
    newest = (func.length(Fetch.match_id).desc(), col(Fetch.match_id).desc(), col(Fetch.kind))
    return list(session.exec(wanted.order_by(*newest).limit(limit)).all())


def due(session: Session, now: datetime, limit: int | None = None) -> list[Fetch]:
    """What was missing or failed and is to be tried again now, the longest overdue first."""
    wanted = select(Fetch).where(_is_due(now)).order_by(col(Fetch.due_at), col(Fetch.match_id), col(Fetch.kind))
    return list(session.exec(wanted.limit(limit)).all())


def counts(session: Session, puuid: str | None = None) -> dict[FetchKind, dict[FetchState, int]]:
    """How many matches and timelines are in which state, of one player's listed ones or of all; zeros included."""
    wanted = select(Fetch.kind, Fetch.state, func.count()).group_by(col(Fetch.kind), col(Fetch.state))
    if puuid is not None:
        wanted = wanted.join(Listing, col(Listing.match_id) == col(Fetch.match_id)).where(col(Listing.puuid) == puuid)
    found = {kind: dict.fromkeys(FetchState, 0) for kind in FetchKind}
    for kind, state, number in session.exec(wanted).all():
        found[FetchKind(kind)][FetchState(state)] = number
    return found


def record_listing(
    session: Session, puuid: str, year: int | None, match_ids: Sequence[str], *, listed_at: datetime
) -> int:
    """Write down a complete listing: ids, what is to be fetched of them, and up to when all are listed.

    Args:
        session: the transaction, in which all of it or nothing is written; nothing is committed.
        puuid: for whom the API listed them; a stored player.
        year: the UTC year that was asked for; None for all.
        match_ids: what the API listed, in any order.
        listed_at: when the listing began; the watermark never goes back.

    Returns:
        How many of them had not been listed for this player before.

    Raises:
        ValueError: one of them is no match id; nothing was written.
    """
    ids = sorted(set(match_ids))
    rows = [_row(match_id, kind, FetchState.PENDING) for match_id in ids for kind in BOTH]
    upsert_rows(session, Fetch, rows, key=_KEY)
    listed = select(func.count()).select_from(Listing).where(col(Listing.puuid) == puuid)
    before = session.exec(listed).one()
    listings = [{"puuid": puuid, "match_id": match_id} for match_id in ids]
    upsert_rows(session, Listing, listings, key=("puuid", "match_id"))
    mark = insert_for(session, Watermark)
    mark = mark.on_conflict_do_update(
        index_elements=["puuid", "year"],
        set_={"listed_at": mark.excluded.listed_at},
        where=col(Watermark.listed_at) < mark.excluded.listed_at,
    )
    session.connection().execute(mark, {"puuid": puuid, "year": year or 0, "listed_at": listed_at})
    return session.exec(listed).one() - before


def watermark(session: Session, puuid: str, year: int | None) -> datetime | None:
    """Up to when all of a player's matches are listed, those of one year or all; None if they never were."""
    wanted = select(Watermark.listed_at).where(col(Watermark.puuid) == puuid, col(Watermark.year) == (year or 0))
    return session.exec(wanted.execution_options(populate_existing=True)).one_or_none()


def known(session: Session, puuid: str, match_ids: Sequence[str]) -> set[str]:
    """Those of the ids that were listed for this player before."""
    wanted = select(Listing.match_id).where(col(Listing.puuid) == puuid, col(Listing.match_id).in_(match_ids))
    return set(session.exec(wanted).all())
