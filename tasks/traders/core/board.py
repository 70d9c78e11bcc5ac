"""A leaderboard: metrics of all traders, their scores and ranks in every profile. Pure: of the same inputs, the same.

Metrics are calculated over everybody with a history, eligible or not: how much luck there is shows in all of them. Who
is ranked is decided apart (`eligibility`), and profiles rank the eligible among themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.traders.core.board_inputs import BoardInputs
from tasks.traders.core.eligibility import IGNORED, NO_HISTORY, NO_RETURNS, Eligibility
from tasks.traders.core.metrics import Aggregates, MetricTable, calculate_individual_metrics, get_default_metrics
from tasks.traders.core.profiles import PROFILES
from tasks.traders.core.rankings import Ranking
from tasks.traders.core.scores import Scores, calculate_scores


@dataclass(frozen=True, slots=True)
class Board:
    """What one calculation found; rows are those of the inputs.

    Attributes:
        inputs: what went in.
        metrics: of the rows in `rows`, in that order.
        rows: rows of the inputs that have a history and are not ignored.
        place: row of the inputs -> its row in `metrics`; -1 where it has none.
        eligible: by row of `metrics`.
        scores: by profile; rows are those of `metrics`.
        rules: by which `eligible` is told.
        days: how many at most counted, the last one included.
    """

    inputs: BoardInputs
    metrics: MetricTable
    rows: NDArray[np.int64]
    place: NDArray[np.int64]
    eligible: NDArray[np.bool_]
    scores: Mapping[str, Scores]
    rules: Eligibility
    days: int

    def trader_id(self, place: int) -> int:
        """The id of the trader in a row of `metrics`."""
        return int(self.inputs.trader_ids[self.rows[place]])

    def metric_row(self, row: int) -> tuple[dict[str, float | int | None], str | None]:
        """Metrics of a row of the inputs, and why it is not eligible; None where it is."""
        place = int(self.place[row])
        if place < 0:
            return get_default_metrics(), IGNORED if self.inputs.ignored[row] else NO_HISTORY
        found = self.metrics.row(place)
        if self.eligible[place]:
            return found, None
        days, trips, volume = found["days"], found["round_trips"], found["volume"]
        if not days:
            return found, NO_RETURNS
        return found, self.rules.reason(int(days), int(trips or 0), volume)

    def ranking(self) -> Ranking:
        """Ranks and scores of the eligible in every profile, by the traders' ids."""
        among = np.flatnonzero(self.eligible)
        ids = self.inputs.trader_ids[self.rows[among]]
        among, ids = among[np.argsort(ids)], np.sort(ids)
        return Ranking(
            ids,
            {name: found.rank[among].astype(np.int32) for name, found in self.scores.items()},
            {name: found.score[among] for name, found in self.scores.items()},
        )


def calculate(inputs: BoardInputs, rules: Eligibility, *, days: int) -> Board:
    """Metrics, scores and ranks.

    Args:
        inputs: all traders, ordered by address, which settles ties.
        rules: what a trader needs to be ranked.
        days: how many before `as_of_day` count, that day included.
    """
    rows = np.flatnonzero(inputs.known & ~inputs.ignored).astype(np.int64)
    place = np.full(len(inputs), -1, dtype=np.int64)
    place[rows] = np.arange(rows.size)
    columns = inputs.longest(days)
    given = inputs.aggregates
    aggregates = Aggregates(
        pnl=inputs.pnl[rows],
        volume=given["volume"][rows],
        equity=inputs.equity[rows],
        account_age_days=inputs.age_days[rows],
        round_trips=given["round_trips"][rows],
        wins=given["wins"][rows],
        gross_profit=given["gross_profit"][rows],
        gross_loss=given["gross_loss"][rows],
        max_profit=given["max_profit"][rows],
    )
    returns = inputs.returns(rows, days=columns)
    first_day = inputs.as_of_day - columns + 1
    metrics = calculate_individual_metrics(returns, aggregates, first_day=first_day)
    eligible = rules.mask(metrics["days"].astype(np.int64), metrics["round_trips"].astype(np.int64), metrics["volume"])
    scores = calculate_scores(metrics, eligible, PROFILES.values())
    return Board(inputs, metrics, rows, place, eligible, scores, rules, days)
