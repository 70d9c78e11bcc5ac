"""Returns of times in which money came and went: laws, and what somebody might try."""

import math
from itertools import accumulate

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tasks.traders.core.capital import Flow, Span, linked_return

HOUR = 3_600_000


def day(*flows: Flow, equity: float = 1000.0, pnl: float = 0.0, unexplained: float = 0.0) -> Span:
    return Span(0, 24 * HOUR, equity, pnl, flows, unexplained)


def ret(*spans: Span, minimum: float = 100.0) -> float | None:
    return linked_return(spans, minimum=minimum)


def test_without_flows_it_is_result_by_equity() -> None:
    assert ret(day(pnl=50)) == pytest.approx(0.05)
    assert ret(day(pnl=-50)) == pytest.approx(-0.05)
    assert ret(day()) == 0.0


def test_a_deposit_is_no_gain() -> None:
    assert ret(day((6 * HOUR, 5000.0))) == 0.0


def test_a_gain_is_measured_against_the_most_that_was_there() -> None:
    # A million is there for the trade only, and deposits less withdrawals of the day are 0.
    assert ret(day((HOUR, 1e6), (2 * HOUR, -1e6), pnl=10_000)) == pytest.approx(10_000 / 1_001_000)
    # The winner's withdrawal does not make the base small.
    assert ret(day((HOUR, -999_000.0), equity=1e6, pnl=10_000)) == pytest.approx(0.01)
    assert ret(day(equity=1000, pnl=10_000, unexplained=1e6)) == pytest.approx(10_000 / 1_001_000)


def test_a_loss_is_not_diluted_by_a_deposit_after_it() -> None:
    assert ret(day((24 * HOUR - 1, 1e6), pnl=-900)) == pytest.approx(-0.9, abs=0.01)


def test_a_loss_is_not_diluted_by_money_that_left_before_it() -> None:
    assert ret(day((1, -800.0), pnl=-100)) == pytest.approx(-0.5, abs=0.01)


def test_an_account_emptied_in_the_evening_has_not_lost_everything_at_noon() -> None:
    assert ret(day((20 * HOUR, -950.0), pnl=-50)) == pytest.approx(-0.05, abs=0.001)


def test_money_that_came_at_noon_was_there_in_the_afternoon() -> None:
    assert ret(day((12 * HOUR, 1000.0), equity=0.0, pnl=-100)) == pytest.approx(-0.1)


def test_nothing_is_lost_below_everything() -> None:
    assert ret(day(pnl=-5000)) == -1.0
    assert ret(day(pnl=-5000), Span(24 * HOUR, 48 * HOUR, 1000.0, 500.0)) == -1.0


def test_without_money_there_is_no_return() -> None:
    assert ret(day(equity=99.0, pnl=50)) is None
    assert ret(day(equity=-500.0, pnl=50)) is None
    assert ret() is None


def test_what_an_almost_empty_account_does_counts_with_its_neighbour() -> None:
    rich, poor = Span(0, HOUR, 1000.0, -500.0, ((HOUR, -450.0),)), Span(HOUR, 2 * HOUR, 50.0, -10.0)
    emptied = Span(2 * HOUR, 3 * HOUR, 40.0, 0.0)
    assert ret(rich, poor, emptied) == pytest.approx(-0.51)
    later = Span(2 * HOUR, 3 * HOUR, 1040.0, 114.0)
    assert ret(rich, poor, later) == pytest.approx(0.5 * 1.1 - 1)
    assert ret(poor, later) == pytest.approx(0.1)


#: Returns of consecutive hours, and what comes or goes at the end of each, as a part of what is there.
hours = st.lists(st.tuples(st.floats(-0.5, 0.5), st.floats(-0.9, 20.0)), min_size=1, max_size=24)


def account(steps: list[tuple[float, float]], *, flows: bool, equity: float = 10_000.0) -> list[Span]:
    spans = []
    for hour, (rate, part) in enumerate(steps):
        pnl = equity * rate
        end = (hour + 1) * HOUR
        came = (equity + pnl) * part if flows else 0.0
        spans.append(Span(hour * HOUR, end, equity, pnl, ((end, came),) if came else ()))
        equity += pnl + came
    return spans


@given(hours)
def test_deposits_and_withdrawals_at_known_moments_leave_returns_as_they_are(steps: list[tuple[float, float]]) -> None:
    with_flows, without = account(steps, flows=True), account(steps, flows=False)
    assume(all(span.equity >= 100 for span in (*with_flows, *without)))
    found, expected = ret(*with_flows), ret(*without)
    assert found is not None
    assert expected is not None
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert found == pytest.approx(math.prod(1 + rate for rate, _ in steps) - 1, rel=1e-9, abs=1e-12)


flows = st.lists(st.tuples(st.integers(1, 24 * HOUR - 1), st.floats(-1e5, 1e5)), max_size=6).map(
    lambda found: tuple(sorted(found))
)
amounts = st.floats(-1e5, 1e5)


@given(flows, amounts, st.floats(100, 1e5), amounts)
def test_no_flow_makes_a_gain_larger_or_turns_a_result(
    came: tuple[Flow, ...], pnl: float, equity: float, stray: float
) -> None:
    found = ret(day(*came, equity=equity, pnl=pnl, unexplained=stray))
    plain = ret(day(equity=equity, pnl=pnl))
    assert found is not None
    assert plain is not None
    assert found >= -1
    assert found * pnl >= 0
    if pnl > 0:
        assert found <= plain


@given(flows, st.floats(-1e5, -1), st.floats(100, 1e5))
def test_a_deposit_at_the_last_moment_hides_no_loss(came: tuple[Flow, ...], pnl: float, equity: float) -> None:
    # Below the minimum nothing is measured, and nothing but that little can be lost.
    assume(all(level >= 100 for level in accumulate((amount for _, amount in came), initial=equity)))
    before = ret(day(*came, equity=equity, pnl=pnl))
    after = ret(day(*came, (24 * HOUR - 1, 1e5), equity=equity, pnl=pnl))
    assert before is not None
    assert after == pytest.approx(before, rel=1e-4)


@given(hours, st.integers(0, 24))
def test_spans_are_linked(steps: list[tuple[float, float]], cut: int) -> None:
    spans = account(steps, flows=True)
    assume(all(span.equity >= 100 for span in spans))
    whole, parts = ret(*spans), [ret(*part) for part in (spans[:cut], spans[cut:]) if part]
    assert whole is not None
    assert 1 + whole == pytest.approx(math.prod(1 + part for part in parts if part is not None))
