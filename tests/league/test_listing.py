"""Paging, spans of time and years: what is asked of a server that may shift its pages or ignore the time asked for."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.engine import session
from tasks.league.core.listing import (
    FIRST_YEAR,
    PAGE_SIZE,
    Pages,
    Span,
    YearPart,
    check_year,
    last_listed,
    part_of_year,
    span_to_list,
)
from tasks.league.core.tables import DOMAIN, Summoner, Watermark

DAY = timedelta(days=1)


def listing_of(games: Sequence[str], pages: Pages, known: set[str], *, ended_meanwhile: Sequence[str] = ()) -> int:
    """Page through a server's games, newest first; one of the later ones ends after each page. Gives the requests."""
    games, coming, requests, more = list(games), list(ended_meanwhile), 0, True
    while more:
        page = games[pages.start : pages.start + PAGE_SIZE]
        _, more = pages.take(page, known & set(page))
        requests += 1
        if coming:
            games.insert(0, coming.pop())
    return requests


@given(st.integers(0, 730))
def test_every_game_is_listed_once_and_a_full_last_page_needs_one_more(number: int) -> None:
    games = [f"NA1_{index}" for index in range(number, 0, -1)]
    pages = Pages()
    assert listing_of(games, pages, set()) == number // PAGE_SIZE + 1
    assert pages.ids == games


@given(st.integers(1, 730), st.integers(0, 9))
def test_games_that_end_meanwhile_shift_pages_and_neither_lose_nor_double_an_id(number: int, ended: int) -> None:
    games = [f"NA1_{index}" for index in range(number, 0, -1)]
    pages = Pages()
    listing_of(games, pages, set(), ended_meanwhile=[f"NA1_{number + 1 + index}" for index in range(ended)])
    assert pages.ids == games


@given(st.integers(0, 730), st.integers(0, 320))
def test_an_incremental_listing_ends_with_the_first_page_that_is_all_known(old: int, new: int) -> None:
    games = [f"NA1_{index}" for index in range(old + new, 0, -1)]
    pages = Pages(incremental=True)
    requests = listing_of(games, pages, set(games[new:]))
    assert set(games[:new]) <= set(pages.ids)
    assert requests == min(-(-new // PAGE_SIZE) + 1, (old + new) // PAGE_SIZE + 1)


def test_known_ids_end_no_listing_that_was_never_complete() -> None:
    games = [f"NA1_{index}" for index in range(250, 0, -1)]
    pages = Pages()
    assert listing_of(games, pages, set(games)) == 3
    assert pages.ids == games


def test_a_server_that_ignores_start_is_not_asked_for_ever() -> None:
    page = [f"NA1_{index}" for index in range(PAGE_SIZE, 0, -1)]
    pages = Pages()
    assert pages.take(page) == (page, True)
    assert pages.take(page) == ([], False)
    assert pages.ids == page


def test_spans_are_epoch_seconds_of_the_utc_year() -> None:
    assert span_to_list(2024, None, overlap=DAY) == Span(1704067200, 1735689600)
    assert span_to_list(None, None, overlap=DAY) == Span()


def test_a_second_listing_asks_from_the_watermark_on_with_some_overlap() -> None:
    listed_at = datetime(2024, 6, 2, 12, tzinfo=UTC)
    assert span_to_list(None, listed_at, overlap=DAY) == Span(start_time=1717243200)
    assert span_to_list(2024, listed_at, overlap=DAY) == Span(1717243200, 1735689600)
    # Listed before the year began: all of it is new.
    assert span_to_list(2025, listed_at, overlap=DAY) == span_to_list(2025, None, overlap=DAY)


def test_a_year_that_was_over_when_it_was_listed_is_listed_no_more() -> None:
    end = datetime(2025, 1, 1, tzinfo=UTC)
    assert span_to_list(2024, end + DAY, overlap=DAY) is None
    assert span_to_list(2024, end + DAY - timedelta(seconds=1), overlap=DAY) == Span(1735689599, 1735689600)


@pytest.mark.parametrize("year", [0, 24, FIRST_YEAR - 1, 9999, -2024])
def test_what_is_no_year_of_league_is_refused(year: int) -> None:
    with pytest.raises(ValueError, match="no year of League"):
        check_year(year)


def ask(page: Sequence[str], year: int, years: dict[str, int | None]) -> tuple[YearPart, list[str]]:
    """Answer the questions from `years`; gives the part and what was asked."""
    questions = part_of_year(page, year)
    asked: list[str] = []
    answer: int | None = None
    while True:
        try:
            wanted = questions.send(answer) if asked else next(questions)
        except StopIteration as done:
            assert isinstance(done.value, YearPart)
            return done.value, asked
        asked.append(wanted)
        answer = years[wanted]


@st.composite
def pages_of_games(draw: st.DrawFn) -> dict[str, int]:
    years = sorted(draw(st.lists(st.integers(2021, 2026), max_size=PAGE_SIZE)), reverse=True)
    return {f"NA1_{PAGE_SIZE - index}": year for index, year in enumerate(years)}


@given(pages_of_games(), st.integers(2021, 2026))
def test_the_part_of_a_year_is_found_with_few_questions(games: dict[str, int], year: int) -> None:
    part, asked = ask(list(games), year, dict(games))
    assert part.ids == tuple(match_id for match_id, of in games.items() if of == year)
    assert part.past == any(of < year for of in games.values())
    assert len(asked) == len(set(asked)) <= 16


@given(pages_of_games(), st.integers(2021, 2026), st.data())
def test_no_game_of_the_year_is_left_out_where_some_cannot_be_told(
    games: dict[str, int], year: int, data: st.DataObject
) -> None:
    hidden = data.draw(st.sets(st.sampled_from(list(games)))) if games else set()
    part, asked = ask(list(games), year, {key: None if key in hidden else of for key, of in games.items()})
    assert {key for key, of in games.items() if of == year} <= set(part.ids)
    assert all(games[key] == year for key in part.ids if key not in hidden)
    assert len(asked) == len(set(asked))


def test_a_server_that_filters_is_asked_nothing_that_is_not_wanted() -> None:
    games = {f"NA1_{index}": 2024 for index in range(PAGE_SIZE, 0, -1)}
    assert ask(list(games), 2024, dict(games))[1] == ["NA1_1", "NA1_100"]


def test_a_page_that_is_all_newer_costs_one_question() -> None:
    games = {f"NA1_{index}": 2025 for index in range(PAGE_SIZE, 0, -1)}
    part, asked = ask(list(games), 2024, dict(games))
    assert (part, asked) == (YearPart((), past=False), ["NA1_1"])


def test_a_listing_of_all_games_is_one_of_each_year_but_not_the_other_way(league_ledger: str) -> None:
    first, second = datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)
    with session(DOMAIN) as opened:
        opened.add_all([Summoner(puuid="p", platform="na1"), Summoner(puuid="q", platform="na1")])
        opened.flush()
        opened.add(Watermark(puuid="p", year=2024, listed_at=first))
        opened.flush()
        assert last_listed(opened, "p", None) is None
        assert last_listed(opened, "p", 2024) == first
        opened.add(Watermark(puuid="p", year=0, listed_at=second))
        opened.flush()
        assert last_listed(opened, "p", None) == second
        assert last_listed(opened, "p", 2024) == second
        assert last_listed(opened, "p", 2023) == second
        assert last_listed(opened, "q", None) is None
