"""What scoring 100,000 traders costs, beside the least it can cost and beside two others.

    uv run python benchmarks/traders_score.py [--traders 100000] [--days 200] [--rounds 7]

The floor is 25 streaming passes over the array of returns in numpy, each the fastest reduction that reads all of it
(the greatest value, or the sum). Ours is everything: all metrics of returns and round trips, and the scores and ranks
of all profiles, on one thread. polars, on all cores, has the returns in long format, sorted, and computes the metrics
of returns and their ranks; the faster of its two engines counts, and is set beside our metrics of returns and as many
ranks on as many threads. empyrical computes six metrics, one trader after the other, for a sample, and is told for all
by the sample's time. Building any library's own input is not counted. Medians of rounds that take turns. Prints JSON.
"""

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import empyrical  # type: ignore[import-untyped]
import numpy as np
import polars as pl

from tasks.traders.core.arrays import FloatArray, IntArray
from tasks.traders.core.metrics import Aggregates, MetricTable, calculate_individual_metrics
from tasks.traders.core.metrics_kernel import return_metrics
from tasks.traders.core.percentiles import percentile_ranks
from tasks.traders.core.profiles import PROFILES
from tasks.traders.core.scores import calculate_scores

PASSES, LIMIT = 25, 4.0
YEAR = 365
SAMPLE = 400
MISSING = 0.03
RANKED = ("roi", "sharpe", "sortino", "volatility", "max_drawdown", "calmar", "consistency", "top_day_share")


def make_market(traders: int, days: int) -> tuple[FloatArray, Aggregates]:
    """Returns with heavy tails of traders who differ, some days missing; and their round trips."""
    rng = np.random.default_rng(7)
    volatility = np.exp(rng.normal(np.log(0.03), 0.5, (traders, 1)))
    returns = volatility * (rng.normal(0, 0.05, (traders, 1)) + rng.standard_t(4, (traders, days)) / np.sqrt(2))
    np.clip(returns, -0.95, None, out=returns)
    returns[rng.random(returns.shape) < MISSING] = np.nan
    trips = np.floor(np.exp(rng.normal(3, 1, traders)))
    wins = np.floor(trips * rng.beta(8, 8, traders))
    size = np.exp(rng.normal(6, 1.5, traders))
    return returns, replace(
        Aggregates.unknown(traders),
        pnl=rng.normal(0, size),
        volume=size * trips,
        equity=size,
        account_age_days=rng.uniform(1, 900, traders),
        round_trips=trips,
        wins=wins,
        gross_profit=wins * size,
        gross_loss=(trips - wins) * size,
        max_profit=size * 3,
    )


def score_all(returns: FloatArray, known: Aggregates, threads: int) -> MetricTable:
    metrics = calculate_individual_metrics(returns, known, first_day=20_000, threads=threads)
    calculate_scores(metrics, metrics["days"] >= 30, PROFILES.values())
    return metrics


def score_as_polars_does(returns: FloatArray) -> None:
    """No less than `polars_metrics`, and on as many threads."""
    metrics = return_metrics(returns, first_day=20_000, threads=pl.thread_pool_size())
    for name in RANKED:
        percentile_ranks(metrics[name])


def long_format(returns: FloatArray) -> pl.DataFrame:
    traders, days = returns.shape
    frame = pl.DataFrame(
        {
            "trader": np.repeat(np.arange(traders, dtype=np.int32), days),
            "day": np.tile(np.arange(20_000, 20_000 + days, dtype=np.int32), traders),
            "r": returns.ravel(),
        }
    )
    return frame.filter(pl.col("r").is_not_nan()).with_columns(week=(pl.col("day") + 3) // 7).set_sorted("trader")


def polars_metrics(frame: pl.DataFrame, engine: Literal["in-memory", "streaming"]) -> pl.DataFrame:
    """As fast as we could make it: sorted, columns made before grouping, weeks without a grouping of their own."""
    r, growth, trader, week = pl.col("r"), pl.col("growth"), pl.col("trader"), pl.col("week")
    value = growth.cum_prod()
    at_week_ends = value.filter(pl.col("last"))
    days, year = pl.col("days"), YEAR**0.5
    return (
        frame.lazy()
        .with_columns(
            growth=r + 1,
            gain=r.clip(lower_bound=0),
            lost=r.clip(upper_bound=0) ** 2,
            last=((week != week.shift(-1)) | (trader != trader.shift(-1))).fill_null(True),
        )
        .set_sorted("trader")
        .group_by("trader")
        .agg(
            days=pl.len(),
            mean=r.mean(),
            deviation=r.std(),
            skewness=r.skew(),
            kurtosis=r.kurtosis(fisher=False),
            downside=pl.col("lost").mean().sqrt(),
            value=growth.product(),
            max_drawdown=1 - (value / value.cum_max().clip(lower_bound=1)).min(),
            top_day_share=r.max() / pl.col("gain").sum(),
            weeks=pl.col("last").sum(),
            consistency=(at_week_ends > at_week_ends.shift(1, fill_value=1.0)).mean(),
        )
        .with_columns(
            roi=pl.col("value") - 1,
            sharpe=pl.col("mean") / pl.col("deviation") * year,
            sortino=pl.col("mean") / pl.col("downside") * year,
            volatility=pl.col("deviation") * year,
            calmar=(pl.col("value").pow(YEAR / days) - 1) / pl.col("max_drawdown"),
        )
        .with_columns(pl.col(name).rank("average").name.suffix("_rank") for name in RANKED)
        .collect(engine=engine)
    )


EMPYRICAL: dict[str, Callable[[FloatArray], float]] = {
    "roi": empyrical.cum_returns_final,
    "sharpe": lambda r: empyrical.sharpe_ratio(r, annualization=YEAR),
    "sortino": lambda r: empyrical.sortino_ratio(r, annualization=YEAR),
    "volatility": lambda r: empyrical.annual_volatility(r, annualization=YEAR),
    "max_drawdown": lambda r: -empyrical.max_drawdown(r),
    "calmar": lambda r: empyrical.calmar_ratio(r, annualization=YEAR),
}


def empyrical_metrics(histories: list[FloatArray]) -> dict[str, list[float]]:
    return {name: [function(history) for history in histories] for name, function in EMPYRICAL.items()}


def differences(metrics: MetricTable, rows: IntArray, others: dict[str, list[float]]) -> dict[str, float]:
    """By metric, the greatest difference, relative to the value or to 1 where that is more."""
    worst = {}
    for name, theirs in others.items():
        ours, other = metrics[name][rows], np.asarray(theirs)
        worst[name] = float(np.max(np.abs(ours - other) / np.maximum(1.0, np.abs(other))))
    return worst


def measure(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each; they take turns, and the first round counts for nothing."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, call in work.items():
            start = time.perf_counter()
            call()
            if number:
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traders", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    returns, known = make_market(options.traders, options.days)
    times = measure(
        {
            "pass_max": returns.max,
            "pass_sum": returns.sum,
            "metrics": lambda: calculate_individual_metrics(returns, known, first_day=20_000),
            "ours": lambda: score_all(returns, known, 1),
            "ours_two_threads": lambda: score_all(returns, known, 2),
        },
        options.rounds,
    )
    floor = PASSES * min(times["pass_max"], times["pass_sum"])

    metrics = score_all(returns, known, 1)
    rows = np.linspace(0, options.traders - 1, min(SAMPLE, options.traders)).astype(np.int64)
    histories = [history[~np.isnan(history)] for history in returns[rows]]
    frame = long_format(returns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        slow = measure(
            {
                "polars": lambda: polars_metrics(frame, "in-memory"),
                "polars_streaming": lambda: polars_metrics(frame, "streaming"),
                "empyrical": lambda: empyrical_metrics(histories),
                "ours": lambda: score_all(returns, known, 1),
                "ours_as_polars": lambda: score_as_polars_does(returns),
            },
            max(3, options.rounds // 2),
        )
        empyrical_off = differences(metrics, rows, empyrical_metrics(histories))
    polars_time = min(slow["polars"], slow["polars_streaming"])
    from_polars = polars_metrics(frame, "in-memory").sort("trader")
    polars_off = differences(
        metrics,
        from_polars["trader"].to_numpy().astype(np.int64),
        {name: from_polars[name].to_list() for name in (*EMPYRICAL, "consistency", "top_day_share")},
    )
    empyrical_all = slow["empyrical"] * options.traders / len(rows)
    print(
        json.dumps(
            {
                "traders": options.traders,
                "days": options.days,
                "profiles": len(PROFILES),
                "seconds": {
                    "one_pass": round(floor / PASSES, 5),
                    "floor_25_passes": round(floor, 4),
                    "ours": round(times["ours"], 4),
                    "ours_metrics_only": round(times["metrics"], 4),
                    "ours_two_threads": round(times["ours_two_threads"], 4),
                    "ours_beside_the_others": round(slow["ours"], 4),
                    "ours_as_polars": round(slow["ours_as_polars"], 4),
                    "polars": round(polars_time, 3),
                    "empyrical_six_metrics_extrapolated": round(empyrical_all, 2),
                },
                "empyrical_sample": len(rows),
                "ratios": {
                    "ours_to_floor": round(times["ours"] / floor, 2),
                    "ours_two_threads_to_floor": round(times["ours_two_threads"] / floor, 2),
                    "polars_to_ours_same_work": round(polars_time / slow["ours_as_polars"], 1),
                    "polars_to_ours_all_of_it": round(polars_time / slow["ours"], 1),
                    "empyrical_to_ours": round(empyrical_all / slow["ours"], 1),
                },
                "greatest_difference": {"empyrical": empyrical_off, "polars": polars_off},
                "met": {
                    "under_4_floors": times["ours"] < LIMIT * floor,
                    "5_times_polars": polars_time >= 5 * slow["ours_as_polars"],
                    "5_times_empyrical": empyrical_all >= 5 * slow["ours"],
                    "equal_to_1e-6": all(off < 1e-6 for off in (*empyrical_off.values(), *polars_off.values())),
                },
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
