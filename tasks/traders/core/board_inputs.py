"""What a leaderboard is made of, read in one go: a row for each trader, ordered by address."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlmodel import Session, col, select

from tasks.traders.core.history_tables import History
from tasks.traders.core.series import matrix
from tasks.traders.core.tables import Trader

_DAY_MS = 86_400_000
_AGGREGATES = ("round_trips", "wins", "gross_profit", "gross_loss", "max_profit", "max_loss", "volume")


@dataclass(frozen=True, slots=True)
class BoardInputs:
    """All traders, ordered by address, and what is known of their pasts.

    Attributes:
        trader_ids: a row each.
        addresses: same.
        known: whose past was fetched to its end once; the others have zeros and NaN below.
        ignored: whom an operator does not want to see.
        aggregates: by name: round_trips, wins, gross_profit, gross_loss, max_profit, max_loss, volume.
        age_days: from the first known fill or equity to the end of `as_of_day`; NaN where there is none.
        pnl: USD over all days; NaN where it is not known.
        equity: newest known; NaN where it is not.
        series: (first day, packed returns) of each.
        as_of_day: the last day counted, in days since 1970-01-01.
    """

    trader_ids: NDArray[np.int64]
    addresses: list[str]
    known: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    aggregates: dict[str, NDArray[np.float64]]
    age_days: NDArray[np.float64]
    pnl: NDArray[np.float64]
    equity: NDArray[np.float64]
    series: list[tuple[int, bytes]]
    as_of_day: int

    def __len__(self) -> int:
        return len(self.addresses)

    def returns(self, rows: NDArray[np.int64], *, days: int) -> NDArray[np.float64]:
        """Daily returns of these rows, over the last `days` days; NaN where there is none."""
        return matrix([self.series[row] for row in rows], days=days, as_of_day=self.as_of_day)

    def longest(self, limit: int) -> int:
        """Days from the first return of anybody to `as_of_day`, at most `limit` and at least 1."""
        first = min((day for day, packed in self.series if packed), default=self.as_of_day)
        return max(1, min(limit, self.as_of_day - first + 1))

    def digest(self) -> str:
        """A hash of everything that went in, whatever ids the database gave."""
        found = hashlib.sha256(str(self.as_of_day).encode())
        for address, (day, packed) in zip(self.addresses, self.series, strict=True):
            found.update(f"{address}:{day}:{len(packed)}\n".encode())
            found.update(packed)
        for name in _AGGREGATES:
            found.update(self.aggregates[name].tobytes())
        for column in (self.known, self.ignored, self.age_days, self.pnl, self.equity):
            found.update(column.tobytes())
        return found.hexdigest()


def read_inputs(session: Session, *, as_of_day: int) -> BoardInputs:
    """Read what a leaderboard as of a day needs.

    Args:
        session: the transaction.
        as_of_day: the last UTC day that counts, in days since 1970-01-01.
    """
    columns: list[Any] = [Trader.id, Trader.address, Trader.ignored, History.refreshed_at, History.first_time]
    columns += [History.pnl, History.equity, History.series_day, History.returns]
    columns += [getattr(History, name) for name in _AGGREGATES]
    wanted = (
        select(*columns)
        .join(History, col(History.trader_id) == col(Trader.id), isouter=True)
        .order_by(col(Trader.address))
    )
    rows = session.connection().execute(wanted).all()
    end = (as_of_day + 1) * _DAY_MS
    first = _numbers([row[4] for row in rows])
    return BoardInputs(
        trader_ids=np.array([row[0] for row in rows], dtype=np.int64),
        addresses=[row[1] for row in rows],
        known=np.array([row[3] is not None for row in rows], dtype=np.bool_),
        ignored=np.array([row[2] for row in rows], dtype=np.bool_),
        aggregates={name: _numbers([row[9 + at] for row in rows], 0.0) for at, name in enumerate(_AGGREGATES)},
        age_days=np.maximum(end - first, 0) / _DAY_MS,
        pnl=_numbers([row[5] for row in rows]),
        equity=_numbers([row[6] for row in rows]),
        series=[(row[7] if row[7] is not None else as_of_day, row[8] or b"") for row in rows],
        as_of_day=as_of_day,
    )


def _numbers(values: list[float | None], absent: float = np.nan) -> NDArray[np.float64]:
    return np.array([absent if value is None else value for value in values], dtype=np.float64)
