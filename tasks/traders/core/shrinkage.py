"""What is left of a Sharpe ratio when luck is allowed for."""

import numpy as np

from tasks.traders.core.percentiles import FloatArray

DAYS_A_YEAR = 365.0


def shrink_sharpe(sharpe: FloatArray, days: FloatArray) -> FloatArray:
    """Each annual Sharpe ratio's posterior mean, under what all of them tell of how skill is spread."""
    shrunk = np.full(sharpe.shape, np.nan)
    known = np.isfinite(sharpe)
    if not known.any():
        return shrunk
    ratio, noise = sharpe[known] / np.sqrt(DAYS_A_YEAR), 1.0 / days[known]
    order = np.lexsort((ratio, noise))
    sorted_ratio, sorted_noise = ratio[order], noise[order]
    weights = 1.0 / (sorted_noise + sorted_noise.mean())
    mean = (weights * sorted_ratio).sum() / weights.sum()
    spread = max(float((weights * ((sorted_ratio - mean) ** 2 - sorted_noise)).sum() / weights.sum()), 0.0)
    shrunk[known] = (mean + (ratio - mean) * spread / (spread + noise)) * np.sqrt(DAYS_A_YEAR)
    return shrunk
