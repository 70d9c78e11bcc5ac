"""Scores, ranks and profiles."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.traders.core.arrays import BoolArray, FloatArray
from tasks.traders.core.daily import daily_series
from tasks.traders.core.equity import Point
from tasks.traders.core.metrics import METRICS, Aggregates, MetricTable, calculate_individual_metrics
from tasks.traders.core.profiles import DEFAULT_PROFILE, PROFILES, Component, Profile, Scale, profile_named
from tasks.traders.core.scores import calculate_scores, calculate_trader_scores
from tasks.traders.core.worth import DAY_MS, Evidence

ALL = list(PROFILES.values())


def table(rows: int, columns: Mapping[str, FloatArray]) -> MetricTable:
    """Metrics that are unknown but for these."""
    return MetricTable({name: columns.get(name, np.full(rows, np.nan)) for name in METRICS})


def market(traders: int, seed: int, days: int = 40) -> MetricTable:
    """Any crowd: some without history, some alike, some without round trips."""
    rng = np.random.default_rng(seed)
    returns = np.clip(rng.standard_t(4, (traders, days)) * 0.03, -1, None)
    returns[rng.random(returns.shape) < 0.2] = np.nan
    returns[rng.random(traders) < 0.1] = np.nan
    returns[rng.random(traders) < 0.1] = 0.0
    if traders > 3:
        returns[1:3] = returns[0]
    trips = rng.integers(0, 9, traders).astype(np.float64)
    wins = np.floor(trips * rng.random(traders))
    known = replace(
        Aggregates.unknown(traders),
        volume=rng.integers(0, 5, traders).astype(np.float64),
        round_trips=trips,
        wins=wins,
        gross_profit=wins * 10,
        gross_loss=trips - wins,
        max_profit=np.where(wins > 0, 10.0, np.nan),
    )
    return calculate_individual_metrics(returns, known)


def chosen(metrics: MetricTable, seed: int) -> BoolArray:
    return np.random.default_rng(seed).random(len(metrics)) < 0.8


@pytest.mark.parametrize("profile", ALL, ids=lambda profile: profile.name)
@given(st.integers(1, 40), st.integers(0, 2**31))
def test_scores_are_what_their_parts_add_up_to_and_ranks_are_whole(profile: Profile, traders: int, seed: int) -> None:
    metrics = market(traders, seed)
    eligible = chosen(metrics, seed)
    scores = calculate_trader_scores(metrics, eligible, profile)
    parts = sum(scores.components.values(), np.zeros(traders))
    assert list(scores.components) == [part.metric for part in profile.components]
    np.testing.assert_allclose(scores.score[eligible], parts[eligible], atol=1e-9 if profile.digits is None else 5.1e-5)
    assert ((scores.score[eligible] >= 0) & (scores.score[eligible] <= 1 + 1e-12)).all()
    assert np.isnan(scores.score[~eligible]).all()
    assert (scores.rank[~eligible] == 0).all()
    assert sorted(scores.rank[eligible]) == list(range(1, int(eligible.sum()) + 1))
    assert (scores.rank[scores.order] == np.arange(1, scores.order.size + 1)).all()
    ranked = scores.score[scores.order]
    assert (np.diff(ranked) <= 0).all()
    tied = np.flatnonzero(np.diff(ranked) == 0)
    assert (scores.order[tied] < scores.order[tied + 1]).all()


@pytest.mark.parametrize("profile", ALL, ids=lambda profile: profile.name)
@given(st.integers(1, 40), st.integers(0, 2**31))
def test_the_order_of_traders_changes_no_score_and_no_rank(profile: Profile, traders: int, seed: int) -> None:
    metrics = market(traders, seed)
    eligible = chosen(metrics, seed)
    order = np.random.default_rng(seed).permutation(traders)
    moved = MetricTable({name: metrics[name][order] for name in METRICS})
    plain = calculate_trader_scores(metrics, eligible, profile)
    other = calculate_trader_scores(moved, eligible[order], profile, tie_order=order)
    np.testing.assert_array_equal(other.score, plain.score[order])
    np.testing.assert_array_equal(other.rank, plain.rank[order])
    np.testing.assert_array_equal(order[other.order], plain.order)


@pytest.mark.parametrize("profile", ALL, ids=lambda profile: profile.name)
@given(st.integers(2, 30), st.integers(0, 2**31))
def test_who_is_as_good_in_everything_is_not_behind(profile: Profile, traders: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns = {part.metric: rng.integers(0, 6, traders) / 5 for part in profile.components}
    scores = calculate_trader_scores(table(traders, columns), np.ones(traders, dtype=np.bool_), profile)
    for one in range(traders):
        for other in range(traders):
            if all(
                columns[part.metric][one] <= columns[part.metric][other]
                if part.lower_is_better
                else columns[part.metric][one] >= columns[part.metric][other]
                for part in profile.components
            ):
                assert scores.score[one] >= scores.score[other] - 1e-12


@pytest.mark.parametrize("profile", ALL, ids=lambda profile: profile.name)
@given(st.integers(1, 30), st.integers(0, 2**31))
def test_one_more_who_is_worse_in_everything_takes_nothing_from_whom_it_is_worse_than(
    profile: Profile, traders: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    first = {part.metric: rng.integers(1, 7, traders) / 6 for part in profile.components}
    more = {}
    for part in profile.components:
        # Worse, or unknown; the first row is the one that is compared. Who is as good shares a place with it.
        down = rng.integers(1, 4) / 6 * (-1 if part.lower_is_better else 1)
        more[part.metric] = np.append(first[part.metric], rng.choice([first[part.metric][0] - down, np.nan]))
    before, after = (
        calculate_trader_scores(table(rows, columns), np.ones(rows, dtype=np.bool_), profile)
        for rows, columns in ((traders, first), (traders + 1, more))
    )
    # A rounded score may stand on the edge between two.
    edge = 1e-12 if profile.digits is None else 1.01 * 10**-profile.digits
    assert after.score[0] >= before.score[0] - edge
    assert after.score[0] >= after.score[-1]
    assert after.rank[0] < after.rank[-1]


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.floats(0.1, 50))
def test_deposits_and_withdrawals_change_no_score(seed: int, part: float) -> None:
    """From what an account was worth to its rank, in each profile, by the way that returns really go."""
    rng = np.random.default_rng(seed)
    rates = rng.normal(0.002, 0.03, (12, 80))
    moves = np.where(rng.random(rates.shape) < 0.15, rng.choice([part, -part / (1 + part)], rates.shape), 0.0)
    trips = rng.integers(1, 30, 12).astype(np.float64)
    known = replace(
        Aggregates.unknown(12),
        volume=rng.random(12) * 1e6,
        round_trips=trips,
        wins=np.floor(trips * rng.random(12)),
        gross_profit=rng.random(12) * 100,
        gross_loss=rng.random(12) * 100,
        max_profit=rng.random(12) * 50,
    )
    plain, moved = (
        calculate_individual_metrics(
            np.array([_returns(rates[row], flows[row]) for row in range(12)]), known, first_day=_FIRST_DAY
        )
        for flows in (np.zeros(rates.shape), moves)
    )
    everybody = np.ones(12, dtype=np.bool_)
    for profile in ALL:
        expected, found = (calculate_trader_scores(metrics, everybody, profile) for metrics in (plain, moved))
        np.testing.assert_array_equal(found.rank, expected.rank, err_msg=profile.name)
        np.testing.assert_allclose(found.score, expected.score, atol=1.01e-4, err_msg=profile.name)


#: 2026-01-01.
_FIRST_DAY = 20_454


def _returns(rates: FloatArray, moves: FloatArray) -> list[float]:
    """The daily returns of an account that wins at these rates every twelve hours, and whose owner then moves money."""
    equity, pnl, time = 1e6, 0.0, _FIRST_DAY * DAY_MS
    points, flows = [Point(time, equity, pnl)], []
    for rate, move in zip(rates.tolist(), moves.tolist(), strict=True):
        won, time = equity * rate, time + DAY_MS // 2
        equity, pnl = equity + won, pnl + won
        if move:
            # No poorer than what is measured, however often.
            came = equity * move if equity * (1 + move) > 1000 else equity
            flows.append((time, came))
            equity += came
        points.append(Point(time, equity, pnl))
    days = daily_series(Evidence(points=points, flows=flows), [], minimum=100.0).days
    found = {day.day - _FIRST_DAY: day.ret for day in days}
    told = [found[day] for day in range(len(rates) // 2)]
    assert None not in told
    return [value for value in told if value is not None]


def test_who_is_not_eligible_is_in_nobodys_way() -> None:
    metrics = market(30, 5)
    eligible = np.arange(30) % 3 > 0
    among = np.flatnonzero(eligible)
    alone = MetricTable({name: metrics[name][among] for name in METRICS})
    for profile in ALL:
        together = calculate_trader_scores(metrics, eligible, profile)
        apart = calculate_trader_scores(alone, np.ones(among.size, dtype=np.bool_), profile)
        np.testing.assert_array_equal(together.score[among], apart.score)
        np.testing.assert_array_equal(together.rank[among], apart.rank)


def test_what_cannot_be_told_earns_nothing() -> None:
    scores = calculate_trader_scores(
        table(3, {"sharpe_shrunk": np.array([np.nan, -3.0, 0.0])}), np.ones(3, dtype=np.bool_), PROFILES["skill"]
    )
    assert scores.score.tolist() == [0, 0, 1]
    assert scores.decomposition(0) == {"sharpe_shrunk": 0}
    assert all(not part.lower_is_better or part.metric == "max_drawdown" for one in ALL for part in one.components)


def test_nobody_eligible_and_nobody_at_all() -> None:
    for rows in (0, 4):
        scores = calculate_trader_scores(table(rows, {}), np.zeros(rows, dtype=np.bool_), PROFILES["skill"])
        assert scores.order.size == 0
        assert scores.rank.tolist() == [0] * rows


def test_several_profiles_are_each_as_alone() -> None:
    metrics = market(50, 8)
    eligible = chosen(metrics, 8)
    for name, scores in calculate_scores(metrics, eligible, ALL).items():
        alone = calculate_trader_scores(metrics, eligible, PROFILES[name])
        np.testing.assert_array_equal(scores.score, alone.score)
        for metric, parts in alone.components.items():
            np.testing.assert_array_equal(scores.components[metric], parts)


def test_shapes_are_checked() -> None:
    metrics = market(4, 1)
    with pytest.raises(ValueError, match="4 rows"):
        calculate_trader_scores(metrics, np.ones(3, dtype=np.bool_), PROFILES["skill"])
    with pytest.raises(ValueError, match="4 rows"):
        calculate_trader_scores(metrics, np.ones(4, dtype=np.bool_), PROFILES["skill"], tie_order=np.arange(5))


def test_the_former_score_by_hand() -> None:
    columns = {
        "win_rate": np.array([0.4, 0.6, 0.5]),
        "max_drawdown": np.array([0.3, 0.05, 0.1]),
        "volume": np.array([1e9, 0.0, 1e6]),
        "risk_ratio": np.array([1.0, 1.0, 1.0]),
        "max_profit": np.array([0.0, 300.0, 100.0]),
    }
    scores = calculate_trader_scores(table(3, columns), np.ones(3, dtype=np.bool_), PROFILES["origin"])
    drawdown = [0.0, 1.0, 0.8]
    expected = [
        0.3 * [0, 1, 0.5][row] + 0.25 * drawdown[row] + 0.2 * [1, 0, 0.001][row] + 0.1 * [0, 1, 1 / 3][row]
        for row in range(3)
    ]
    assert scores.score.tolist() == [pytest.approx(round(value, 4)) for value in expected]
    assert scores.rank.tolist() == [3, 1, 2]


def test_skill_is_made_of_returns_alone() -> None:
    rng = np.random.default_rng(9)
    returns = rng.normal(0, 0.02, (40, 60))
    rich = replace(
        Aggregates.unknown(40), pnl=rng.normal(0, 1e6, 40), volume=rng.random(40) * 1e9, equity=rng.random(40) * 1e9
    )
    everybody = np.ones(40, dtype=np.bool_)
    plain, other = (
        calculate_trader_scores(calculate_individual_metrics(returns, known), everybody, PROFILES["skill"])
        for known in (None, rich)
    )
    np.testing.assert_array_equal(plain.rank, other.rank)


def test_profiles_are_the_five_and_weigh_known_metrics() -> None:
    assert list(PROFILES) == ["skill", "balanced", "conservative", "aggressive", "origin"]
    assert profile_named(DEFAULT_PROFILE) is PROFILES["skill"]
    for profile in ALL:
        assert math.isclose(sum(part.weight for part in profile.components), 1)
        assert {part.metric for part in profile.components} <= set(METRICS)
    origin = {part.metric: part.weight for part in PROFILES["origin"].components}
    assert origin == {"win_rate": 0.30, "max_drawdown": 0.25, "volume": 0.20, "risk_ratio": 0.15, "max_profit": 0.10}
    assert (PROFILES["origin"].scale, PROFILES["origin"].digits) == (Scale.MIN_MAX, 4)
    with pytest.raises(ValueError, match="there are skill, balanced"):
        profile_named("luck")


@pytest.mark.parametrize(
    ("components", "reason"),
    [
        ((Component("roi", 0.5),), "add up to 1"),
        ((Component("roi", 1.5), Component("pnl", -0.5)), "must be positive"),
        ((Component("roi", 0.5), Component("roi", 0.5)), "twice"),
        ((), "add up to 1"),
    ],
)
def test_profiles_that_make_no_sense_are_refused(components: tuple[Component, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Profile("odd", "Nobody's.", components)
