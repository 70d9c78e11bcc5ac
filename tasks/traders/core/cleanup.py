"""What of the traders ledger is old and needed by nothing any more, and its removal in small steps.

Kept, however old: trades that are not yet in positions, or that a trader's first snapshot or a snapshot that waits will
be counted back through; events that are not published; gaps that could not be filled, which say what is missing; fills,
funding, ledger updates, portfolios and days, of which the scores are made; and every run of the leaderboard. Of the
equity that snapshots told, the first and the last value of each day are kept, by which days begin and end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Float, and_, case, cast, delete, exists, func, literal, or_, tuple_
from sqlalchemy import select as sa_select
from sqlmodel import Session, SQLModel, col, select

from tasks.traders.core.history_tables import Equity, EquitySource
from tasks.traders.core.ingest import POSITIONS_CURSOR
from tasks.traders.core.tables import (
    MAIN_DEX,
    Cursor,
    Gap,
    GapState,
    Poll,
    Position,
    PositionEvent,
    Rejection,
    Snapshot,
    Stream,
    TrackingRun,
    Trade,
    Trader,
)

#: A hundred years; no trade is older, and the calendar has an end.
MAXIMUM_DAYS = 36_500
_DAY = 86_400_000


@dataclass(frozen=True)
class Bounds:
    """What is old, and up to where it is needed by nothing."""

    before: datetime
    #: The same by the exchange's clock; at most up to where trades are in positions and no snapshot waits.
    trades: int
    #: The same, whatever is in positions.
    time: int


class Step(NamedTuple):
    """What one step removed, and where the next one goes on; None: it was the last."""

    rows: int
    then: int | None


@dataclass(frozen=True)
class Rule:
    """One kind of rows that can be removed.

    Attributes:
        what: for people.
        step: removes some rows from a place on, or counts them.
    """

    what: str
    step: Callable[[Session, Bounds, int, int, bool], Step]


def bounds(session: Session, *, days: int, now: datetime) -> Bounds:
    """What is older than so many days.

    Raises:
        ValueError: the number of days is less than 1 or beyond all trades.
    """
    check_days(days)
    before = now - timedelta(days=days)
    time = int(before.timestamp() * 1000)
    applied = session.exec(select(Cursor.time).where(col(Cursor.name) == POSITIONS_CURSOR)).first()
    waits = session.exec(select(func.min(Snapshot.time))).one()
    # A trade at the very time of a snapshot is in the snapshot.
    needed = min(-1 if applied is None else applied, time if waits is None else waits)
    return Bounds(before=before, trades=min(time - 1, needed), time=time)


def check_days(days: int) -> None:
    """Refuse what is no sensible number of days.

    Raises:
        ValueError: it is less than 1 or beyond all trades.
    """
    if not 1 <= days <= MAXIMUM_DAYS:
        raise ValueError(f"days must be from 1 to {MAXIMUM_DAYS}, not {days}: what is younger than a day stays")


def old_trades(session: Session, limits: Bounds) -> int:
    """How many trades are old, needed or not."""
    return session.exec(select(func.count()).select_from(Trade).where(col(Trade.time) < limits.time)).one()


def old_unpublished(session: Session, limits: Bounds) -> int:
    """How many old events still wait to be published."""
    waits = (col(PositionEvent.time) < limits.time, col(PositionEvent.published_at).is_(None))
    return session.exec(select(func.count()).select_from(PositionEvent).where(*waits)).one()


def _trades(session: Session, limits: Bounds, after: int, limit: int, dry_run: bool) -> Step:
    # By stretches of time, so that rows that stay are walked over once.
    stretch = select(Trade.time).where(col(Trade.time) > after, col(Trade.time) <= limits.trades)
    last = session.exec(stretch.order_by(col(Trade.time)).offset(limit - 1).limit(1)).first()
    until = limits.trades if last is None else last
    inside = (col(Trade.time) > after, col(Trade.time) <= until, ~_needed(session))
    return Step(_remove_all(session, Trade, inside, dry_run), None if last is None else last)


def _needed(session: Session) -> Any:
    """Whether a party of the trade has no first snapshot yet, from which it will be counted back."""
    coin = col(Trade.coin)
    colon = func.strpos(coin, ":") if session.get_bind().dialect.name == "postgresql" else func.instr(coin, ":")
    dex = case((colon > 0, func.substr(coin, 1, colon - 1)), else_=literal(MAIN_DEX))
    # Said in full: two levels deep, SQLAlchemy would look through all trades again.
    has_baseline = (
        exists()
        .where(col(Poll.trader_id) == col(Trader.id), col(Poll.dex) == dex, col(Poll.baseline_time).is_not(None))
        .correlate(Trade, Trader)
    )
    without = (
        exists()
        .where(col(Trader.id).in_([col(Trade.buyer_id), col(Trade.seller_id)]))
        .where(col(Trader.ignored).is_(False), ~has_baseline)
        .correlate(Trade)
    )
    spot = or_(coin.startswith("@"), coin.contains("/"))
    return and_(~spot, without)


def _events(session: Session, limits: Bounds, _after: int, limit: int, dry_run: bool) -> Step:
    old = (
        col(PositionEvent.published_at) < limits.before,
        # Later ones tell a snapshot that waits what was traded since.
        col(PositionEvent.time) <= limits.trades,
    )
    return _some(session, PositionEvent, (PositionEvent.number,), old, limit, dry_run)


def _positions(session: Session, limits: Bounds, _after: int, limit: int, dry_run: bool) -> Step:
    # As a float nothing but 0 is 0 that was ever traded.
    flat = (cast(col(Position.szi), Float) == 0.0, col(Position.changed_time) <= limits.trades)
    return _some(session, Position, (Position.trader_id, Position.coin), flat, limit, dry_run)


def _equity(session: Session, limits: Bounds, after: int, limit: int, dry_run: bool) -> Step:
    # By traders, in the order of the table.
    of_snapshots = (col(Equity.source) == EquitySource.SNAPSHOT, col(Equity.time) < limits.time - limits.time % _DAY)
    ids = select(Equity.trader_id).where(*of_snapshots, col(Equity.trader_id) > after)
    last = session.exec(ids.order_by(col(Equity.trader_id)).offset(limit - 1).limit(1)).first()
    some = (col(Equity.trader_id) > after, *(() if last is None else (col(Equity.trader_id) <= last,)))
    day = (col(Equity.trader_id), col(Equity.time) - col(Equity.time) % _DAY)
    ranked = (
        sa_select(
            col(Equity.trader_id),
            col(Equity.time),
            func.row_number().over(partition_by=day, order_by=col(Equity.time)).label("first"),
            func.row_number().over(partition_by=day, order_by=col(Equity.time).desc()).label("last"),
        )
        .where(*of_snapshots, *some)
        .subquery()
    )
    between = sa_select(ranked.c.trader_id, ranked.c.time).where(ranked.c.first > 1, ranked.c.last > 1)
    chosen = (of_snapshots[0], tuple_(col(Equity.trader_id), col(Equity.time)).in_(between))
    return Step(_remove_all(session, Equity, chosen, dry_run), last)


def _old_streams(limits: Bounds) -> Any:
    return func.coalesce(Stream.ended_at, Stream.written_at, Stream.started_at) < limits.before


def _rejections(session: Session, limits: Bounds, _after: int, limit: int, dry_run: bool) -> Step:
    of_old = col(Rejection.stream_id).in_(select(Stream.id).where(_old_streams(limits)))
    old = (or_(col(Rejection.received_at) < limits.before, of_old),)
    return _some(session, Rejection, (Rejection.id,), old, limit, dry_run)


def _streams(session: Session, limits: Bounds, _after: int, limit: int, dry_run: bool) -> Step:
    return _some(session, Stream, (Stream.id,), (_old_streams(limits),), limit, dry_run)


def _gaps(session: Session, limits: Bounds, _after: int, limit: int, dry_run: bool) -> Step:
    old = (col(Gap.state) == GapState.FILLED, col(Gap.closed_at) < limits.before)
    return _some(session, Gap, (Gap.id,), old, limit, dry_run)


def _runs(session: Session, limits: Bounds, _after: int, limit: int, dry_run: bool) -> Step:
    return _some(
        session, TrackingRun, (TrackingRun.id,), (col(TrackingRun.started_at) < limits.before,), limit, dry_run
    )


#: In the order in which they are removed: what refers to a row goes before it.
RULES: tuple[Rule, ...] = (
    Rule("trades that are in positions", _trades),
    Rule("events that were published", _events),
    Rule("positions that are flat", _positions),
    Rule("equity between the first and last snapshot of a day", _equity),
    Rule("rejected trades and frames", _rejections),
    Rule("streams that ended", _streams),
    Rule("gaps that were filled", _gaps),
    Rule("runs of the tracking", _runs),
)


def _remove_all(session: Session, model: type[SQLModel], chosen: tuple[Any, ...], dry_run: bool) -> int:
    if dry_run:
        return session.exec(select(func.count()).select_from(model).where(*chosen)).one()
    return session.connection().execute(delete(model).where(*chosen)).rowcount


def _some(
    session: Session, model: type[SQLModel], key: tuple[Any, ...], chosen: tuple[Any, ...], limit: int, dry_run: bool
) -> Step:
    """Remove at most so many rows, by their keys."""
    if dry_run:
        return Step(_remove_all(session, model, chosen, dry_run), None)
    keys = sa_select(*key).where(*chosen).limit(limit)
    removed = _remove_all(session, model, ((tuple_(*key) if len(key) > 1 else col(key[0])).in_(keys),), dry_run)
    return Step(removed, 0 if removed == limit else None)
