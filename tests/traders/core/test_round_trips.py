"""Round trips: flat to flat, flips, fees, funding, what was there before, and what is missing."""

from decimal import Decimal
from itertools import accumulate
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.traders.core.round_trips import RoundTrip, TripFill, Trips, round_trips


def chain(*changes: tuple[int, str], start: str = "0", coin: str = "BTC", fee: float = 1.0) -> list[TripFill]:
    """Fills from (time, signed size); what a reduced unit brings is 10."""
    fills = []
    position = Decimal(start)
    for time, change in changes:
        size = Decimal(change)
        reduced = min(abs(position), abs(size)) if position * size < 0 else Decimal(0)
        side = "B" if size > 0 else "A"
        fills.append(TripFill(time, coin, side, abs(size), position, float(reduced) * 10, fee))
        position += size
    return fills


def test_from_flat_to_flat_is_one_net_of_fees() -> None:
    found = round_trips(chain((1, "2"), (2, "1"), (3, "-3")))
    assert found.trips == (RoundTrip("BTC", 1, 3, 30 - 3, False),)


def test_a_flip_ends_one_and_begins_one_and_its_fee_is_shared_by_size() -> None:
    found = round_trips(chain((1, "1"), (2, "-4"), (3, "3"), fee=4.0))
    assert [(trip.opened, trip.closed, trip.net) for trip in found.trips] == [(1, 2, 10 - 4 - 1), (2, 3, 30 - 3 - 4)]


def test_short_ones_count_alike() -> None:
    assert [trip.net for trip in round_trips(chain((1, "-2"), (2, "2"))).trips] == [18.0]


def test_coins_are_apart_and_the_order_is_that_of_closing() -> None:
    found = round_trips([*chain((1, "1"), (9, "-1"), coin="A"), *chain((2, "1"), (3, "-1"), coin="xyz:B")])
    assert [trip.coin for trip in found.trips] == ["xyz:B", "A"]


def test_what_was_there_before_the_first_fill_is_not_counted_and_the_next_is() -> None:
    found = round_trips(chain((1, "1"), (2, "-6"), (3, "2"), (4, "-2"), start="5"))
    assert [(trip.opened, trip.closed) for trip in found.trips] == [(3, 4)]


def test_a_first_fill_that_flips_what_was_there_begins_one() -> None:
    found = round_trips(chain((1, "-7"), (2, "2"), start="5"))
    assert [(trip.opened, trip.closed) for trip in found.trips] == [(1, 2)]


def test_one_still_open_is_not_counted() -> None:
    assert round_trips(chain((1, "1"), (2, "-1"), (3, "1"))).trips == round_trips(chain((1, "1"), (2, "-1"))).trips


def test_fills_that_are_missing_make_a_life_uncounted() -> None:
    whole = chain((1, "1"), (2, "1"), (3, "-2"), (4, "1"), (5, "-1"))
    found = round_trips([fill for fill in whole if fill.time != 2])
    assert [(trip.opened, trip.closed) for trip in found.trips] == [(4, 5)]


def test_a_closing_that_is_missing_makes_the_next_one_whole() -> None:
    whole = chain((1, "1"), (2, "-1"), (3, "2"), (4, "-2"))
    found = round_trips([fill for fill in whole if fill.time != 2])
    assert [(trip.opened, trip.closed) for trip in found.trips] == [(3, 4)]


@pytest.mark.parametrize("size", ["1", "-1"])
def test_an_opening_and_a_closing_in_one_block_are_a_round_trip(size: str) -> None:
    assert round_trips(chain((1, size), (1, str(-int(size))))).trips == (RoundTrip("BTC", 1, 1, 8.0, False),)


def test_a_sweep_in_one_block_is_taken_as_one_whatever_its_order() -> None:
    sweep = chain((1, "1"), (1, "2"), (1, "3"), (2, "-1"), (2, "-5"))
    expected = (RoundTrip("BTC", 1, 2, 60 - 5, False),)
    assert round_trips(sweep).trips == round_trips(sweep[::-1]).trips == expected


def test_funding_belongs_to_the_position_that_was_there() -> None:
    fills = chain((10, "1"), (20, "-1"), (30, "1"), (40, "-1"))
    funding = [(5, "BTC", 100.0), (10, "BTC", 100.0), (15, "BTC", 3.0), (20, "BTC", 5.0), (25, "BTC", 100.0)]
    funding += [(35, "ETH", 100.0), (35, "BTC", -7.0)]
    assert [trip.net for trip in round_trips(fills, funding).trips] == [8 + 3 + 5, 8 - 7]


def liquidating(fills: list[TripFill], time: int) -> list[TripFill]:
    return [TripFill(f.time, f.coin, f.side, f.sz, f.start, f.closed_pnl, f.fee, f.time == time) for f in fills]


def test_liquidations_are_positions_not_fills() -> None:
    fills = liquidating(chain((1, "3"), (2, "-1"), (2, "-1"), (3, "-1"), (4, "1"), (5, "-1")), 2)
    found = round_trips(fills)
    assert found.liquidated == 1
    assert [trip.liquidated for trip in found.trips] == [True, False]


@pytest.mark.parametrize("start", ["5", "0"])
def test_liquidations_of_what_is_not_counted_count(start: str) -> None:
    assert round_trips(liquidating(chain((1, "2"), (2, "-1"), start=start), 2)).liquidated == 1


def test_a_fill_that_does_not_tell_where_it_starts_goes_on_from_what_is_known() -> None:
    fills = [TripFill(f.time, f.coin, f.side, f.sz, None, f.closed_pnl) for f in chain((1, "1"), (2, "-1"))]
    assert [trip.net for trip in round_trips(fills).trips] == [10.0]


def test_nothing_is_nothing() -> None:
    assert round_trips([]) == Trips((), 0)


changes = st.lists(
    st.tuples(st.integers(1, 12), st.integers(-4, 4).filter(bool)).map(lambda pair: (pair[0], str(pair[1]))),
    max_size=30,
).map(lambda pairs: sorted(pairs, key=lambda pair: pair[0]))
payments = st.lists(st.tuples(st.integers(1, 12), st.just("BTC"), st.floats(-9, 9)), max_size=5)


@given(changes, payments, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(
    pairs: list[tuple[int, str]], paid: list[tuple[int, str, float]], shuffler: Random
) -> None:
    fills = chain(*pairs)
    expected = round_trips(fills, paid)
    shuffler.shuffle(fills)
    shuffler.shuffle(paid)
    assert round_trips(fills, paid) == expected


@given(changes)
def test_from_flat_to_flat_every_fills_result_is_in_one_trip(pairs: list[tuple[int, str]]) -> None:
    left = sum(int(change) for _, change in pairs)
    fills = chain(*pairs, *([(99, str(-left))] if left else []))
    found = round_trips(fills)
    assert sum(trip.net for trip in found.trips) == pytest.approx(sum(fill.closed_pnl - fill.fee for fill in fills))


@given(changes)
def test_there_are_as_many_trips_as_blocks_that_end_one(pairs: list[tuple[int, str]]) -> None:
    times = sorted({time for time, _ in pairs})
    moved = [sum(int(change) for at, change in pairs if at == time) for time in times]
    after = list(accumulate(moved))
    ends = sum(now == 0 or before * now < 0 for before, now in zip([0, *after], after, strict=False))
    assert len(round_trips(chain(*pairs)).trips) == ends
