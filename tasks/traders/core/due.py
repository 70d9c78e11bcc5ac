"""Whose positions are to be asked for next: of those who traded since their last snapshot, the oldest first.

A position changes by a trade only (funding aside), so that a trader who was not seen trading needs no snapshot. Every
trader has positions on the exchange's own dex; on those of builders (HIP-3) only such as traded there (see `dexes`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, case, func, literal, or_, union_all
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, select

from tasks.foundation.core.backoff import equal_jitter
from tasks.foundation.core.escaping import printable
from tasks.foundation.core.upsert import insert_if_absent
from tasks.traders.core.tables import MAIN_DEX, Poll, Trader


@dataclass(frozen=True)
class DuePoll:
    """One snapshot that is to be asked for."""

    trader_id: int
    address: str
    dex: str


@dataclass(frozen=True)
class Queue:
    """How much is due."""

    polls: int
    #: Of these, such as never had a snapshot.
    never: int
    #: The snapshot that is overtaken and oldest, exchange milliseconds; None where there is none.
    oldest_time: int | None
    #: Polls that failed and wait for their next try.
    waiting: int


@dataclass(frozen=True)
class FailedPoll:
    """A poll that failed and waits for its next try."""

    address: str
    dex: str
    failures: int
    due_at: datetime
    reason: str


def due_polls(session: Session, *, now: datetime, limit: int, full: bool = False) -> list[DuePoll]:
    """What is to be asked for next, in this order: what never had a snapshot, then the oldest snapshot first.

    Args:
        session: a transaction; nothing is changed.
        now: polls that failed are left out until their next try.
        limit: at most so many.
        full: also who was not seen trading, and what failed a moment ago.
    """
    due = _due(now, full).subquery()
    ordered = sa_select(due.c.trader_id, due.c.address, due.c.dex).order_by(
        due.c.snapshot_time.is_not(None), due.c.snapshot_time, due.c.trader_id, due.c.dex
    )
    return [DuePoll(*row) for row in session.connection().execute(ordered.limit(limit))]


def queue(session: Session, *, now: datetime, full: bool = False) -> Queue:
    """How much is due, and since when."""
    due = _due(now, full).subquery()
    numbers = sa_select(
        func.count(), func.count(case((due.c.snapshot_time.is_(None), 1))), func.min(due.c.snapshot_time)
    ).select_from(due)
    polls, never, oldest = session.connection().execute(numbers).one()
    later = select(func.count()).select_from(Poll).where(col(Poll.due_at) > now)
    return Queue(polls, never, oldest, session.exec(later).one())


def _due(now: datetime, full: bool) -> Select[Any]:
    # Both halves go by the trader's key; on the exchange's own dex a trader may have no row yet.
    of_dex = and_(col(Poll.trader_id) == col(Trader.id), col(Poll.dex) == MAIN_DEX)
    wanted = [
        _columns(literal(MAIN_DEX)).select_from(Trader).outerjoin(Poll, of_dex),
        _columns(col(Poll.dex))
        .select_from(Poll)
        .join(Trader, col(Trader.id) == col(Poll.trader_id))
        .where(col(Poll.dex) != MAIN_DEX),
    ]
    conditions: list[Any] = [col(Trader.ignored).is_(False)]
    if not full:
        overtaken = or_(col(Poll.snapshot_time).is_(None), col(Trader.seen_time) > col(Poll.snapshot_time))
        conditions += [overtaken, or_(col(Poll.due_at).is_(None), col(Poll.due_at) <= now)]
    both = union_all(*(part.where(*conditions) for part in wanted)).subquery()
    return sa_select(both)


def _columns(dex: Any) -> Select[Any]:
    return sa_select(col(Trader.id).label("trader_id"), col(Trader.address), dex.label("dex"), col(Poll.snapshot_time))


def poll_failed(
    session: Session,
    trader_id: int,
    dex: str,
    *,
    reason: str,
    now: datetime,
    base_seconds: float,
    cap_seconds: float,
    uniform: Callable[[float, float], float],
) -> datetime:
    """Note that a snapshot could not be had, and when it is to be asked for again.

    Args:
        session: the transaction; nothing is committed.
        trader_id: whose.
        dex: on which dex.
        reason: for people; nothing secret.
        now: our own clock.
        base_seconds: the wait after the first failure at most; it doubles with every further one.
        cap_seconds: the longest wait.
        uniform: draws a number from a range, such as `random.uniform`.

    Returns:
        When it is due again.
    """
    insert_if_absent(session, Poll(trader_id=trader_id, dex=dex), key=("trader_id", "dex"))
    poll = session.get_one(Poll, (trader_id, dex), with_for_update=True, populate_existing=True)
    poll.failures += 1
    poll.reason = printable(reason, length=300)
    poll.due_at = now + equal_jitter(poll.failures, base_seconds=base_seconds, cap_seconds=cap_seconds, uniform=uniform)
    session.add(poll)
    session.flush()
    return poll.due_at


def failed_polls(session: Session, *, limit: int) -> list[FailedPoll]:
    """The polls that failed and wait for their next try, those that failed most often first."""
    wanted = (
        select(Trader.address, Poll)
        .join(Poll, col(Poll.trader_id) == col(Trader.id))
        .where(col(Poll.due_at).is_not(None))
        .order_by(col(Poll.failures).desc(), col(Trader.address), col(Poll.dex))
        .limit(limit)
    )
    return [
        FailedPoll(address, poll.dex, poll.failures, poll.due_at, poll.reason or "")
        for address, poll in session.exec(wanted)
        if poll.due_at is not None
    ]
