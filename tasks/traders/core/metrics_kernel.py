"""Metrics of daily returns, over blocks of traders small enough to stay in a core's cache."""

import math
from collections.abc import Iterator

import numpy as np

from tasks.traders.core.percentiles import FloatArray

DAYS_A_YEAR = 365.0
MINIMUM_WEEKS = 4
#: 1970-01-01 was a Thursday; weeks begin on Mondays.
FIRST_WEEKDAY = 3
BLOCK = 512


def return_metrics(returns: FloatArray, *, first_day: int = 0, threads: int = 1) -> dict[str, FloatArray]:
    """Every metric that daily returns alone tell.

    Raises:
        ValueError: not traders x days, or a return that is infinite or below -1.
    """
    if returns.ndim != 2:
        raise ValueError("returns are traders x days")
    r = np.asarray(returns, dtype=np.float64)
    if np.isinf(r).any() or (r < -1).any():
        raise ValueError("a return is infinite or below -1")
    known = ~np.isnan(r)
    x = np.where(known, r, 0.0)
    n = known.sum(axis=1).astype(np.float64)
    with np.errstate(all="ignore"):
        mean = x.sum(axis=1) / np.where(n > 0, n, np.nan)
        d = np.where(known, x - mean[:, None], 0.0)
        m2, m3, m4 = (d**2).sum(axis=1), (d**3).sum(axis=1), (d**4).sum(axis=1)
        sd = np.sqrt(m2 / np.where(n > 1, n - 1, np.nan))
        sd[sd <= 1e-12 * np.abs(mean)] = 0.0
        daily = np.where(sd > 0, mean / sd, np.nan)
        value = np.cumprod(1 + x, axis=1)
        peak = np.maximum(np.maximum.accumulate(value, axis=1), 1.0)
        drawdown = (1 - value / peak).max(axis=1, initial=0.0)
        final = value[:, -1] if value.shape[1] else np.ones(len(r))
        roi = np.where(n > 0, final - 1, np.nan)
        down = np.sqrt((np.minimum(x, 0) ** 2).sum(axis=1) / np.where(n > 1, n, np.nan))
        gain = np.maximum(x, 0).sum(axis=1)
        skew, kurtosis = (m3 / n) / (m2 / n) ** 1.5, (m4 / n) / (m2 / n) ** 2
        z = daily * np.sqrt(n - 1) / np.sqrt(1 - skew * daily + (kurtosis - 1) / 4 * daily**2)
        psr = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in z.tolist()])
        drawdown = np.where(n > 0, drawdown, np.nan)
        calmar = np.where(drawdown > 0, (final ** (365 / n) - 1) / drawdown, np.nan)
        weeks, won = np.zeros(len(r)), np.zeros(len(r))
        for columns in _weeks(r.shape[1], first_day):
            weeks += known[:, columns].any(axis=1)
            before = value[:, columns.start - 1] if columns.start else np.ones(len(r))
            won += value[:, columns.stop - 1] > before
        return {
            "days": n,
            "roi": roi,
            "sharpe": daily * np.sqrt(365),
            "sharpe_error": np.sqrt((1 + daily**2 / 2) / n) * np.sqrt(365),
            "psr": psr,
            "sortino": np.where(down > 0, np.sqrt(365) * mean / down, np.nan),
            "volatility": sd * np.sqrt(365),
            "max_drawdown": drawdown,
            "calmar": calmar,
            "weeks": weeks,
            "consistency": np.where(weeks >= MINIMUM_WEEKS, won / weeks, np.nan),
            "top_day_share": np.where(gain > 0, x.max(axis=1, initial=0.0) / gain, np.nan),
        }


def _weeks(days: int, first_day: int) -> Iterator[slice]:
    """The columns of each calendar week."""
    start = 0
    while start < days:
        stop = min(days, start + 7 - (first_day + start + FIRST_WEEKDAY) % 7)
        yield slice(start, stop)
        start = stop
