"""Metrics of daily returns: against an independent library, and what holds for any."""

import math
import warnings
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasks.traders.core import metrics_kernel
from tasks.traders.core.arrays import FloatArray
from tasks.traders.core.metrics import (
    COUNTS,
    METRICS,
    Aggregates,
    calculate_individual_metrics,
    get_default_metrics,
)
from tasks.traders.core.score_tables import Metrics

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import empyrical  # type: ignore[import-untyped]

#: 2024-01-01, a Monday.
MONDAY = 19_723
NOT_OF_RETURNS = {field.name for field in fields(Aggregates)}
GAPPY = st.one_of(st.just(math.nan), st.floats(-0.875, 2, width=32), st.just(0.0), st.just(-1.0))


def market(traders: int = 60, days: int = 90, missing: float = 0.1, seed: int = 3) -> FloatArray:
    rng = np.random.default_rng(seed)
    returns = np.clip(rng.standard_t(4, (traders, days)) * 0.03, -0.95, None)
    returns[rng.random(returns.shape) < missing] = np.nan
    return returns


def one(*returns: float, first_day: int = MONDAY) -> dict[str, float | int | None]:
    return calculate_individual_metrics(np.array([returns]), first_day=first_day).row(0)


ORACLES = {
    "roi": empyrical.cum_returns_final,
    "sharpe": lambda r: empyrical.sharpe_ratio(r, annualization=365),
    "sortino": lambda r: empyrical.sortino_ratio(r, annualization=365),
    "volatility": lambda r: empyrical.annual_volatility(r, annualization=365),
    "max_drawdown": lambda r: -empyrical.max_drawdown(r),
    "calmar": lambda r: empyrical.calmar_ratio(r, annualization=365),
}


@pytest.mark.parametrize("metric", ORACLES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_equal_to_empyrical_where_both_define_it(metric: str, seed: int) -> None:
    returns = market(seed=seed)
    ours = calculate_individual_metrics(returns)[metric]
    theirs = [ORACLES[metric](history[~np.isnan(history)]) for history in returns]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_probability_error_and_tails_by_their_formulae() -> None:
    history = market(1, 50, missing=0)[0].tolist()
    n, mean = len(history), math.fsum(history) / len(history)
    moment = [math.fsum((r - mean) ** power for r in history) / n for power in range(5)]
    ratio = mean / math.sqrt(moment[2] * n / (n - 1))
    skewness, kurtosis = moment[3] / moment[2] ** 1.5, moment[4] / moment[2] ** 2
    deviate = ratio * math.sqrt(n - 1) / math.sqrt(1 - skewness * ratio + (kurtosis - 1) / 4 * ratio**2)
    row = one(*history)
    assert row["psr"] == pytest.approx(0.5 * (1 + math.erf(deviate / math.sqrt(2))), rel=1e-12)
    assert row["sharpe_error"] == pytest.approx(math.sqrt((1 + ratio**2 / 2) / n * 365), rel=1e-12)
    gains = [r for r in history if r > 0]
    assert row["top_day_share"] == pytest.approx(max(gains) / math.fsum(gains), rel=1e-12)


def test_weeks_are_those_of_the_calendar_and_too_few_tell_nothing() -> None:
    week = [0.01, 0, 0, 0, 0, 0, 0]
    lost = [-0.01, 0, 0, 0, 0, 0, 0]
    assert one(*week * 3)["consistency"] is None
    assert one(*week * 3)["weeks"] == 3
    assert one(*week * 3, *lost)["consistency"] == 0.75
    # From a Sunday on, the first day is a week of its own, and so is the last.
    assert one(*week * 3, first_day=MONDAY - 1)["weeks"] == 4
    absent = [math.nan] * 7
    assert one(*week, *absent, *week, *absent, *lost, *week)["consistency"] == 0.75


def test_a_week_of_zeros_is_one_that_was_not_won() -> None:
    assert one(*[0.01] * 21, *[0.0] * 7)["consistency"] == 0.75


def test_drawdown_counts_from_the_start() -> None:
    assert one(-0.5, 0.5)["max_drawdown"] == 0.5
    assert one(1.0, -0.25, 0.1, -0.5)["max_drawdown"] == pytest.approx(1 - 0.75 * 1.1 * 0.5)


def test_nothing_is_told_without_returns() -> None:
    table = calculate_individual_metrics(np.full((2, 30), np.nan))
    assert table.row(1) == get_default_metrics()
    assert calculate_individual_metrics(np.empty((3, 0))).row(2) == get_default_metrics()
    assert set(get_default_metrics()) == set(METRICS)
    assert all(value == 0 if name in COUNTS else value is None for name, value in get_default_metrics().items())


def test_no_traders_make_an_empty_table() -> None:
    assert len(calculate_individual_metrics(np.empty((0, 20)))) == 0


def test_metrics_are_the_columns_of_the_ledger() -> None:
    stored = set(Metrics.model_fields) - {"trader_id", "run_id", "eligible", "reason"}
    assert stored <= set(METRICS)


@pytest.mark.parametrize("value", [0.0, 0.01, -0.01, 1e-12, 0.1])
@pytest.mark.parametrize("days", [2, 7, 365, 3000])
def test_returns_that_are_all_equal_have_no_sharpe_ratio(value: float, days: int) -> None:
    row = one(*[value] * days)
    assert row["sharpe"] is None
    assert row["sharpe_shrunk"] is None
    assert row["psr"] is None
    assert row["volatility"] == 0
    if days < 1000:
        assert row["roi"] == pytest.approx((1 + value) ** days - 1)


def test_a_tiny_gain_beside_a_great_loss_is_all_there_was() -> None:
    assert one(7e-24, -1.0)["top_day_share"] == 1


def test_one_day_has_a_return_and_no_risk() -> None:
    row = one(0.1, math.nan)
    assert (row["days"], row["max_drawdown"]) == (1, 0)
    assert row["roi"] == pytest.approx(0.1)
    assert row["sharpe"] is None
    assert row["volatility"] is None
    assert row["sortino"] is None


def test_who_lost_all_stays_at_nothing() -> None:
    row = one(0.5, -1.0, 3.0, 0.1)
    assert row["roi"] == -1
    assert row["max_drawdown"] == 1
    assert row["calmar"] == -1


@pytest.mark.parametrize("bad", [math.inf, -math.inf, -1.0001, -2.0])
def test_impossible_returns_are_refused(bad: float) -> None:
    returns = market(5000, 3)
    returns[4321, 1] = bad
    for threads in (1, 2):
        with pytest.raises(ValueError, match="infinite, or below -1"):
            calculate_individual_metrics(returns, threads=threads)


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="traders x days"):
        calculate_individual_metrics(np.zeros(4))
    with pytest.raises(ValueError, match="volume has"):
        calculate_individual_metrics(market(), replace(Aggregates.unknown(60), volume=np.zeros(59)))
    with pytest.raises(ValueError, match="equity has an infinite"):
        calculate_individual_metrics(market(), replace(Aggregates.unknown(60), equity=np.full(60, np.inf)))


def test_numbers_too_large_to_be_told_are_none_and_warn_nobody() -> None:
    row = one(*[1e300] * 3, 0.5, -0.5)
    assert row["roi"] is None
    assert row["days"] == 5
    assert all(value is None or math.isfinite(value) for value in row.values())


def test_returns_are_left_as_they_are() -> None:
    returns = market()
    before = returns.copy()
    returns.setflags(write=False)
    calculate_individual_metrics(returns, threads=2)
    np.testing.assert_array_equal(returns, before)


@given(arrays(np.float64, st.tuples(st.integers(1, 7), st.integers(1, 40)), elements=GAPPY), st.integers(0, 30_000))
def test_metrics_keep_their_bounds_and_warn_nobody(returns: FloatArray, first_day: int) -> None:
    table = calculate_individual_metrics(returns, first_day=first_day)
    for name, low, high in (
        ("max_drawdown", 0, 1),
        ("psr", 0, 1),
        ("consistency", 0, 1),
        ("top_day_share", 0, 1),
        ("volatility", 0, math.inf),
        ("roi", -1, math.inf),
    ):
        known = table[name][~np.isnan(table[name])]
        assert ((known >= low) & (known <= high)).all(), name


@given(st.randoms(use_true_random=False), st.integers(1, 3))
def test_a_trader_has_the_same_numbers_in_any_company(random: object, threads: int) -> None:
    rng = np.random.default_rng(random.getrandbits(32))  # type: ignore[attr-defined]
    returns = market(90, 25, seed=int(rng.integers(1000)))
    order = rng.permutation(90)
    block, metrics_kernel.BLOCK = metrics_kernel.BLOCK, 17
    try:
        small = calculate_individual_metrics(returns[order], threads=threads)
    finally:
        metrics_kernel.BLOCK = block
    whole = calculate_individual_metrics(returns)
    for name in set(METRICS) - NOT_OF_RETURNS:
        np.testing.assert_array_equal(small[name], whole[name][order], err_msg=name)


@given(st.floats(0.01, 1e4), st.floats(0, 1e6), st.integers(0, 2**31))
def test_size_and_deposits_change_nothing_that_comes_of_returns(size: float, deposit: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    equity = np.full(8, 1000.0)
    flows = np.where(rng.random((8, 30)) < 0.2, deposit, 0.0)
    skill = rng.normal(0, 0.02, (8, 30))

    def measured(start: FloatArray, deposits: FloatArray) -> FloatArray:
        """Returns as they are reckoned of what can be seen: equity and the cumulative result at each day's end."""
        equity, result = np.empty((8, 31)), np.zeros((8, 31))
        equity[:, 0] = start
        for day in range(30):
            gain = (equity[:, day] + deposits[:, day]) * skill[:, day]
            equity[:, day + 1] = equity[:, day] + deposits[:, day] + gain
            result[:, day + 1] = result[:, day] + gain
        gained = np.diff(result, axis=1)
        flow = np.diff(equity, axis=1) - gained
        return gained / (equity[:, :-1] + np.maximum(flow, 0))

    plain = calculate_individual_metrics(measured(equity, np.zeros((8, 30))))
    richer = calculate_individual_metrics(measured(equity * size, flows))
    for name in set(METRICS) - NOT_OF_RETURNS:
        np.testing.assert_allclose(plain[name], richer[name], rtol=1e-6, atol=1e-9, err_msg=name)


@given(st.integers(0, 2**31), st.floats(0.0001, 0.01))
def test_more_on_every_day_is_better_in_all_that_grows(seed: int, more: float) -> None:
    returns = market(6, 40, seed=seed)
    table = calculate_individual_metrics(np.vstack((returns, returns + more)))
    for name, better in (("roi", 1), ("sharpe", 1), ("sortino", 1), ("max_drawdown", -1), ("sharpe_shrunk", 1)):
        low, high = table[name][:6] * better, table[name][6:] * better
        assert (high >= low - 1e-12).all(), name
