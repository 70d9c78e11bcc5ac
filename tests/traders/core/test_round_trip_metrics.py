"""Win rates and profit factors."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.traders.core.arrays import FloatArray
from tasks.traders.core.round_trip_metrics import beta_binomial, round_trip_metrics, wilson_low

COUNTS = st.lists(st.tuples(st.integers(0, 500), st.floats(0, 1)), min_size=1, max_size=40)


def counted(pairs: list[tuple[int, float]]) -> tuple[FloatArray, FloatArray]:
    trips = np.array([float(made) for made, _ in pairs])
    return np.array([math.floor(made * share) for made, share in pairs], dtype=np.float64), trips


def made(trips: float, wins: float, profit: float, loss: float) -> dict[str, float]:
    found = round_trip_metrics(
        *(np.array([value, 10.0, 20.0]) for value in (trips,)),
        *(np.array([value, other, other]) for value, other in ((wins, 5.0), (profit, 100.0), (loss, 100.0))),
    )
    return {name: float(values[0]) for name, values in found.items()}


def test_wilsons_bound_is_the_published_one() -> None:
    # 81 of 263: Newcombe (1998), method 3: 0.2553 to 0.3662.
    assert wilson_low(np.array([81 / 263]), np.array([263.0]))[0] == pytest.approx(0.2553, abs=5e-5)
    assert wilson_low(np.array([0.0]), np.array([20.0]))[0] == 0


def test_without_round_trips_nothing_is_told() -> None:
    assert all(math.isnan(value) for value in made(0, 0, 0, 0).values())


def test_profit_factors() -> None:
    row = made(10, 6, 300, 100)
    assert row["profit_factor"] == 3
    # Five trips more of the mean size, 40, won and lost.
    assert row["profit_factor_shrunk"] == 500 / 300
    assert row["risk_ratio"] == (300 / 6) / (100 / 4)


def test_no_losses_are_the_cap_and_not_infinity() -> None:
    row = made(3, 3, 300, 0)
    assert (row["profit_factor"], row["risk_ratio"], row["win_rate"]) == (10, 3, 1)
    assert row["profit_factor_shrunk"] == 800 / 500
    nothing = made(3, 0, 0, 0)
    assert math.isnan(nothing["profit_factor"])
    assert math.isnan(nothing["profit_factor_shrunk"])


def test_a_profit_factor_does_not_depend_on_size() -> None:
    small, large = made(10, 6, 300, 100), made(10, 6, 300e6, 100e6)
    assert small["profit_factor_shrunk"] == pytest.approx(large["profit_factor_shrunk"])


def test_shrinking_finds_the_beta_distribution() -> None:
    rng = np.random.default_rng(5)
    trips = np.floor(np.exp(rng.normal(3, 1, 50_000))) + 1
    wins = rng.binomial(trips.astype(np.int64), rng.beta(12, 8, 50_000)).astype(np.float64)
    best = (wins + 12) / (trips + 20)
    np.testing.assert_allclose(beta_binomial(wins, trips), best, atol=0.02)


def test_who_all_win_as_chance_has_it_get_one_rate() -> None:
    trips = np.full(2000, 30.0)
    # Nobody differs more than by luck: here not at all.
    shrunk = beta_binomial(np.full(2000, 18.0), trips)
    np.testing.assert_allclose(shrunk, 0.6)


def test_one_whale_does_not_decide_alone() -> None:
    trips, wins = np.array([1e6, *[20.0] * 50]), np.array([9e5, *[8.0, 12.0] * 25])
    assert 0.4 < beta_binomial(wins, trips)[1:].mean() < 0.55


@given(COUNTS)
def test_shrunk_rates_lie_between_the_raw_one_and_that_of_all(pairs: list[tuple[int, float]]) -> None:
    wins, trips = counted(pairs)
    shrunk, active = beta_binomial(wins, trips), trips > 0
    assert np.isnan(shrunk[~active]).all()
    if active.any():
        rates = wins[active] / trips[active]
        assert (shrunk[active] >= rates.min() - 1e-9).all()
        assert (shrunk[active] <= rates.max() + 1e-9).all()


@given(COUNTS, st.integers(0, 2**32 - 1))
def test_the_order_of_traders_changes_nothing(pairs: list[tuple[int, float]], seed: int) -> None:
    wins, trips = counted(pairs)
    order = np.random.default_rng(seed).permutation(trips.size)
    np.testing.assert_array_equal(beta_binomial(wins[order], trips[order]), beta_binomial(wins, trips)[order])


@given(st.integers(1, 1000), st.data())
def test_bounds_and_more_wins_are_better(trips: int, data: st.DataObject) -> None:
    wins = data.draw(st.integers(0, trips))
    low = wilson_low(np.array([wins / trips]), np.array([float(trips)]))[0]
    assert 0 <= low <= wins / trips
    if wins < trips:
        assert wilson_low(np.array([(wins + 1) / trips]), np.array([float(trips)]))[0] > low


@pytest.mark.parametrize(
    ("trips", "wins", "profit", "loss", "reason"),
    [
        (1, 2, 1, 1, "more round trips were won"),
        (-1, 0, 1, 1, "round_trips has a value"),
        (math.nan, 0, 1, 1, "round_trips has a value"),
        (1, -1, 1, 1, "wins has a value"),
        (1, 1, -1, 1, "gross_profit has a value"),
        (1, 1, 1, -1, "gross_loss has a value"),
        (1.5, 1, 1, 1, "whole numbers"),
        (2.0**31, 1, 1, 1, "whole numbers"),
    ],
)
def test_impossible_counts_are_refused(trips: float, wins: float, profit: float, loss: float, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        made(trips, wins, profit, loss)
