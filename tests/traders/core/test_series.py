"""Daily returns as bytes, and the matrix that a leaderboard makes of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.traders.core import series
from tasks.traders.core.series import matrix, pack, unpack

RETURNS = st.dictionaries(
    st.integers(20_000, 20_400), st.none() | st.floats(-1, 5, allow_nan=False, allow_infinity=False), max_size=60
)


@given(RETURNS)
def test_what_was_packed_comes_back(returns: dict[int, float | None]) -> None:
    packed = pack(returns.items())
    known = {day: value for day, value in returns.items() if value is not None}
    if packed is None:
        assert not known
        return
    first, values = packed[0], unpack(packed[1])
    assert {first + at: value for at, value in enumerate(values) if not np.isnan(value)} == known
    assert first == min(known) and len(values) == max(known) - first + 1


@given(st.lists(RETURNS, min_size=1, max_size=5), st.integers(1, 100), st.integers(19_990, 20_420))
def test_the_matrix_has_each_return_at_its_day(
    all_returns: list[dict[int, float | None]], days: int, last: int
) -> None:
    packed = [pack(returns.items()) or (last, b"") for returns in all_returns]
    table = matrix(packed, days=days, as_of_day=last)
    assert table.shape == (len(all_returns), days)
    for row, returns in enumerate(all_returns):
        for column in range(days):
            wanted = returns.get(last - days + 1 + column)
            assert np.isnan(table[row, column]) if wanted is None else table[row, column] == wanted


def test_the_oldest_days_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "LONGEST", 3)
    packed = pack([(day, day / 1000) for day in range(10)])
    assert packed is not None
    assert packed[0] == 7 and unpack(packed[1]).tolist() == [0.007, 0.008, 0.009]


def test_bytes_that_are_no_doubles_are_refused() -> None:
    with pytest.raises(ValueError, match="buffer size"):
        unpack(b"12345")
