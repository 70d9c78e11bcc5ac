"""What one run of the tracking writes: snapshots as they come, and a row of its own with budget and drift."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import func
from sqlmodel import Session, col, select

from tasks.foundation.core.upsert import upsert_rows
from tasks.traders.core.history_tables import Equity, EquitySource
from tasks.traders.core.snapshots import SnapshotPosition, add_snapshot
from tasks.traders.core.tables import MAIN_DEX, Change, Poll, PositionEvent, TrackingRun

#: Name of the lease of who tracks.
TRACKING = "tracking"


@dataclass(frozen=True)
class Mark:
    """Where events and comparisons stood at a moment."""

    event: int
    compared: int
    drifted: int


@dataclass(frozen=True)
class Since:
    """What came about since a mark, whoever did it: discovery folds and reconciles beside the tracking."""

    events: dict[Change, int]
    compared: int
    drifted: int
    #: Where comparisons stand now.
    compared_total: int
    drifted_total: int


@dataclass(frozen=True)
class PastRun:
    """A run as it is shown beside others."""

    started_at: datetime
    weight: int
    permitted_weight: int
    compared: int
    drifted: int


def store_answer(
    session: Session,
    trader_id: int,
    dex: str,
    *,
    time: int,
    account_value: Decimal | None,
    positions: Sequence[SnapshotPosition],
    now: datetime,
) -> None:
    """Keep a snapshot for the reconciling, and what the account was worth for the daily series.

    The series is of the exchange's own dex; an account on a builder's is another one.

    Args:
        session: the transaction; nothing is committed.
        trader_id: whose.
        dex: on which dex.
        time: the snapshot's own, exchange milliseconds.
        account_value: None where the answer has none.
        positions: all that are not flat.
        now: when it was fetched.
    """
    add_snapshot(session, trader_id, dex, time, account_value, positions, now)
    if dex == MAIN_DEX and account_value is not None:
        point = Equity(trader_id=trader_id, time=time, source=EquitySource.SNAPSHOT, account_value=float(account_value))
        upsert_rows(
            session, Equity, [point.model_dump()], key=("trader_id", "time", "source"), update=("account_value",)
        )


def begin_run(session: Session, *, due: int, now: datetime) -> int:
    """Open the row of a run; gives its id."""
    run = TrackingRun(started_at=now, due=due)
    session.add(run)
    session.flush()
    if run.id is None:
        raise RuntimeError("the database gave a row no id")
    return run.id


def mark(session: Session) -> Mark:
    """Where events stand, and where comparisons stood when the last run ended: what came since belongs to this one."""
    number = session.exec(select(func.max(PositionEvent.number))).one()
    compared, drifted = _totals(session)
    ended = select(TrackingRun.compared_total, TrackingRun.drifted_total).where(col(TrackingRun.ended_at).is_not(None))
    last = session.exec(ended.order_by(col(TrackingRun.id).desc()).limit(1)).first()
    # Cleaning takes polls away, and their counts with them.
    if last is not None and last[0] <= compared and last[1] <= drifted:
        compared, drifted = last
    return Mark(number or 0, compared, drifted)


def _totals(session: Session) -> tuple[int, int]:
    compared, drifted = session.exec(select(func.sum(Poll.compared), func.sum(Poll.drifted))).one()
    return int(compared or 0), int(drifted or 0)


def since(session: Session, before: Mark) -> Since:
    """What came about since then."""
    counted = (
        select(PositionEvent.change, func.count())
        .where(col(PositionEvent.number) > before.event)
        .group_by(col(PositionEvent.change))
    )
    compared, drifted = _totals(session)
    events = {Change(change): number for change, number in session.exec(counted)}
    return Since(events, max(0, compared - before.compared), max(0, drifted - before.drifted), compared, drifted)


def end_run(session: Session, run_id: int, *, now: datetime, **counts: int) -> None:
    """Close the row of a run.

    Args:
        session: the transaction; nothing is committed.
        run_id: which.
        now: when it ended.
        counts: values of the row's columns.
    """
    run = session.get_one(TrackingRun, run_id)
    run.ended_at = now
    for name, value in counts.items():
        setattr(run, name, value)
    session.add(run)
    session.flush()


def past_runs(session: Session, *, limit: int) -> list[PastRun]:
    """The newest runs that ended, the oldest of them first."""
    wanted = (
        select(TrackingRun)
        .where(col(TrackingRun.ended_at).is_not(None))
        .order_by(col(TrackingRun.id).desc())
        .limit(limit)
    )
    return [
        PastRun(run.started_at, run.weight, run.permitted_weight, run.compared, run.drifted)
        for run in reversed(session.exec(wanted).all())
    ]
