"""What is left of a Sharpe ratio when luck is allowed for: empirical Bayes.

Of thousands of traders the best by their own Sharpe ratio are those with the fewest days. How widely true skill is
spread is told by all of them together: it is what makes their Sharpe ratios differ by more than luck does. That spread
is not taken to be normal, for a few may be far better than all others: it is any distribution over a grid, found by a
few steps of expectation maximisation from one with heavy tails. Each trader's shrunk ratio is then the mean of what the
trader's own days leave possible. For two with as many days, the better ratio is always the better shrunk one.

The scale is one on which luck is the same everywhere: 2^½ asinh(ratio / 2^½), whose error is that of Lo (2002) at any
ratio; few days are given the wider tails of Student's distribution.
"""

from math import sqrt

import numpy as np

from tasks.traders.core.arrays import FloatArray

#: The exchange never closes.
DAYS_A_YEAR = 365.0
#: Daily ratios of the grid, dense about 0: up to 4, which is 78 a year.
GRID_NODES, GRID_END, GRID_SCALE = 121, 4.4, 0.1
#: Half of all skill lies within this daily ratio (1 a year) until the traders themselves tell better.
FIRST_SPREAD = 0.05
#: As many traders' word the first distribution has: where few are known, they do not decide alone.
FIRST_TRADERS = 50.0
#: Few steps leave the distribution smooth; many make it a few points, and ranks jump between them.
STEPS = 20
#: Traders are counted in cells of this width, and by days whose error is alike, before the steps.
CELL_WIDTH, CELLS_A_DOUBLING = 0.02, 4
#: Traders at once.
BLOCK = 2048


def _steady(ratio: FloatArray) -> FloatArray:
    """On the scale on which luck is the same everywhere."""
    steady: FloatArray = sqrt(2) * np.arcsinh(ratio / sqrt(2))
    return steady


_STEEPNESS = np.linspace(-GRID_END, GRID_END, GRID_NODES)
_RATIOS: FloatArray = GRID_SCALE * np.sinh(_STEEPNESS)
_FIRST: FloatArray = np.cosh(_STEEPNESS) / (1 + (_RATIOS / FIRST_SPREAD) ** 2)
_FIRST /= _FIRST.sum()
_PLACES = _steady(_RATIOS)[:, np.newaxis]
_ENDS = (float(_PLACES[0, 0]), float(_PLACES[-1, 0]))


def _error(days: FloatArray) -> FloatArray:
    """Variance of a ratio on that scale; 1 / n for many days."""
    return days / (days - 1) ** 2


def shrink_sharpe(sharpe: FloatArray, days: FloatArray) -> FloatArray:
    """The mean of what each trader's true annual Sharpe ratio may be, given all traders' ratios.

    Args:
        sharpe: annual Sharpe ratios; NaN where there is none, and there it stays.
        days: with a return, at least 2 where there is a ratio.
    """
    shrunk = np.full(sharpe.shape, np.nan)
    known = np.flatnonzero(np.isfinite(sharpe) & (days > 1))
    # Beyond the grid's ends, a ratio counts as its end.
    place, error = np.clip(_steady(sharpe[known] / sqrt(DAYS_A_YEAR)), *_ENDS), _error(days[known])
    weight = skill_distribution(place, error)[:, np.newaxis]
    weighed, work = weight * _RATIOS[:, np.newaxis], np.empty((2, GRID_NODES * BLOCK))
    found = np.empty(known.size)
    for start in range(0, known.size, BLOCK):
        block = slice(start, start + BLOCK)
        size = place[block].size * GRID_NODES
        chances, parts = (buffer[:size].reshape(GRID_NODES, -1) for buffer in work)
        _chances(place[block], error[block], chances)
        # Sums along the grid for each trader, and no matrix product: that rounds by where a trader stands.
        total = np.add.reduce(np.multiply(chances, weight, out=parts), axis=0)
        found[block] = np.add.reduce(np.multiply(chances, weighed, out=parts), axis=0) / total
    shrunk[known] = found * sqrt(DAYS_A_YEAR)
    return shrunk


def skill_distribution(place: FloatArray, error: FloatArray) -> FloatArray:
    """How true skill is spread over the grid: the weight of each of its ratios.

    Traders are counted in cells first, so the answer takes as long for a million, and does not depend on their order.
    """
    if not place.size:
        return _FIRST
    column = np.rint(place / CELL_WIDTH).astype(np.int64)
    level = np.rint(np.log2(error) * CELLS_A_DOUBLING).astype(np.int64)
    low_column, low_level = column.min(), level.min()
    width = int(column.max() - low_column) + 1
    counts = np.bincount((level - low_level) * width + column - low_column)
    cells = np.flatnonzero(counts)
    middles = (cells % width + low_column) * CELL_WIDTH
    errors = np.exp2((cells // width + low_level) / CELLS_A_DOUBLING)
    chances, traders = np.empty((GRID_NODES, cells.size)), counts[cells].astype(np.float64)
    _chances(middles, errors, chances)
    spread = _FIRST
    for _ in range(STEPS):
        spread = spread * (chances @ (traders / (spread @ chances)))
        spread = (spread + FIRST_TRADERS * _FIRST) / (traders.sum() + FIRST_TRADERS)
    return spread


def _chances(place: FloatArray, error: FloatArray, out: FloatArray) -> None:
    """Grid x traders: how likely each ratio makes what was seen.

    The grid is dense enough that what is nearest to a place within its ends never vanishes: not in 10,000 days.
    """
    np.subtract(_PLACES, place, out=out)
    np.multiply(out, out, out=out)
    np.multiply(out, -0.5 / error, out=out)
    np.exp(out, out=out)
