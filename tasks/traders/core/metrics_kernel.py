"""Metrics of daily returns, over blocks of traders that stay in the processor's cache.

A block is turned so that a day's returns of all its traders stand side by side: what runs along the days (the account's
value, its peak) is then a loop over days with arrays of traders, and all else are sums over the first axis. Each step
goes over the block once and writes into buffers that are used again. Every trader's numbers come out the same to the
last bit wherever the trader stands and whoever else is in the block.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from math import erfc, sqrt

import numpy as np

from tasks.traders.core.arrays import BoolArray, FloatArray

#: The exchange never closes.
DAYS_A_YEAR = 365.0
#: Weeks with a return that consistency needs.
MINIMUM_WEEKS = 4
#: Less variation than this part of the mean is rounding of returns that are all equal.
EQUAL_RETURNS = 1e-9
#: Of a Monday: 1970-01-01 was a Thursday.
FIRST_MONDAY = 4
#: Traders at once: many enough that calls cost little, few enough that 200 days of three buffers stay in the cache.
BLOCK = 2048
#: Rows that are turned at once: their ends stay in the nearest cache.
TURNED = 256

_SUMS = ("days", "mean", "square", "cube", "fourth", "gain", "loss_square", "best", "value", "drawdown", "weeks", "won")


def return_metrics(returns: FloatArray, *, first_day: int = 0, threads: int = 1) -> dict[str, FloatArray]:
    """Every metric that daily returns alone tell; NaN is what they do not.

    Raises:
        ValueError: not traders x days, or a return that is infinite or below -1.
    """
    returns = np.asarray(returns, dtype=np.float64)
    if returns.ndim != 2:
        raise ValueError(f"returns are traders x days, not an array of {returns.ndim} dimensions")
    weeks = list(_weeks(returns.shape[1], first_day))
    blocks = [slice(start, start + BLOCK) for start in range(0, len(returns), BLOCK)]
    sums = {name: np.empty(len(returns)) for name in _SUMS}
    threads = max(1, min(threads, len(blocks)))

    def share(first: int) -> None:
        if blocks:
            buffers = _Buffers(returns.shape[1], min(BLOCK, len(returns)))
            for block in blocks[first::threads]:
                _sum_block(returns[block], weeks, buffers, {name: values[block] for name, values in sums.items()})

    if threads == 1:
        share(0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(share, range(threads)))
    return _metrics(sums)


def _weeks(days: int, first_day: int) -> Iterator[slice]:
    """The columns of each calendar week, the first and the last one as far as they go."""
    start = 0
    while start < days:
        stop = min(days, start + 7 - (first_day + start - FIRST_MONDAY) % 7)
        yield slice(start, stop)
        start = stop


class _Buffers:
    """What one thread works in."""

    def __init__(self, days: int, traders: int) -> None:
        self.days = np.empty((3, days * traders))
        self.missing = np.empty(days * traders, dtype=np.bool_)
        self.traders = np.empty((3, traders))
        # numpy compares with an array at twice the speed of a number.
        self.zeros = np.zeros(traders)

    def shaped(self, days: int, traders: int) -> tuple[list[FloatArray], BoolArray]:
        """Whole arrays of that shape, also for a last block that is smaller."""
        size = days * traders
        return [buffer[:size].reshape(days, traders) for buffer in self.days], self.missing[:size].reshape(
            days, traders
        )


def _sum_block(returns: FloatArray, weeks: list[slice], buffers: _Buffers, out: dict[str, FloatArray]) -> None:
    """Everything that needs a pass over a block's returns.

    Raises:
        ValueError: a return is infinite or below -1.
    """
    traders, days = returns.shape
    (known, work, square), missing = buffers.shaped(days, traders)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for start in range(0, traders, TURNED):
            np.copyto(known[:, start : start + TURNED], returns[start : start + TURNED].T)
        np.isnan(known, out=missing)
        np.copyto(known, 0.0, where=missing)
        np.maximum.reduce(known, axis=0, out=out["best"], initial=0.0)
        if np.isinf(out["best"]).any() or np.minimum.reduce(known, axis=None, initial=0.0) < -1:
            raise ValueError("a return is infinite, or below -1: more than all was lost")
        np.subtract(days, np.add.reduce(missing, axis=0, dtype=np.uint32), out=out["days"])
        np.add.reduce(known, axis=0, out=out["mean"])
        out["mean"] /= out["days"]
        np.subtract(known, out["mean"], out=work)
        np.copyto(work, 0.0, where=missing)
        np.multiply(work, work, out=square)
        np.add.reduce(square, axis=0, out=out["square"])
        np.multiply(work, square, out=work)
        np.add.reduce(work, axis=0, out=out["cube"])
        np.multiply(square, square, out=square)
        np.add.reduce(square, axis=0, out=out["fourth"])
        np.maximum(known, buffers.zeros[:traders], out=work)
        np.add.reduce(work, axis=0, out=out["gain"])
        np.subtract(known, work, out=work)
        np.multiply(work, work, out=work)
        np.add.reduce(work, axis=0, out=out["loss_square"])
        known += 1.0
        _follow(known, missing, weeks, buffers.traders[:, :traders], out)


def _follow(
    growth: FloatArray, missing: BoolArray, weeks: list[slice], work: FloatArray, out: dict[str, FloatArray]
) -> None:
    """From day to day: the value of one dollar, how far it is below its peak, and the weeks in which it grew."""
    value, least, won, active = out["value"], out["drawdown"], out["won"], out["weeks"]
    peak, part, before = work
    value[:], least[:], peak[:], won[:], active[:] = 1.0, 1.0, 1.0, 0.0, 0.0
    for week in weeks:
        before[:] = value
        for day in growth[week]:
            np.multiply(value, day, out=value)
            np.maximum(peak, value, out=peak)
            np.divide(value, peak, out=part)
            np.minimum(least, part, out=least)
        won += value > before
        active += ~np.logical_and.reduce(missing[week], axis=0)
    np.subtract(1.0, least, out=least)


def _metrics(sums: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """From the sums, for all traders at once."""
    days, mean = sums["days"], sums["mean"]
    year = sqrt(DAYS_A_YEAR)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        any_day, two_days = np.where(days > 0, days, np.nan), np.where(days > 1, days, np.nan)
        deviation = np.sqrt(sums["square"] / (two_days - 1))
        deviation[deviation <= EQUAL_RETURNS * np.abs(mean)] = 0.0
        daily = mean / np.where(deviation > 0, deviation, np.nan)
        downside = np.sqrt(sums["loss_square"] / two_days)
        drawdown = sums["drawdown"] + (any_day - any_day)
        return {
            "days": days,
            "roi": sums["value"] - any_day / any_day,
            "sharpe": daily * year,
            "sharpe_error": np.sqrt((1 + daily**2 / 2) / days) * year,
            "psr": _probabilistic_sharpe(daily, days, sums),
            "sortino": mean / np.where(downside > 0, downside, np.nan) * year,
            "volatility": deviation * year,
            "max_drawdown": drawdown,
            "calmar": (sums["value"] ** (DAYS_A_YEAR / any_day) - 1) / np.where(drawdown > 0, drawdown, np.nan),
            "weeks": sums["weeks"],
            "consistency": sums["won"] / np.where(sums["weeks"] >= MINIMUM_WEEKS, sums["weeks"], np.nan),
            "top_day_share": sums["best"] / np.where(sums["gain"] > 0, sums["gain"], np.nan),
        }


def _probabilistic_sharpe(daily: FloatArray, days: FloatArray, sums: dict[str, FloatArray]) -> FloatArray:
    """The probability that the true Sharpe ratio is above 0, for returns of this skewness and these tails."""
    variance = sums["square"] / days
    skewness = sums["cube"] / days / (variance * np.sqrt(variance))
    kurtosis = sums["fourth"] / days / variance**2
    error = np.sqrt(1 - skewness * daily + (kurtosis - 1) / 4 * daily**2)
    deviates = daily * np.sqrt(days - 1) / np.where(error > 0, error, np.nan) / -sqrt(2)
    return np.fromiter(map(erfc, deviates.tolist()), dtype=np.float64, count=len(deviates)) / 2
