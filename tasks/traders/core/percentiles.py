"""Where a value stands among others: between 0, nobody is worse, and 1, everybody else is."""

import numpy as np

from tasks.traders.core.arrays import FloatArray


def percentile_ranks(values: FloatArray) -> FloatArray:
    """The rank of each value among those that are known, from 0 for the smallest to 1 for the greatest.

    Equal values share the mean of their ranks. NaN stays NaN and counts for nobody. A value alone, and values that are
    all equal, stand in the middle.
    """
    values = np.asarray(values, dtype=np.float64)
    ranks = np.full(values.shape, np.nan)
    known = np.flatnonzero(~np.isnan(values))
    if not known.size:
        return ranks
    if known.size == 1:
        ranks[known] = 0.5
        return ranks
    among = values[known]
    order = np.argsort(among)
    ordered = among[order]
    # Where each run of equal values begins; a run's ranks are first ... last, and all get their mean.
    first = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    after = np.concatenate((first[1:], [known.size]))
    means = (first + after - 1) / (2.0 * (known.size - 1))
    ranks[known[order]] = np.repeat(means, after - first)
    return ranks


def min_max(values: FloatArray) -> FloatArray:
    """Each value's way from the smallest to the greatest; where all are equal, 0, as the former system had it."""
    values = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(values)
    scaled = np.full(values.shape, np.nan)
    if known.any():
        low, high = values[known].min(), values[known].max()
        scaled[known] = np.clip((values[known] - low) / (high - low if high > low else 1.0), 0.0, 1.0)
    return scaled
