"""What an account was worth and had won at moments, from the exchange's `portfolio`.

Its periods (day, week, month, all time) are samples of one history, denser the shorter they are, and each counts its
result from its own beginning. Put together and counted from the account's beginning they are one series, which grows
denser with every fetch, since what was stored stays. Those of perpetuals alone (`perpDay`...) are taken where there are
any: fills, funding and snapshots tell of perpetuals as well.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from sqlmodel import Session, col, select, update

from tasks.foundation.core.upsert import upsert_rows
from tasks.traders.core.history_tables import Equity, EquitySource

#: From long to short: a shorter period is joined on where it meets what is there.
_PERIODS = ("allTime", "month", "week", "day")
_PERPETUALS = ("perpAllTime", "perpMonth", "perpWeek", "perpDay")
#: Amounts that differ by less are the same: sums of floats.
_ROUNDING = 1e-9

#: Milliseconds and USD.
History = Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Point:
    """What an account was worth at a moment, in USD, and its result since its beginning."""

    time: int
    equity: float
    pnl: float


def portfolio_points(periods: Mapping[str, tuple[History, History]]) -> list[Point]:
    """One series of all periods, oldest first, with the result counted as the longest one does.

    Args:
        periods: by their names, the history of the account's value and that of its result. They share their moments;
            one that only one of them has is left out.
    """
    names = _PERPETUALS if any(name in periods and periods[name][0] for name in _PERPETUALS) else _PERIODS
    joined: dict[int, Point] = {}
    for name in names:
        values, results = periods.get(name, ((), ()))
        pnl_at = dict(results)
        found = [Point(time, value, pnl_at[time]) for time, value in values if time in pnl_at]
        if not found:
            continue
        shift = 0.0
        if joined:
            meet = max((point.time for point in found if point.time in joined), default=None)
            if meet is None:
                # Nothing says how much had been won before it began.
                continue
            shift = joined[meet].pnl - pnl_at[meet]
        for point in found:
            joined.setdefault(point.time, replace(point, pnl=point.pnl + shift))
    return _without_old_balance([joined[time] for time in sorted(joined)])


def _without_old_balance(points: list[Point]) -> list[Point]:
    """Take a balance that is older than the history out of the result.

    The history of perpetuals begins in 2024; what an older account held then is told as won, in one step from nothing.
    An empty account that no money came to cannot win.
    """
    for before, after in pairwise(points):
        if before.equity:
            break
        won = after.pnl - before.pnl
        if won > 0 and math.isclose(won, after.equity, rel_tol=1e-6):
            return [point if point.time < after.time else replace(point, pnl=point.pnl - won) for point in points]
    return points


def store_points(session: Session, trader_id: int, points: Iterable[Point]) -> int:
    """Store a portfolio's points; those that are stored keep their place in its result.

    Where the exchange counts the result otherwise than it did before (a period that begins later, where it has none of
    all time), stored results are moved by what a common moment differs, so that no step comes into the series.

    Args:
        session: the transaction; nothing is committed.
        trader_id: whose.
        points: of one answer.

    Returns:
        How many there were, known ones included.
    """
    told = {point.time: point for point in points}
    wanted = select(Equity.time, Equity.pnl).where(
        Equity.trader_id == trader_id, Equity.source == EquitySource.PORTFOLIO, col(Equity.pnl).is_not(None)
    )
    stored = {time: pnl for time, pnl in session.exec(wanted).all() if pnl is not None}
    meet = max(stored.keys() & told.keys(), default=None)
    if meet is not None:
        moved = told[meet].pnl - stored[meet]
        if abs(moved) > _ROUNDING * max(1.0, abs(told[meet].pnl)):
            session.connection().execute(
                update(Equity)
                .where(
                    col(Equity.trader_id) == trader_id,
                    col(Equity.source) == EquitySource.PORTFOLIO,
                    col(Equity.pnl).is_not(None),
                )
                .values(pnl=col(Equity.pnl) + moved)
            )
    rows = [
        {
            "trader_id": trader_id,
            "time": point.time,
            "source": EquitySource.PORTFOLIO,
            "account_value": point.equity,
            "pnl": point.pnl,
        }
        for point in told.values()
    ]
    upsert_rows(session, Equity, rows, key=("trader_id", "time", "source"), update=("account_value", "pnl"))
    return len(rows)
