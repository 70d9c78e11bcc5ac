"""Windows that Riot might have, on a clock of the test's own."""

import math
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.sandbox.riot.buckets import Bucket, Buckets, read_windows

MODES: tuple[Literal["fixed", "sliding"], ...] = ("fixed", "sliding")


def admitted(mode: Literal["fixed", "sliding"], text: str, moments: list[float]) -> list[float]:
    bucket, windows = Bucket(), read_windows(text)
    return [moment for moment in moments if bucket.hit(moment, windows, mode).admitted]


def test_a_fixed_window_starts_with_the_first_request_and_forgets_all_at_its_end() -> None:
    assert admitted("fixed", "2:10", [5, 14, 14.9, 15, 15.1, 15.2]) == [5, 14, 15, 15.1]


def test_a_sliding_window_looks_back_from_each_request() -> None:
    assert admitted("sliding", "2:10", [5, 14, 15, 16, 24, 25]) == [5, 14, 15]


def test_rejected_requests_count_in_a_sliding_window() -> None:
    # Who goes on asking never gets in: this is why a client has to stop by itself.
    assert admitted("sliding", "1:10", [0, 5, 14, 20, 29]) == [0]


def test_rejected_requests_count_in_the_headers() -> None:
    bucket, windows = Bucket(), read_windows("2:10,100:60")
    readings = [bucket.hit(0.0, windows, "fixed") for _ in range(4)]
    assert [reading.counts for reading in readings][-1] == ("4:10", "4:60")
    assert readings[-1].limits == ("2:10", "100:60")
    assert [reading.admitted for reading in readings] == [True, True, False, False]


@pytest.mark.parametrize("mode", MODES)
@given(gaps=st.lists(st.floats(0, 4), max_size=60), limit=st.integers(1, 5), seconds=st.sampled_from([1.0, 3.0]))
def test_waiting_as_long_as_told_gets_in(
    mode: Literal["fixed", "sliding"], gaps: list[float], limit: int, seconds: float
) -> None:
    bucket, windows, now = Bucket(), ((limit, seconds),), 0.0
    for gap in gaps:
        now += gap
        reading = bucket.hit(now, windows, mode)
        if not reading.admitted:
            # A little more, for sums of floats may be off.
            assert 0 < reading.wait < seconds + 1e-6
            now += reading.wait + 1e-6
            assert bucket.hit(now, windows, mode).admitted


@given(gaps=st.lists(st.floats(0, 2), max_size=80), limit=st.integers(1, 5))
def test_no_stretch_of_a_sliding_window_admits_too_many(gaps: list[float], limit: int) -> None:
    moments, now = [], 0.0
    for gap in gaps:
        moments.append(now := now + gap)
    inside = admitted("sliding", f"{limit}:3", moments)
    assert all(sum(0 <= other - first < 3 for other in inside) <= limit for first in inside)


@given(gaps=st.lists(st.floats(0, 2), min_size=1, max_size=80), limit=st.integers(1, 5))
def test_a_fixed_window_admits_no_more_than_its_share_of_the_whole_time(gaps: list[float], limit: int) -> None:
    moments, now = [], 0.0
    for gap in gaps:
        moments.append(now := now + gap)
    span = moments[-1] - moments[0]
    assert len(admitted("fixed", f"{limit}:3", moments)) <= limit * (math.floor(span / 3) + 1)


def test_changed_limits_keep_what_was_counted() -> None:
    bucket = Bucket()
    for _ in range(3):
        bucket.hit(0.0, read_windows("5:10"), "sliding")
    reading = bucket.hit(1.0, read_windows("3:10,50:60"), "sliding")
    assert (reading.admitted, reading.counts) == (False, ("4:10", "1:60"))


def test_keys_routes_and_methods_have_buckets_of_their_own() -> None:
    buckets, one = Buckets(), read_windows("1:10")

    def hit(key: str, route: str, method: str) -> str | None:
        verdict = buckets.hit(
            0.0, key=key, route=route, method=method, app=read_windows("2:10"), per_method=one, mode="fixed"
        )
        return verdict.rejected_by

    assert [hit("a", "na1", "x"), hit("a", "na1", "x"), hit("a", "na1", "y")] == [None, "method", "application"]
    assert [hit("a", "kr", "x"), hit("b", "na1", "x")] == [None, None]
    buckets.clear()
    assert hit("a", "na1", "x") is None


@pytest.mark.parametrize("text", ["", "20", "0:1", "20:0", "-1:5", "20:1,", "a:b"])
def test_texts_that_are_no_windows(text: str) -> None:
    with pytest.raises(ValueError, match="no windows"):
        read_windows(text)
