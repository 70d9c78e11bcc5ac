"""Whatever lies where, a walk through pages finds each row, and no millisecond in part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.traders.core.paging import Ask, Page, turn

CAP = 5


def exchange(rows: list[tuple[int, int]], asked: Ask, *, newest_first: bool, cap: int = CAP) -> list[tuple[int, int]]:
    """Rows (time, number) as an exchange gives them: both ends included, cut at the end that its order shows."""
    found = sorted(row for row in rows if asked.start <= row[0] <= (row[0] if asked.end is None else asked.end))
    return found[::-1][:cap] if newest_first else found[:cap]


def walk(rows: list[tuple[int, int]], *, newest_first: bool, start: int = 0) -> list[Page[tuple[int, int]]]:
    asked: Ask | None = Ask(start)
    pages = []
    while asked is not None:
        page = turn(asked, exchange(rows, asked, newest_first=newest_first), time=lambda row: row[0], cut=CAP)
        pages.append(page)
        asked = page.then
        assert len(pages) <= 3 * len(rows) + 2
    return pages


#: How many rows each of the next milliseconds has: fewer than a page holds.
crowds = st.lists(st.integers(0, CAP - 1), max_size=25)


@given(crowds, st.booleans())
def test_every_row_is_found_once_and_milliseconds_are_whole(counts: list[int], newest_first: bool) -> None:
    rows = [(time, number) for time, count in enumerate(counts) for number in range(count)]
    pages = walk(rows, newest_first=newest_first)
    assert sorted(row for page in pages for row in page.rows) == rows
    assert not any(page.lost for page in pages)
    for page in pages:
        for time in {row[0] for row in page.rows}:
            assert sum(row[0] == time for row in page.rows) == counts[time]


@given(crowds, st.booleans(), st.integers(0, 10))
def test_a_walk_from_later_on_finds_what_is_later(counts: list[int], newest_first: bool, start: int) -> None:
    rows = [(time, number) for time, count in enumerate(counts) for number in range(count)]
    found = [row for page in walk(rows, newest_first=newest_first, start=start) for row in page.rows]
    assert sorted(found) == [row for row in rows if row[0] >= start]


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_millisecond_that_fills_a_page_is_said_and_the_rest_is_found(newest_first: bool) -> None:
    rows = [(1, 0), *[(2, number) for number in range(CAP + 2)], (3, 0), (4, 0)]
    pages = walk(rows, newest_first=newest_first)
    found = {row for page in pages for row in page.rows}
    assert [page.lost for page in pages].count(True) == 1
    assert {(1, 0), (3, 0), (4, 0)} <= found
    assert sum(row[0] == 2 for row in found) == CAP


def test_an_exchange_that_ignores_what_was_asked_leads_nobody_in_circles() -> None:
    always = [(time, 0) for time in range(CAP)]
    asked: Ask | None = Ask(0)
    turns = 0
    while asked is not None:
        asked = turn(asked, always, time=lambda row: row[0], cut=CAP).then
        turns += 1
        assert turns < 10


def test_rows_that_were_not_asked_for_are_left_out() -> None:
    page = turn(Ask(5, 6), [(4, 0), (5, 0), (6, 0), (7, 0)], time=lambda row: row[0], cut=10)
    assert page == Page([(5, 0), (6, 0)])


def test_an_end_at_the_beginning_of_time_is_an_end() -> None:
    assert turn(Ask(0, 0), [(0, 0), (1, 0)], time=lambda row: row[0], cut=10).rows == [(0, 0)]
