"""The daily series: laws over any evidence, and what each source of it gives."""

import math
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tasks.traders.core.daily import Dealing, Series, daily_series
from tasks.traders.core.equity import Point
from tasks.traders.core.worth import DAY_MS, Evidence

HOUR = 3_600_000
#: 2026-01-01, a midnight.
START = 20_454 * DAY_MS
FIRST = START // DAY_MS


def series(evidence: Evidence, *dealings: Dealing, minimum: float = 100.0) -> Series:
    return daily_series(evidence, dealings, minimum=minimum)


def at(hours: float) -> int:
    return START + round(hours * HOUR)


def returns(found: Series) -> dict[int, float | None]:
    return {row.day - FIRST: row.ret for row in found.days}


def account(
    moments: list[int], rates: list[float], parts: list[float], *, flows: bool, equity: float = 10_000.0
) -> Evidence:
    """An account that wins at these rates from moment to moment, with money that comes or goes at the moments."""
    pnl = 0.0
    points, came = [Point(moments[0], equity, pnl)], []
    for time, rate, part in zip(moments[1:], rates, parts, strict=False):
        won = equity * rate
        equity, pnl = equity + won, pnl + won
        if flows and part:
            came.append((time, equity * part))
            equity += equity * part
        points.append(Point(time, equity, pnl))
    return Evidence(points=points, flows=came)


steps = st.lists(
    st.tuples(st.floats(0.2, 30).map(lambda hours: round(hours * HOUR)), st.floats(-0.3, 0.4), st.floats(-0.9, 10.0)),
    min_size=1,
    max_size=40,
)


@given(steps, st.integers(0, DAY_MS))
def test_deposits_and_withdrawals_leave_returns_as_they_are(found: list[tuple[int, float, float]], shift: int) -> None:
    moments = [START + shift]
    for step, _, _ in found:
        moments.append(moments[-1] + step)
    rates, parts = [rate for _, rate, _ in found], [part for _, _, part in found]
    with_flows, without = (account(moments, rates, parts, flows=flows) for flows in (True, False))
    assume(all(point.equity >= 100 for point in (*with_flows.points, *without.points)))
    told, expected = series(with_flows), series(without)
    assert returns(told).keys() == returns(expected).keys()
    for day, value in returns(expected).items():
        assert value is not None
        assert returns(told)[day] == pytest.approx(value, rel=1e-6, abs=1e-9)
    # Linked, the days are the whole.
    assert math.prod(1 + (row.ret or 0) for row in told.days) == pytest.approx(math.prod(1 + rate for rate in rates))
    # Of an account that nothing tells of, the ledger says when it came; what it says agrees with what is there.
    assert sum(row.net_flow for row in told.days) == pytest.approx(
        sum(amount or 0 for _, amount in with_flows.flows), rel=1e-6, abs=1
    )


@given(steps, st.integers(0, DAY_MS))
def test_equity_alone_makes_no_return(found: list[tuple[int, float, float]], shift: int) -> None:
    moments = [START + shift]
    for step, _, _ in found:
        moments.append(moments[-1] + step)
    evidence = account(moments, [0.0] * len(found), [part for _, _, part in found], flows=True)
    for told in (evidence, replace(evidence, flows=())):
        assert {value for value in returns(series(told)).values()} <= {0.0, None}


times = st.integers(START, START + 90 * DAY_MS)
usd = st.floats(-1e5, 1e5)
points = st.lists(
    st.builds(Point, times, st.one_of(st.just(0.0), st.floats(0, 1e6)), usd), max_size=25, unique_by=lambda p: p.time
).map(lambda found: sorted(found, key=lambda point: point.time))
evidences = st.builds(
    Evidence,
    points=points,
    snapshots=st.lists(st.tuples(times, st.floats(0, 1e6)), max_size=8, unique_by=lambda s: s[0]).map(sorted),
    flows=st.lists(st.tuples(times, st.one_of(st.none(), usd)), max_size=8),
    fills_from=st.one_of(st.none(), times),
)
dealings = st.lists(
    st.builds(Dealing, times, usd, st.floats(-10, 100), usd, st.floats(0, 1e6), st.integers(0, 1)), max_size=25
)


@given(evidences, dealings)
def test_results_of_days_are_the_whole_result(evidence: Evidence, dealt: list[Dealing]) -> None:
    found = series(evidence, *dealt)
    assert found.pnl is None or math.fsum(row.pnl for row in found.days) == pytest.approx(found.pnl, abs=0.01)
    days = [row.day for row in found.days]
    assert days == sorted(set(days))
    assert all(row.ret is None or (row.ret >= -1 and math.isfinite(row.ret)) for row in found.days)
    assert sum(row.fills for row in found.days) == sum(dealing.fills for dealing in dealt)
    assert math.fsum(row.fees for row in found.days) == pytest.approx(math.fsum(d.fee for d in dealt), abs=1e-6)
    if evidence.points and not evidence.flows and all(d.time > evidence.points[0].time for d in dealt):
        after = math.fsum(d.result for d in dealt if d.time > evidence.points[-1].time)
        expected = evidence.points[-1].pnl - evidence.points[0].pnl + after
        assert found.pnl == pytest.approx(expected, abs=0.01)


@given(evidences, dealings, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(evidence: Evidence, dealt: list[Dealing], shuffler: Random) -> None:
    expected = series(evidence, *dealt)
    mixed, flows = list(dealt), list(evidence.flows)
    shuffler.shuffle(mixed)
    shuffler.shuffle(flows)
    assert series(replace(evidence, flows=flows), *mixed) == expected


def test_nothing_is_nothing() -> None:
    assert series(Evidence()) == Series()


def test_days_begin_where_worth_is_known_nearest_to_midnight() -> None:
    known = [Point(at(hours), 1000.0 + won, won) for hours, won in ((0, 0), (22, 10), (26, 30), (47, 60), (71, 0))]
    found = series(Evidence(points=known))
    # 22 and 26 are as near: the earlier one ends the day.
    assert [row.pnl for row in found.days] == [10, 50, -60]
    assert returns(found) == {
        0: pytest.approx(0.01),
        1: pytest.approx((1 + 20 / 1010) * (1 + 30 / 1030) - 1),
        2: pytest.approx(-60 / 1060),
    }
    assert [row.equity for row in found.days] == [1000, 1010, 1060]


def test_a_deposit_that_only_the_portfolio_shows_is_no_gain() -> None:
    known = [Point(at(0), 1000, 0), Point(at(24), 6100, 100), Point(at(48), 6100, 100)]
    found = series(Evidence(points=known))
    assert [row.net_flow for row in found.days] == [5000, 0]
    assert returns(found) == {0: pytest.approx(100 / 6000), 1: 0.0}


def test_an_idle_day_with_money_is_a_day_without_gain_and_one_without_money_is_none() -> None:
    known = [Point(at(0), 1000, 0), Point(at(24), 1000, 0), Point(at(48), 0, 0), Point(at(72), 0, 0)]
    found = series(Evidence(points=known, flows=[(at(48), -1000.0)]))
    assert returns(found) == {0: 0.0, 1: 0.0}


def test_a_day_without_base_has_no_return() -> None:
    known = [Point(at(0), 50, 0), Point(at(24), 90, 40), Point(at(48), 60, 10)]
    found = series(Evidence(points=known))
    assert [row.ret for row in found.days] == [None, None]
    assert [row.pnl for row in found.days] == [40, -30]


def test_a_day_of_fees_alone_is_not_empty() -> None:
    found = series(Evidence(), Dealing(at(0), closed_pnl=1.0, fee=1.0))
    assert [(row.pnl, row.closed_pnl, row.fees) for row in found.days] == [(0.0, 1.0, 1.0)]


#: An account that gets 1000 and trades, known a week later; nothing is open at its end.
DEPOSIT = (at(1), 1000.0)
WEEK = [Point(at(0), 0.0, 0.0), Point(at(168), 1300.0, 300.0)]


def test_between_distant_points_the_days_are_those_of_fills_and_funding() -> None:
    dealt = [Dealing(at(30), 100.0), Dealing(at(60), 220.0, 10.0, -10.0)]
    found = series(Evidence(points=WEEK, flows=[DEPOSIT]), *dealt)
    assert returns(found) == {
        **dict.fromkeys(range(7), 0.0),
        1: pytest.approx(0.1),
        2: pytest.approx(200 / 1100),
    }
    assert [row.net_flow for row in found.days] == [1000, 0, 0, 0, 0, 0, 0]
    assert found.pnl == pytest.approx(300)
    assert found.equity == 1300


def test_a_deposit_between_distant_points_is_no_gain_and_takes_nothing_from_one() -> None:
    dealt = [Dealing(at(30), 100.0), Dealing(at(60), 200.0)]
    more = [(at(31), 9000.0), (at(59), -9000.0)]
    plain = series(Evidence(points=WEEK, flows=[DEPOSIT]), *dealt)
    found = series(Evidence(points=WEEK, flows=[DEPOSIT, *more]), *dealt)
    assert returns(found) == pytest.approx(returns(plain))


def test_what_is_not_realised_makes_days_between_distant_points_uncertain() -> None:
    # 300 were won, and fills tell of 100.
    found = series(Evidence(points=WEEK, flows=[DEPOSIT]), Dealing(at(30), 100.0))
    assert set(returns(found).values()) == {None}
    assert found.pnl == pytest.approx(300)
    assert [row.pnl for row in found.days] == pytest.approx([200 / 7, 100 + 200 / 7, *[200 / 7] * 5])


def test_a_little_that_is_not_realised_is_spread() -> None:
    found = series(Evidence(points=WEEK, flows=[DEPOSIT]), Dealing(at(30), 290.0))
    assert found.days[1].pnl == pytest.approx(290 + 10 / 7)
    assert None not in returns(found).values()


@pytest.mark.parametrize("flows", [[], [DEPOSIT, (at(2), None)], [(at(1), 5000.0)]])
def test_money_that_nothing_explains_makes_them_uncertain(flows: list[tuple[int, float | None]]) -> None:
    dealt = [Dealing(at(30), 100.0), Dealing(at(60), 200.0)]
    found = series(Evidence(points=WEEK, flows=flows), *dealt)
    assert set(returns(found).values()) == {None}
    assert found.pnl == pytest.approx(300)


def test_missing_fills_make_them_uncertain() -> None:
    dealt = [Dealing(at(30), 100.0), Dealing(at(60), 200.0)]
    evidence = Evidence(points=WEEK, flows=[DEPOSIT])
    assert None in returns(series(replace(evidence, fills_from=at(20)), *dealt)).values()
    assert None not in returns(series(replace(evidence, fills_from=at(0)), *dealt)).values()


def test_before_its_first_deposit_an_account_was_empty() -> None:
    known = [Point(at(168), 1300.0, 300.0), Point(at(190), 1300.0, 300.0)]
    found = series(Evidence(points=known, flows=[DEPOSIT]), Dealing(at(30), 100.0), Dealing(at(60), 200.0))
    assert returns(found)[1] == pytest.approx(0.1)
    assert found.pnl == pytest.approx(300)
    assert found.begun == at(1)


def test_what_is_paid_at_midnight_belongs_to_the_day_that_begins() -> None:
    found = series(Evidence(points=WEEK, flows=[DEPOSIT]), Dealing(at(48), funding=300.0))
    assert {row.day - FIRST: row.pnl for row in found.days if row.pnl} == pytest.approx({2: 300.0})
    first = series(Evidence(), Dealing(at(0), funding=-1.0), Dealing(at(0), funding=2.0))
    assert [(row.day - FIRST, row.pnl, row.funding) for row in first.days] == [(0, 1.0, 1.0)]


def test_without_any_worth_there_are_results_and_no_returns() -> None:
    found = series(
        Evidence(flows=[DEPOSIT]), Dealing(at(30), 100.0, 1.0, volume=5000.0, fills=1), Dealing(at(60), -20.0)
    )
    assert [(row.day - FIRST, row.pnl, row.equity, row.ret) for row in found.days] == [
        (0, 0.0, None, None),
        (1, 99.0, None, None),
        (2, -20.0, None, None),
    ]
    assert (found.pnl, found.equity) == (79.0, None)
    assert found.days[1].volume == 5000.0


def test_snapshots_do_where_there_is_no_portfolio() -> None:
    taken = [(at(0), 1000.0), (at(23), 1100.0), (at(25), 3100.0), (at(47), 2790.0)]
    found = series(Evidence(snapshots=taken, flows=[(at(24), 2000.0)]))
    assert [row.pnl for row in found.days] == [100, -310]
    assert returns(found) == {0: pytest.approx(0.1), 1: pytest.approx(-0.1)}


def test_snapshots_do_not_mix_with_a_portfolio() -> None:
    known = [Point(at(0), 1000, 0), Point(at(24), 1100, 100)]
    plain = series(Evidence(points=known))
    assert series(Evidence(points=known, snapshots=[(at(12), 500.0), (at(30), 500.0)])) == plain


def test_a_snapshot_after_money_of_unknown_value_is_no_gain() -> None:
    taken = [(at(0), 1000.0), (at(24), 9000.0)]
    found = series(Evidence(snapshots=taken, flows=[(at(12), None)]), Dealing(at(13), 50.0))
    assert found.pnl == pytest.approx(50)
    assert returns(found) == {0: None}


def test_what_happened_after_the_last_point_has_no_return_yet() -> None:
    known = [Point(at(0), 1000, 0), Point(at(24), 1100, 100)]
    found = series(Evidence(points=known), Dealing(at(40), -200.0))
    assert returns(found) == {0: pytest.approx(0.1), 1: None}
    assert found.days[1].pnl == -200


def test_daily_moments_are_contiguous() -> None:
    known = [Point(at(hours), 1000.0, float(hours)) for hours in range(0, 24 * 40, 23)]
    found = series(Evidence(points=known))
    for before, after in pairwise(found.days):
        assert after.day == before.day + 1
    assert found.pnl == known[-1].pnl


def test_a_large_account_is_no_steadier_between_distant_points_than_they_tell() -> None:
    # 1 % in a week, of which no fill tells: not a seventh of it each day.
    known = [Point(at(0), 1e6, 0.0), Point(at(168), 1.01e6, 1e4)]
    assert set(returns(series(Evidence(points=known))).values()) == {None}
    idle = [Point(at(0), 1e6, 0.0), Point(at(168), 1e6, 0.0)]
    assert set(returns(series(Evidence(points=idle))).values()) == {0.0}
