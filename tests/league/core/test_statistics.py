"""Statistics are what the stored matches add up to, whatever was done in which order."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text, update
from sqlmodel import col, delete, select

from blocks.engine import session
from tasks.league.core import statistics
from tasks.league.core.storing import rederive_match, remove_match, remove_matches
from tasks.league.core.tables import Participant, Summoner, YearlyBreakdown, YearlyStats
from tests.league.core.ledgers import empty_ledger, store
from tests.league.core.oracle import statistics_of, stored_statistics
from tests.league.payloads import MIDSUMMER, match_body, participant, puuid

_A_YEAR = 365 * 24 * 3600 * 1000
_IDS = ("NA1_1", "NA1_2", "NA1_30", "EUW1_1", "EUW1_4")

_small = st.integers(0, 3)
_players = st.builds(
    lambda number, bot, champion, win, kills, deaths, assists, role, lane: participant(
        number,
        puuid="BOT" if bot else puuid(number),
        championId=champion,
        win=win,
        kills=kills,
        deaths=deaths,
        assists=assists,
        role=role,
        lane=lane,
    ),
    st.integers(1, 3),
    st.sampled_from([False, False, False, True]),
    st.sampled_from([1, 2, 11]),
    st.booleans(),
    _small,
    _small,
    _small,
    st.sampled_from(["SOLO", "DUO", "", None]),
    st.sampled_from(["TOP", "NONE", "", None]),
)
_starts = st.sampled_from([MIDSUMMER, MIDSUMMER + _A_YEAR, 0])
_bodies = st.builds(
    lambda match_id, players, start, queue: match_body(
        match_id, *players, gameStartTimestamp=start, gameCreation=0, queueId=queue, participants=players
    ),
    st.sampled_from(_IDS),
    st.lists(_players, max_size=4, unique_by=lambda player: (player["puuid"], player["participantId"])),
    _starts,
    st.sampled_from([0, 420]),
)
_steps = st.lists(
    st.tuples(st.just("store"), _bodies) | st.tuples(st.sampled_from(["remove", "rederive"]), st.sampled_from(_IDS)),
    min_size=4,
    max_size=12,
)


def _match_id(body: bytes) -> str:
    return next(match_id for match_id in _IDS if f'"{match_id}"'.encode() in body)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_steps)
def test_any_order_of_storing_and_removing_ends_in_the_sums_of_what_is_stored(
    league_ledger: str, steps: list[tuple[str, Any]]
) -> None:
    empty_ledger()
    stored: dict[str, bytes] = {}
    for step, given_to_it in steps:
        if step == "store":
            match_id = _match_id(given_to_it)
            result = store(given_to_it)
            assert result.created == (match_id not in stored)
            assert result.corrected == (stored.get(match_id, given_to_it) != given_to_it)
            stored[match_id] = given_to_it
        elif step == "remove":
            with session("league") as opened:
                assert remove_match(opened, given_to_it) == (given_to_it in stored)
            stored.pop(given_to_it, None)
        elif given_to_it in stored:
            with session("league") as opened:
                rederive_match(opened, given_to_it)
    with session("league") as opened:
        now = stored_statistics(opened)
        assert now == statistics_of(stored.values())
        assert statistics.differences(opened) == []
        statistics.recompute(opened)
        assert stored_statistics(opened) == now


def test_of_champions_played_equally_often_the_smallest_id_is_the_most_played(league_ledger: str) -> None:
    for number, champion in enumerate((11, 2, 9, 11, 2), 1):
        store(match_body(f"NA1_{number}", participant(1, championId=champion)))
    with session("league") as opened:
        (year,) = opened.exec(select(YearlyStats)).all()
        assert (year.most_played_champion, year.most_played_champion_count, year.unique_champions) == (2, 2, 3)
        assert statistics.differences(opened) == []


def test_a_wrong_row_is_found_and_put_right(league_ledger: str) -> None:
    for number in (1, 2):
        store(match_body(f"NA1_{number}", participant(1), participant(2)))
    with session("league") as opened:
        right = stored_statistics(opened)
        one, two = puuid(1), puuid(2)
        opened.connection().execute(update(YearlyStats).where(col(YearlyStats.puuid) == one).values(wins=7))
        opened.connection().execute(delete(YearlyStats).where(col(YearlyStats.puuid) == two))
        opened.connection().execute(
            update(YearlyBreakdown).where(col(YearlyBreakdown.value) == "TOP").values(value="JUNGLE")
        )
        wrong = stored_statistics(opened)
        found = statistics.differences(opened, puuid=one)
        assert [(row.column, row.stored, row.expected) for row in found if row.table == "league_yearly_stats"] == [
            ("wins", 7, 2)
        ]
        assert {(row.key[4], row.column) for row in found if row.table == "league_yearly_breakdown"} == {
            ("TOP", "*"),
            ("JUNGLE", "*"),
        }
        missing = statistics.differences(opened, puuid=[two], year=2024, platform="na1")
        assert ("league_yearly_stats", (two, 2024, "na1"), "*", None) in [
            (row.table, row.key, row.column, row.stored) for row in missing
        ]
        assert [row.total_matches for row in statistics.expected(opened)] == [2, 2]
        assert stored_statistics(opened) == wrong
        statistics.recompute(opened, puuid=one)
        statistics.recompute(opened, puuid=two, year=2023)
        assert statistics.differences(opened, puuid=one) == []
        assert statistics.differences(opened, puuid=two) != []
        statistics.recompute(opened, year=2024, platform="na1")
        assert stored_statistics(opened) == right


def test_more_players_than_a_statement_takes_are_recomputed(league_ledger: str) -> None:
    store(match_body("NA1_1"))
    with session("league") as opened:
        right = stored_statistics(opened)
        opened.connection().execute(update(YearlyStats).values(wins=99))
        everybody = [*opened.exec(select(Summoner.puuid)).all(), *(f"nobody-{number}" for number in range(9_000))]
        assert len(statistics.differences(opened, puuid=everybody)) == 10
        statistics.recompute(opened, puuid=everybody)
        assert stored_statistics(opened) == right


def test_years_and_platforms_without_games_left_have_no_rows(league_ledger: str) -> None:
    store(match_body("NA1_1", participant(1)))
    store(match_body("EUW1_1", participant(1)))
    with session("league") as opened:
        assert remove_matches(opened, ["NA1_1", "EUW1_1", "KR_1"]) == 2
        assert stored_statistics(opened) == ({}, {})
        assert opened.exec(select(Participant)).all() == []
        assert opened.exec(select(Summoner.puuid)).all() == [puuid(1)]


def test_a_match_takes_as_many_statements_however_many_are_stored(league_ledger: str) -> None:
    from sqlalchemy import event

    from blocks.engine import engine

    statements: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    event.listen(engine("league"), "before_cursor_execute", count)
    try:
        taken = []
        for number in range(1, 13):
            before = len(statements)
            store(match_body(f"NA1_{number}", *(participant(player) for player in range(1, number + 1))))
            taken.append(len(statements) - before)
    finally:
        event.remove(engine("league"), "before_cursor_execute", count)
    assert len(set(taken)) == 1
    assert taken[0] <= 10


@pytest.mark.parametrize("league_ledger", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
def test_postgres_keeps_no_plan_from_when_the_tables_were_empty(league_ledger: str) -> None:
    for number in range(1, 15):
        store(match_body(f"NA1_{number}", participant(1)))
    with session("league") as opened:
        plans = opened.connection().execute(
            text("SELECT max(custom_plans), max(generic_plans) FROM pg_prepared_statements")
        )
        custom, generic = plans.one()
    assert custom > 5
    assert generic == 0
