"""Headers about limits, in any order, number and state."""

import itertools
import logging

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.rate_window import AnswerLimits, Window
from blocks.riot import limits as module
from blocks.riot.limits import read_limits, read_retry_after, read_scope

_NAMES = ("X-App-Rate-Limit", "X-App-Rate-Limit-Count", "X-Method-Rate-Limit", "X-Method-Rate-Limit-Count")
_HEADER_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=40)


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_told", set())


def test_all_headers() -> None:
    found = read_limits(
        httpx.Headers(
            {
                "X-App-Rate-Limit": "20:1,100:120",
                "X-App-Rate-Limit-Count": "1:1,36:120",
                "x-method-rate-limit": "2000:60",
                "x-method-rate-limit-count": "7:60",
            }
        )
    )
    assert found == AnswerLimits(
        application=(Window(20, 1), Window(100, 120)),
        application_counts={1: 1, 120: 36},
        method=(Window(2000, 60),),
        method_counts={60: 7},
    )


def test_no_headers() -> None:
    assert read_limits(httpx.Headers()) == AnswerLimits()
    assert (read_retry_after(httpx.Headers()), read_scope(httpx.Headers())) == (None, "service")


@given(st.dictionaries(st.integers(1, 86_400), st.integers(1, 10**6), min_size=1, max_size=5))
def test_order_and_number_of_windows_do_not_matter(windows: dict[int, int]) -> None:
    expected = {Window(limit, seconds) for seconds, limit in windows.items()}
    for order in itertools.permutations(windows.items()):
        text = ",".join(f"{limit}:{seconds}" for seconds, limit in order)
        found = read_limits(httpx.Headers({"X-App-Rate-Limit": text, "X-App-Rate-Limit-Count": text}))
        assert set(found.application or ()) == expected
        assert found.application_counts == windows


@given(st.dictionaries(st.sampled_from([*_NAMES, "Retry-After", "X-Rate-Limit-Type"]), _HEADER_TEXT))
def test_rubbish_is_the_same_as_absence(headers: dict[str, str]) -> None:
    raw = httpx.Headers([(name.encode(), text.encode("latin-1")) for name, text in headers.items()])
    found = read_limits(raw)
    for windows in (found.application, found.method):
        assert windows is None or all(window.limit >= 1 and window.seconds > 0 for window in windows)
    for counts in (found.application_counts, found.method_counts):
        assert counts is None or all(count >= 0 and seconds > 0 for seconds, count in counts.items())
    told = read_retry_after(raw)
    assert told is None or told >= 0
    assert read_scope(raw) in ("application", "method", "service")


@pytest.mark.parametrize(
    "text", ["", "20", "20:", ":1", "0:1", "20:0", "-1:1", "20:1;100:120", "20:1,", "x:y", "20:nan"]
)
def test_windows_that_cannot_be_read_are_absent(text: str) -> None:
    assert read_limits(httpx.Headers({"X-App-Rate-Limit": text})).application is None


def test_rubbish_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            read_limits(httpx.Headers({"X-App-Rate-Limit": "rubbish\x1b[31m" + "x" * 500}))
    (record,) = caplog.records
    assert "X-App-Rate-Limit" in record.getMessage()
    assert "\x1b" not in record.getMessage() and len(record.getMessage()) < 300


@pytest.mark.parametrize(("text", "seconds"), [("2", 2), ("0", 0), ("1.5", 1.5), ("inf", float("inf"))])
def test_retry_after(text: str, seconds: float) -> None:
    assert read_retry_after(httpx.Headers({"Retry-After": text})) == seconds


@pytest.mark.parametrize("text", ["", "-1", "nan", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_retry_after_that_says_nothing_sensible_is_absent(text: str) -> None:
    assert read_retry_after(httpx.Headers({"Retry-After": text})) is None


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("application", "application"),
        (" Method ", "method"),
        ("service", "service"),
        ("", "service"),
        ("new", "service"),
    ],
)
def test_scope(text: str, scope: str) -> None:
    assert read_scope(httpx.Headers({"X-Rate-Limit-Type": text})) == scope
