"""What can be told of traders from their daily returns and their round trips; what cannot be told is NaN, or None.

All are pure functions of arrays with a row for each trader. Those of returns know neither money nor size, so a deposit
changes none of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from tasks.traders.core.arrays import FloatArray
from tasks.traders.core.metrics_kernel import return_metrics
from tasks.traders.core.round_trip_metrics import round_trip_metrics
from tasks.traders.core.shrinkage import shrink_sharpe

#: Every metric, in the order in which people read them.
METRICS = (
    "days",
    "account_age_days",
    "equity",
    "volume",
    "pnl",
    "roi",
    "sharpe",
    "sharpe_error",
    "sharpe_shrunk",
    "psr",
    "sortino",
    "volatility",
    "max_drawdown",
    "calmar",
    "round_trips",
    "win_rate",
    "win_rate_low",
    "win_rate_shrunk",
    "profit_factor",
    "profit_factor_shrunk",
    "risk_ratio",
    "max_profit",
    "weeks",
    "consistency",
    "top_day_share",
)
#: Those that are counted: 0 where there is nothing, never None.
COUNTS = frozenset({"days", "round_trips", "weeks"})


@dataclass(frozen=True, slots=True)
class Aggregates:
    """What is known of traders besides their returns, a value each; NaN is what is not known.

    Attributes:
        pnl: result of all days, in USD.
        volume: traded, in USD.
        equity: the newest account value.
        account_age_days: since the first trade.
        round_trips: positions from flat to flat.
        wins: those of them that made money.
        gross_profit: sum of what they made, net of fees and funding.
        gross_loss: sum of what the others lost, positive.
        max_profit: of the best one.
    """

    pnl: FloatArray
    volume: FloatArray
    equity: FloatArray
    account_age_days: FloatArray
    round_trips: FloatArray
    wins: FloatArray
    gross_profit: FloatArray
    gross_loss: FloatArray
    max_profit: FloatArray

    @classmethod
    def unknown(cls, traders: int) -> Self:
        """Nothing is known, and nobody made a round trip; fields are filled in with `dataclasses.replace`."""
        counted = ("round_trips", "wins", "gross_profit", "gross_loss")
        return cls(
            **{
                field.name: np.zeros(traders) if field.name in counted else np.full(traders, np.nan)
                for field in fields(cls)
            }
        )


@dataclass(frozen=True, slots=True)
class MetricTable:
    """Metrics of traders: a column each metric, a row each trader."""

    columns: Mapping[str, FloatArray]

    def __getitem__(self, metric: str) -> FloatArray:
        return self.columns[metric]

    def __len__(self) -> int:
        return len(self.columns["days"])

    def row(self, number: int) -> dict[str, float | int | None]:
        """One trader's metrics as they are stored and shown: counts are whole, and what cannot be told is None."""
        values = {metric: float(self.columns[metric][number]) for metric in METRICS}
        return {
            metric: int(value) if metric in COUNTS else value if np.isfinite(value) else None
            for metric, value in values.items()
        }


def calculate_individual_metrics(
    returns: FloatArray, aggregates: Aggregates | None = None, *, first_day: int = 0, threads: int = 1
) -> MetricTable:
    """Every metric of every trader.

    Some lean on the others: a shrunk Sharpe ratio or win rate is what is left of it when luck, as large as it shows
    among all of them, is allowed for.

    Args:
        returns: traders x consecutive UTC days; NaN where a trader has no return that day.
        aggregates: what else is known of them; None: nothing.
        first_day: the first column's day, in days since 1970-01-01: tells the weeks, which begin on Mondays.
        threads: at once; the result is the same with any number.

    Raises:
        ValueError: an array has not a row for each trader, a return is infinite or below -1, or what can only be
            positive is negative.
    """
    returned = return_metrics(returns, first_day=first_day, threads=threads)
    traders = len(returned["days"])
    known = Aggregates.unknown(traders) if aggregates is None else aggregates
    given = {field.name: np.asarray(getattr(known, field.name), dtype=np.float64) for field in fields(Aggregates)}
    for name, values in given.items():
        if values.shape != (traders,):
            raise ValueError(f"{name} has {values.shape} values for {traders} traders")
        if np.isinf(values).any():
            raise ValueError(f"{name} has an infinite value")
    trips = round_trip_metrics(given["round_trips"], given["wins"], given["gross_profit"], given["gross_loss"])
    shrunk = shrink_sharpe(returned["sharpe"], returned["days"])
    columns = {**given, **returned, **trips, "sharpe_shrunk": shrunk}
    return MetricTable({metric: columns[metric] for metric in METRICS})


def get_default_metrics() -> dict[str, float | int | None]:
    """The row of a trader without history: nothing is counted and nothing else is told; such a one is not eligible."""
    return {metric: 0 if metric in COUNTS else None for metric in METRICS}
