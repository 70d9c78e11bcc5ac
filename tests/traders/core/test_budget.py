"""What a window permits, and how the weight is divided."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.traders.core.budget import Shares, permitted


def by_spending(limit: int, window: int, seconds: int, used: list[tuple[int, int]]) -> int:
    """The same by spending all that is free in every second; nobody can do better in a sliding window."""
    spent = [(-ago, weight) for ago, weight in used]
    total = 0
    for now in range(seconds + 1):
        free = limit - sum(weight for at, weight in spent if at > now - window)
        if free > 0:
            spent.append((now, free))
            total += free
    return total


@given(
    limit=st.integers(1, 50),
    window=st.integers(1, 12),
    seconds=st.integers(0, 40),
    parts=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)), max_size=6),
)
def test_it_is_what_could_be_spent_at_the_most(
    limit: int, window: int, seconds: int, parts: list[tuple[int, int]]
) -> None:
    used, left = [], limit
    for ago, weight in parts:
        if weight <= left:
            used.append((ago, weight))
            left -= weight
    expected = by_spending(limit, window, seconds, used)
    assert permitted(limit, window, seconds, used) == expected


def test_a_cold_start_is_permitted_two_windows_in_seventy_seconds() -> None:
    assert permitted(1200, 60, 70, []) == 2400
    # Spent 15 seconds before: it can be spent once more, from 45 seconds on.
    assert permitted(1200, 60, 70, [(15, 1200)]) == 1200
    assert permitted(1200, 60, 40, [(15, 1200)]) == 0


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_histories_get_their_share_of_the_weight(share: float) -> None:
    shares = Shares(share)
    for _ in range(10_000):
        if shares.history_is_next:
            shares.histories += 100
        else:
            shares.polls += 2
    assert shares.histories / (shares.polls + shares.histories) == pytest.approx(share, abs=0.02)
