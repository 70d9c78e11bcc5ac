"""Ranks as numbers from 0 to 1."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.traders.core.percentiles import min_max, percentile_ranks

VALUES = st.lists(st.one_of(st.integers(-3, 3).map(float), st.just(math.nan), st.floats(-1e6, 1e6)), max_size=30)


def test_ties_share_their_mean() -> None:
    np.testing.assert_array_equal(percentile_ranks(np.array([5.0, 1.0, 5.0, 9.0, 5.0])), [0.5, 0.0, 0.5, 1.0, 0.5])


def test_unknown_ones_count_for_nobody() -> None:
    np.testing.assert_array_equal(percentile_ranks(np.array([np.nan, 2.0, np.nan, 1.0])), [np.nan, 1.0, np.nan, 0.0])


def test_who_is_alone_or_equal_to_all_stands_in_the_middle() -> None:
    assert percentile_ranks(np.array([7.0])).tolist() == [0.5]
    assert percentile_ranks(np.array([7.0, 7.0, 7.0])).tolist() == [0.5, 0.5, 0.5]
    assert percentile_ranks(np.array([])).tolist() == []
    assert percentile_ranks(np.array([-0.0, 0.0])).tolist() == [0.5, 0.5]


@given(VALUES)
def test_a_rank_is_the_share_of_others_below_and_half_of_equals(values: list[float]) -> None:
    ranks = percentile_ranks(np.array(values))
    known = [value for value in values if not math.isnan(value)]
    for value, rank in zip(values, ranks, strict=True):
        if math.isnan(value):
            assert math.isnan(rank)
        elif len(known) > 1:
            below, equal = sum(other < value for other in known), sum(other == value for other in known) - 1
            assert rank == (below + equal / 2) / (len(known) - 1)


@given(VALUES, st.randoms(use_true_random=False))
def test_ranks_do_not_depend_on_the_order(values: list[float], random: object) -> None:
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    array = np.array(values)
    np.testing.assert_array_equal(percentile_ranks(array[order]), percentile_ranks(array)[order])
    np.testing.assert_array_equal(min_max(array[order]), min_max(array)[order])


def test_min_max_is_the_former_one() -> None:
    np.testing.assert_array_equal(min_max(np.array([10.0, 20.0, np.nan, 15.0])), [0.0, 1.0, np.nan, 0.5])
    assert min_max(np.array([4.0, 4.0])).tolist() == [0.0, 0.0]
    assert np.isnan(min_max(np.array([np.nan]))).all()
