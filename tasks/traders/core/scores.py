"""Scores and ranks: pure functions of metrics, of who is eligible, and of a profile.

Who may be ranked is decided elsewhere and given as a mask: those who may not have no score and are in nobody's way.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tasks.traders.core.arrays import BoolArray, FloatArray, IntArray
from tasks.traders.core.metrics import MetricTable
from tasks.traders.core.percentiles import min_max, percentile_ranks
from tasks.traders.core.profiles import Component, Profile, Scale


@dataclass(frozen=True, slots=True)
class Scores:
    """What a profile makes of the traders, in the order of the metrics' rows.

    Attributes:
        profile: its name.
        score: from 0 to 1; NaN for those who are not eligible.
        rank: 1 is the best, no rank twice; 0 for those who are not eligible.
        order: rows of the eligible, best first.
        components: by metric, its part of the score; they add up to the score before it is rounded. NaN as `score`.
    """

    profile: str
    score: FloatArray
    rank: IntArray
    order: IntArray
    components: Mapping[str, FloatArray]

    def decomposition(self, row: int) -> dict[str, float]:
        """By metric, its part of one eligible trader's score."""
        return {metric: float(parts[row]) for metric, parts in self.components.items()}


def calculate_trader_scores(
    metrics: MetricTable, eligible: BoolArray, profile: Profile, *, tie_order: IntArray | None = None
) -> Scores:
    """Score and rank the eligible among themselves.

    A metric that cannot be told earns nothing. Equal scores are ranked by `tie_order`.

    Args:
        metrics: of all traders.
        eligible: who is ranked; a row each.
        profile: what counts.
        tie_order: of each row, where it stands among equals (as by address); None: the rows' own order.

    Raises:
        ValueError: an array has not a value for each row.
    """
    return calculate_scores(metrics, eligible, [profile], tie_order=tie_order)[profile.name]


def calculate_scores(
    metrics: MetricTable, eligible: BoolArray, profiles: Iterable[Profile], *, tie_order: IntArray | None = None
) -> dict[str, Scores]:
    """The same in several profiles, by their names; a metric that more than one weighs is ranked once.

    Raises:
        ValueError: an array has not a value for each row.
    """
    rows = len(metrics)
    if eligible.shape != (rows,) or (tie_order is not None and tie_order.shape != (rows,)):
        raise ValueError(f"{rows} rows of metrics need as many marks of who is eligible, and places among equals")
    among = np.flatnonzero(eligible)
    if tie_order is not None:
        # Everything below is done in the order of equals, so that sorting need only keep it.
        among = among[np.argsort(tie_order[among], kind="stable")]
    scaled: dict[tuple[Scale, str, bool], FloatArray] = {}
    found = {}
    for profile in profiles:
        total, components = np.zeros(among.size), {}
        for part in profile.components:
            key = (profile.scale, part.metric, part.lower_is_better)
            if key not in scaled:
                scaled[key] = _scaled(metrics[part.metric][among], part, profile.scale)
            earned = scaled[key] * part.weight
            total += earned
            components[part.metric] = _spread(earned, among, rows)
        if profile.digits is not None:
            np.round(total, profile.digits, out=total)
        order = among[_best_first(total)]
        rank = np.zeros(rows, dtype=np.int64)
        rank[order] = np.arange(1, order.size + 1)
        found[profile.name] = Scores(profile.name, _spread(total, among, rows), rank, order, components)
    return found


def _scaled(values: FloatArray, part: Component, scale: Scale) -> FloatArray:
    """From 0 to 1, the better the more; 0 where nothing is known."""
    scaled = percentile_ranks(values) if scale is Scale.PERCENTILE else min_max(values)
    if part.lower_is_better:
        np.subtract(1.0, scaled, out=scaled)
    return np.nan_to_num(scaled, copy=False, nan=0.0)


def _best_first(total: FloatArray) -> IntArray:
    """The greatest first, equal ones in their order; a sort that keeps no order, mended, takes a fifth of the time."""
    order = np.argsort(-total)
    ordered = total[order]
    same = ordered[1:] == ordered[:-1]
    if same.any():
        tied = np.flatnonzero(np.concatenate((same, [False])) | np.concatenate(([False], same)))
        mended = order[tied]
        order[tied] = mended[np.lexsort((mended, -total[mended]))]
    return order


def _spread(values: FloatArray, among: IntArray, rows: int) -> FloatArray:
    spread = np.full(rows, np.nan)
    spread[among] = values
    return spread
