"""Writes what a trader's stored past comes to: the days, the round trips, and the same once more for the leaderboard.

Everything is made anew from the rows, and only what differs is written: made twice it is the same, and so it is after a
kill at any point.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, delete, select

from tasks.foundation.core.upsert import upsert_rows
from tasks.traders.core.capital import Flow
from tasks.traders.core.coins import is_spot
from tasks.traders.core.daily import Dealing, Series, daily_series
from tasks.traders.core.equity import Point
from tasks.traders.core.fills import DUST
from tasks.traders.core.history_tables import Day, Equity, EquitySource, Fill, Funding, History, LedgerUpdate
from tasks.traders.core.round_trips import TripFill, Trips, round_trips
from tasks.traders.core.series import pack
from tasks.traders.core.worth import Evidence, total

#: USD; the setting `minimum_equity` says otherwise.
MINIMUM_EQUITY = 100.0
_COLUMNS = ("pnl", "equity", "net_flow", "ret", "volume", "fills", "closed_pnl", "fees", "funding")


@dataclass(frozen=True, slots=True)
class Past:
    """What a trader's stored rows come to."""

    series: Series
    trips: Trips
    volume: float


def recompute_days(session: Session, trader_id: int, *, minimum_equity: float = MINIMUM_EQUITY) -> int:
    """Make a trader's days, and the sums of its history, from its stored rows.

    Args:
        session: the transaction; nothing is committed.
        trader_id: whose.
        minimum_equity: USD below which a day has no return; taken for 1 cent where it is less.

    Returns:
        How many days there are.
    """
    return write_past(session, trader_id, read_past(session, trader_id, minimum_equity=minimum_equity))


def read_past(
    session: Session, trader_id: int, *, minimum_equity: float = MINIMUM_EQUITY, known_until: datetime | None = None
) -> Past:
    """Read a trader's rows and make its days of them; writes nothing, so that nobody who writes has to wait.

    Args:
        session: the transaction.
        trader_id: whose.
        minimum_equity: USD below which a day has no return; taken for 1 cent where it is less.
        known_until: until when deposits are known; None: until the last refresh.
    """
    history = session.get(History, trader_id)
    fills, dealings = _read_fills(session, trader_id)
    funding = _read_funding(session, trader_id)
    dealings += [Dealing(time, funding=usdc) for time, _, usdc in funding]
    refreshed_at, fills_from = (None, None) if history is None else (history.refreshed_at, history.fills_from)
    evidence = Evidence(
        points=_read_points(session, trader_id),
        snapshots=_read_snapshots(session, trader_id, known_until or refreshed_at),
        flows=_read_flows(session, trader_id),
        fills_from=fills_from,
    )
    # A return is measured against something.
    series = daily_series(evidence, dealings, minimum=max(minimum_equity, 0.01))
    return Past(series, round_trips(fills, funding), total(dealing.volume for dealing in dealings))


def write_past(session: Session, trader_id: int, past: Past) -> int:
    """Write the days that are not stored like this, and the sums.

    Args:
        session: the transaction; nothing is committed.
        trader_id: whose.
        past: as read.

    Returns:
        How many days there are.
    """
    history = history_of(session, trader_id)
    _write_days(session, trader_id, past.series)
    _summarise(history, past)
    session.add(history)
    session.flush()
    return len(past.series.days)


def history_of(session: Session, trader_id: int) -> History:
    """A trader's row, locked for this transaction; a new one where there is none.

    Args:
        session: the transaction; nothing is committed.
        trader_id: whose.
    """
    row = History(trader_id=trader_id).model_dump()
    upsert_rows(session, History, [row], key=("trader_id",))
    wanted = select(History).where(History.trader_id == trader_id).with_for_update()
    return session.exec(wanted.execution_options(populate_existing=True)).one()


def _read_fills(session: Session, trader_id: int) -> tuple[list[TripFill], list[Dealing]]:
    """The fills of perpetuals; what is traded for spot tokens is no position and no result of one."""
    columns: list[Any] = [Fill.time, Fill.coin, Fill.side, Fill.px, Fill.sz, Fill.start_position, Fill.dir]
    columns += [Fill.closed_pnl, Fill.fee, Fill.liquidated]
    fills, dealings = [], []
    for time, coin, side, px, sz, start, direction, closed_pnl, fee, liquidated in session.connection().execute(
        select(*columns).where(col(Fill.trader_id) == trader_id)
    ):
        if is_spot(coin) or direction == DUST:
            continue
        won, paid = float(closed_pnl), float(fee or 0)
        fills.append(TripFill(time, coin, side, sz, start, won, paid, liquidated))
        dealings.append(Dealing(time, closed_pnl=won, fee=paid, volume=float(px * sz), fills=1))
    return fills, dealings


def _read_funding(session: Session, trader_id: int) -> list[tuple[int, str, float]]:
    columns: list[Any] = [Funding.time, Funding.coin, Funding.usdc]
    paid = session.connection().execute(select(*columns).where(col(Funding.trader_id) == trader_id))
    return [(time, coin, float(usdc)) for time, coin, usdc in paid]


def _read_flows(session: Session, trader_id: int) -> list[tuple[int, float | None]]:
    columns: list[Any] = [LedgerUpdate.time, LedgerUpdate.usdc]
    moved = session.connection().execute(select(*columns).where(col(LedgerUpdate.trader_id) == trader_id))
    return [(time, None if usdc is None else float(usdc)) for time, usdc in moved if usdc != 0]


def _read_points(session: Session, trader_id: int) -> list[Point]:
    return [
        Point(time, value, pnl)
        for time, value, pnl in _read_equity(session, trader_id, EquitySource.PORTFOLIO)
        if pnl is not None
    ]


def _read_snapshots(session: Session, trader_id: int, until: datetime | None) -> list[Flow]:
    """Snapshots up to when deposits are known: one that came later would look like a gain."""
    last = None if until is None else until.timestamp() * 1000
    return [
        (time, value)
        for time, value, _ in _read_equity(session, trader_id, EquitySource.SNAPSHOT)
        if last is None or time <= last
    ]


def _read_equity(session: Session, trader_id: int, source: EquitySource) -> Iterable[tuple[int, float, float | None]]:
    wanted = select(Equity.time, Equity.account_value, Equity.pnl).where(
        Equity.trader_id == trader_id, Equity.source == source
    )
    return session.exec(wanted.order_by(col(Equity.time))).all()


def _write_days(session: Session, trader_id: int, series: Series) -> None:
    columns: list[Any] = [getattr(Day, name) for name in ("day", *_COLUMNS)]
    stored = {
        row[0]: tuple(row)
        for row in session.connection().execute(select(*columns).where(col(Day.trader_id) == trader_id))
    }
    wanted = {row.day: asdict(row) for row in series.days}
    gone = sorted(stored.keys() - wanted.keys())
    if gone:
        session.connection().execute(delete(Day).where(col(Day.trader_id) == trader_id, col(Day.day).in_(gone)))
    changed = [row for day, row in wanted.items() if stored.get(day) != tuple(row[name] for name in ("day", *_COLUMNS))]
    upsert_rows(
        session, Day, [{"trader_id": trader_id, **row} for row in changed], key=("trader_id", "day"), update=_COLUMNS
    )


def _summarise(history: History, past: Past) -> None:
    nets = [trip.net for trip in past.trips.trips]
    won, lost = [net for net in nets if net > 0], [-net for net in nets if net < 0]
    history.round_trips, history.wins, history.liquidations = len(nets), len(won), past.trips.liquidated
    history.gross_profit, history.max_profit = total(won), max(won, default=0.0)
    history.gross_loss, history.max_loss = total(lost), max(lost, default=0.0)
    history.volume, series = past.volume, past.series
    history.first_time, history.pnl, history.equity = series.begun, series.pnl, series.equity
    packed = pack((row.day, row.ret) for row in series.days)
    history.series_day, history.returns = packed if packed is not None else (None, None)
