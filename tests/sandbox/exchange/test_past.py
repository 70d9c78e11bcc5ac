"""Pasts: rows that agree with each other, and planted skill that can be found in them."""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from statistics import correlation, mean, pstdev
from typing import Any

import pytest

from deployments.sandbox.exchange.options import ExchangeOptions
from deployments.sandbox.exchange.past import DAY, HOUR, Past
from deployments.sandbox.exchange.past_truth import days, round_trips
from deployments.sandbox.exchange.portfolio import portfolio
from deployments.sandbox.exchange.world import World
from tests.sandbox.exchange.calls import NOON

END = NOON // DAY * DAY


@pytest.fixture(scope="module")
def world() -> World:
    return World(ExchangeOptions(), lambda: NOON)


@pytest.fixture(scope="module")
def pasts(world: World) -> list[Past]:
    return [world.past(index) for index in range(40)]


def perpetual(past: Past) -> list[Any]:
    return [fill for fill in past.fills if fill.coin != "@107"]


def test_closed_pnl_is_what_the_algebra_of_positions_gives(pasts: list[Past]) -> None:
    for past in pasts:
        held: dict[str, tuple[Fraction, Fraction]] = {}
        for fill in perpetual(past):
            size, entry = held.get(fill.coin, (Fraction(0), Fraction(0)))
            signed, px = Fraction(fill.sz) * (1 if fill.side == "B" else -1), Fraction(fill.px)
            assert Fraction(fill.start_position) == size
            after, closed = size + signed, Fraction(0)
            if size * signed < 0:
                closed = min(abs(size), abs(signed)) * (1 if size > 0 else -1)
            assert abs(Fraction(fill.closed_pnl) - (px - entry) * closed) <= Fraction(1, 1_000_000)
            if size * signed >= 0:
                entry = (entry * abs(size) + px * abs(signed)) / abs(after)
                assert fill.dir == ("Open Long" if signed > 0 else "Open Short")
            elif size * after < 0:
                entry = px
                assert fill.dir == ("Long > Short" if size > 0 else "Short > Long")
            else:
                assert fill.dir == ("Close Long" if size > 0 else "Close Short")
            held[fill.coin] = (after, entry)
        assert all(size == 0 for size, _ in held.values())


def test_pasts_have_what_there_is_to_get_wrong(pasts: list[Past], world: World) -> None:
    fills = [fill for past in pasts for fill in past.fills]
    told = {fill.dir for fill in fills}
    assert told >= {"Open Long", "Close Short", "Long > Short", "Short > Long", "Buy", "Sell", "Spot Dust Conversion"}
    assert any(fill.liquidated for fill in fills)
    assert {fill.fee_token for fill in fills} == {"USDC", "HYPE"}
    assert any(len({fill.time for fill in past.fills}) < len(past.fills) for past in pasts)
    kinds = {row["delta"]["type"] for past in pasts for row in past.updates}
    assert kinds == {"deposit", "withdraw", "accountClassTransfer", "spotTransfer"}
    assert pasts[39] == Past()
    assert {len(days(past, END)) for past in pasts} >= {0, 90}
    idle = [day["pnl"] for past in pasts for day in days(past, END) if not day["fills"]]
    # On some of the days without a fill nothing is held, on others a position is.
    assert 0 < idle.count(0) < len(idle)
    assert any(abs(day["pnl"] - day["closed_pnl"] + day["fees"] - day["funding"]) > 1 for day in days(pasts[0], END))
    assert [world.population.trader(index).role for index in (0, 38)] == ["user", "vault"]


def test_tids_are_different_but_for_swept_dust(pasts: list[Past]) -> None:
    tids = [fill.tid for past in pasts for fill in past.fills if fill.dir != "Spot Dust Conversion"]
    assert len(set(tids)) == len(tids)
    assert min(tids) > 0


def test_rows_are_in_order_and_before_the_market(pasts: list[Past]) -> None:
    for past in pasts:
        for times in (
            [fill.time for fill in past.fills],
            [row["time"] for row in past.fundings],
            [row["time"] for row in past.updates],
            [time for time, _ in past.results],
            [time for time, _ in past.marks],
        ):
            assert times == sorted(times)
            assert not times or times[-1] < END


def test_days_add_up_to_the_account(pasts: list[Past]) -> None:
    for past in pasts:
        told = days(past, END)
        assert sum(day["pnl"] + day["net_flow"] for day in told) == pytest.approx(float(past.cash), abs=1e-4)
        # What is not realised at midnight is the next day's beginning; at the end there is nothing.
        assert sum(day["closed_pnl"] - day["fees"] + day["funding"] for day in told) == pytest.approx(
            sum(day["pnl"] for day in told), abs=1e-4
        )
        for day, following in pairwise(told):
            assert day["equity"] + day["pnl"] + day["net_flow"] == pytest.approx(following["equity"], abs=1e-4)
            assert day["ret"] == pytest.approx(day["pnl"] / (day["equity"] + max(0, day["net_flow"])))


def test_deposits_are_flows_and_no_results(pasts: list[Past]) -> None:
    for past in pasts:
        moved = sum(
            Decimal(row["delta"]["usdc"]) * (1 if row["delta"]["type"] == "deposit" else -1)
            for row in past.updates
            if row["delta"]["type"] in ("deposit", "withdraw")
        )
        assert moved == sum(usdc for _, usdc in past.flows)
        turned = [row["delta"] for row in past.updates if row["delta"]["type"] == "accountClassTransfer"]
        assert sum(Decimal(each["usdc"]) * (1 if each["toPerp"] else -1) for each in turned) == 0


def test_funding_is_paid_on_the_hour_by_who_holds(pasts: list[Past]) -> None:
    for past in pasts:
        for row in past.fundings:
            assert row["time"] % (8 * HOUR) < 200
            held = [fill for fill in perpetual(past) if fill.time <= row["time"]][-1]
            after = held.start_position + (Decimal(held.sz) if held.side == "B" else -Decimal(held.sz))
            assert (held.coin, after) == (row["delta"]["coin"], Decimal(row["delta"]["szi"]))
            signs = [Decimal(row["delta"][name]) for name in ("szi", "fundingRate", "usdc")]
            assert signs[0] * signs[1] * signs[2] <= 0


def test_round_trips_are_all_that_was_brought(pasts: list[Past]) -> None:
    for past in pasts:
        trips = round_trips(past.fills, past.fundings)
        brought = sum((usdc for _, usdc in past.results), Decimal(0))
        assert sum(trip["net"] for trip in trips) == pytest.approx(float(brought), abs=1e-4)
        assert all(trip["opened"] <= trip["closed"] for trip in trips)
    wins = [trip["net"] > 0 for past in pasts for trip in round_trips(past.fills, past.fundings)]
    assert 0.3 < mean(wins) < 0.7


def test_the_portfolio_agrees_with_the_days(world: World, pasts: list[Past]) -> None:
    for index, past in enumerate(pasts[:39]):
        windows = dict(portfolio(world, index))
        assert len(windows) == 8
        told = {day["day"] * DAY - 1: day for day in days(past, END)}
        for name, window in windows.items():
            times = [time for time, _ in window["accountValueHistory"]]
            assert times == sorted(set(times))
            assert times[-1] == NOON
            assert [time for time, _ in window["pnlHistory"]] == times
            assert window["pnlHistory"][0][1] == "0.0"
            if not name.startswith("perp"):
                assert window == windows[f"perp{name[0].upper()}{name[1:]}"]
        value, pnl = (dict(windows["allTime"][name]) for name in ("accountValueHistory", "pnlHistory"))
        for time in value:
            assert float(value[time]) - float(pnl[time]) == pytest.approx(float(past.flow(time)), abs=1e-4)
            until = [day["pnl"] for start, day in told.items() if start + DAY <= time]
            today = told.get(time // DAY * DAY - 1)
            if today is None or not today["pnl"]:
                # Nothing was held on that day: the point is what the days before have brought.
                assert float(pnl[time]) == pytest.approx(sum(until), abs=1e-4)
        assert float(pnl[NOON]) == pytest.approx(sum(day["pnl"] for day in told.values()), abs=1e-4)


def test_the_portfolio_at_midnights_is_exactly_the_days(world: World, pasts: list[Past]) -> None:
    for index, past in enumerate(pasts):
        for day in days(past, END):
            value, pnl = world.worth(index, day["day"] * DAY - 1)
            after, later = world.worth(index, (day["day"] + 1) * DAY - 1)
            assert float(value) == pytest.approx(day["equity"])
            assert float(later - pnl) == pytest.approx(day["pnl"], abs=1e-9)
            assert float(after - value - (later - pnl)) == pytest.approx(day["net_flow"], abs=1e-9)


def test_portfolio_points_are_spaced_like_the_exchanges(world: World) -> None:
    windows = dict(portfolio(world, 0))
    gaps = {
        name: [b[0] - a[0] for a, b in pairwise(points)]
        for name, points in ((name, window["pnlHistory"]) for name, window in windows.items())
    }
    assert all(2 * HOUR <= gap < 2.4 * HOUR for gap in gaps["day"][:-1])
    assert all(2 * HOUR <= gap < 4.4 * HOUR for gap in gaps["week"][:-1])
    assert len(set(gaps["month"])) > 5
    assert gaps["allTime"][0] < 1.1 * HOUR
    assert all(gap > 7 * DAY - HOUR for gap in gaps["allTime"][1:-1])


def test_what_is_planted_is_what_days_return() -> None:
    """With much skill, the true Sharpe ratio stands in the returns; idle days are in both."""
    options = ExchangeOptions(traders=60, skill_sd=0.8, short_history_rate=0, edge_cases=False, days=60, trips_a_day=2)
    world = World(options, lambda: NOON)
    true, seen = [], []
    for index in range(60):
        returns = [day["ret"] for day in days(world.past(index), END)]
        true.append(world.population.trader(index).sharpe)
        seen.append(mean(returns) / pstdev(returns))
    assert correlation(true, seen) > 0.9
    assert mean(seen) == pytest.approx(mean(true), abs=0.15)
    slope = correlation(true, seen) * pstdev(seen) / pstdev(true)
    assert 0.75 < slope < 1.35


def test_nobody_has_a_past_where_there_are_only_spot_coins() -> None:
    world = World(ExchangeOptions(coins=("@107",)), lambda: NOON)
    assert world.past(0) == Past()


def test_the_same_seed_makes_the_same_past(world: World) -> None:
    assert World(ExchangeOptions(), lambda: NOON + 5 * HOUR).past(7) == world.past(7)
