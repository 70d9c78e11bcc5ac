"""Sharpe ratios less luck."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.traders.core.arrays import FloatArray
from tasks.traders.core.shrinkage import shrink_sharpe

YEAR = math.sqrt(365)
RATIOS = st.lists(st.tuples(st.floats(-60, 60), st.integers(2, 400)), min_size=1, max_size=40)


def crowd(size: int = 4000, seed: int = 11) -> tuple[FloatArray, FloatArray, FloatArray]:
    """True daily ratios, those seen (annual), and days."""
    rng = np.random.default_rng(seed)
    skill = rng.normal(0, 0.05, size)
    days = np.clip(np.rint(np.exp(rng.normal(math.log(35), 0.8, size))), 3, 300)
    return skill, (skill + rng.standard_normal(size) / np.sqrt(days)) * YEAR, days


def test_it_finds_more_skill_than_the_raw_ratio() -> None:
    skill, seen, days = crowd()
    best_raw, best_shrunk = np.argsort(-seen)[:100], np.argsort(-shrink_sharpe(seen, days))[:100]
    assert skill[best_shrunk].mean() > 1.5 * skill[best_raw].mean()


def test_it_comes_near_the_posterior_mean_of_the_true_prior() -> None:
    _, seen, days = crowd(20_000)
    variance = 1 / days
    best = seen * 0.05**2 / (0.05**2 + variance)
    many = days > 20
    assert np.sqrt(np.mean((shrink_sharpe(seen, days) - best)[many] ** 2)) < 0.3 * np.std(best[many])


def test_what_cannot_be_told_stays_so() -> None:
    shrunk = shrink_sharpe(np.array([np.nan, 1.0, 2.0, np.inf]), np.array([0.0, 30.0, 1.0, 30.0]))
    assert np.isnan(shrunk).tolist() == [True, False, True, True]
    assert shrink_sharpe(np.array([]), np.array([])).size == 0
    assert np.isnan(shrink_sharpe(np.array([np.nan]), np.array([5.0]))).all()


def test_one_trader_alone_does_not_tell_how_skill_is_spread() -> None:
    shrunk = shrink_sharpe(np.array([20.0]), np.array([5.0]))[0]
    assert 0 < shrunk < 5


def test_many_days_prove_what_few_do_not() -> None:
    _, seen, days = crowd()
    seen[:2], days[:2] = 5.0, [5.0, 200.0]
    few, many = shrink_sharpe(seen, days)[:2]
    assert 0 < few < many < 5


def test_ranks_do_not_collapse_when_all_have_the_same_skill() -> None:
    rng = np.random.default_rng(2)
    days = np.full(3000, 60.0)
    shrunk = shrink_sharpe(rng.standard_normal(3000) / np.sqrt(days) * YEAR, days)
    assert np.unique(shrunk).size == 3000
    assert np.abs(shrunk).max() < 3


@pytest.mark.parametrize("ratio", [-1e300, -500.0, 500.0, 1e300])
def test_beyond_the_grid_is_its_end(ratio: float) -> None:
    _, seen, days = crowd(500)
    seen[0], days[0] = ratio, 3000.0
    shrunk = shrink_sharpe(seen, days)
    assert np.isfinite(shrunk).all()
    assert abs(shrunk[0]) == pytest.approx(0.1 * math.sinh(4.4) * YEAR, rel=0.05)


@given(RATIOS, st.integers(2, 400))
def test_with_as_many_days_the_better_ratio_is_the_better_shrunk_one(pairs: list[tuple[float, int]], days: int) -> None:
    seen = np.sort(np.array([ratio for ratio, _ in pairs]))
    assert (np.diff(shrink_sharpe(seen, np.full(seen.size, float(days)))) >= -1e-12).all()


@given(RATIOS, st.integers(0, 2**32 - 1))
def test_the_order_of_traders_changes_nothing(pairs: list[tuple[float, int]], seed: int) -> None:
    seen, days = (np.array(values, dtype=np.float64) for values in zip(*pairs, strict=True))
    order = np.random.default_rng(seed).permutation(seen.size)
    np.testing.assert_array_equal(shrink_sharpe(seen[order], days[order]), shrink_sharpe(seen, days)[order])


def test_the_order_changes_nothing_over_several_blocks() -> None:
    _, seen, days = crowd(5000)
    order = np.random.default_rng(3).permutation(5000)
    np.testing.assert_array_equal(shrink_sharpe(seen[order], days[order]), shrink_sharpe(seen, days)[order])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_day_more_of_one_trader_hardly_moves_the_others(seed: int) -> None:
    _, seen, days = crowd(2000, seed)
    before = shrink_sharpe(seen, days)
    seen[0], days[0] = seen[0] + 1, days[0] + 1
    assert np.abs(shrink_sharpe(seen, days) - before)[1:].max() < 0.05
