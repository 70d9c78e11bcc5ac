"""What the former system did wrong with what it stored; each of its faults is one test."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import select

from blocks.engine import session
from tasks.league.core import fetches, players, statistics
from tasks.league.core.storing import remove_match, store_match
from tasks.league.core.tables import FetchKind, FetchState, Match, Participant, Summoner, YearlyBreakdown, YearlyStats
from tests.league.core.ledgers import NOW, store, text_of_ledger
from tests.league.payloads import MIDSUMMER, REAL, match_body, needs_real, participant, puuid


def _year(opened_puuid: str, year: int = 2024) -> YearlyStats | None:
    with session("league", read_only=True) as opened:
        return opened.get(YearlyStats, (opened_puuid, year, "na1"))


def test_fault_1_the_game_creation_is_stored_and_a_recompute_keeps_the_sums(league_ledger: str) -> None:
    store(match_body())
    with session("league", read_only=True) as opened:
        created = opened.get_one(Match, "NA1_1").game_creation
    assert created == datetime(2024, 6, 15, 11, 59, 30, tzinfo=UTC)
    before = _year(puuid(1))
    assert before is not None and before.total_matches == 1
    with session("league") as opened:
        statistics.recompute(opened, puuid=puuid(1), year=2024)
    assert _year(puuid(1)) == before


def test_fault_2_a_match_is_stored_whole_or_not_at_all(league_ledger: str) -> None:
    empty = text_of_ledger()
    with pytest.raises(ConnectionError), session("league") as opened:
        store_match(opened, match_body(), now=NOW)
        raise ConnectionError("lost in the middle")
    assert text_of_ledger() == empty


def test_fault_3_a_second_run_counts_nothing_twice(league_ledger: str) -> None:
    store(match_body())
    once = text_of_ledger()
    for _ in range(3):
        assert not store(match_body()).created
    assert text_of_ledger() == once


def test_fault_4_a_match_counts_in_its_own_year_for_all_who_played(league_ledger: str) -> None:
    store(match_body("NA1_1", gameStartTimestamp=MIDSUMMER - 365 * 24 * 3_600_000))
    store(match_body("NA1_2"))
    with session("league", read_only=True) as opened:
        counted = {(row.puuid, row.year): row.total_matches for row in opened.exec(select(YearlyStats))}
    assert counted == {(puuid(number), year): 1 for number in range(1, 11) for year in (2023, 2024)}


def test_fault_8_equal_names_with_different_taglines_are_two_players(league_ledger: str) -> None:
    long_name, long_tag = "Ein sehr langer Beschwörername mit 40 Zei", "TAG-9"
    store(
        match_body(
            "NA1_1",
            participant(1, riotIdGameName="Foo", riotIdTagline="A"),
            participant(2, riotIdGameName="Foo", riotIdTagline="B"),
            participant(3, riotIdGameName=long_name, riotIdTagline=long_tag),
        )
    )
    with session("league", read_only=True) as opened:
        found = [
            players.find_player(opened, name, tag) for name, tag in (("Foo", "A"), ("Foo", "B"), (long_name, long_tag))
        ]
    assert [player.puuid for player in found if player] == [puuid(1), puuid(2), puuid(3)]


@needs_real
def test_fault_9_a_game_with_five_bots_is_stored(league_ledger: str) -> None:
    body = (REAL / "match/JP1_391732436.json").read_bytes()
    assert [row["puuid"] for row in json.loads(body)["info"]["participants"]].count("BOT") == 5
    assert store(body).participants == 10


def test_fault_9_bots_share_one_puuid_and_have_no_statistics(league_ledger: str) -> None:
    store(match_body("NA1_1", participant(1), *(participant(number, puuid="BOT") for number in range(2, 11))))
    with session("league", read_only=True) as opened:
        assert len(opened.exec(select(Participant)).all()) == 10
        assert opened.exec(select(Summoner.puuid)).all() == [puuid(1)]
        assert opened.exec(select(YearlyStats.puuid)).all() == [puuid(1)]


def test_fault_10_what_riot_does_not_have_is_asked_for_ever_later(league_ledger: str) -> None:
    now, waits = NOW, []
    for _ in range(12):
        with session("league") as opened:
            fetches.mark_missing(
                opened,
                "NA1_1",
                FetchKind.MATCH,
                now=now,
                base_seconds=3600,
                cap_seconds=30 * 86_400,
                uniform=lambda _low, high: high,
            )
            assert fetches.due(opened, now) == []
            due = now + timedelta(days=31)
            (fetch,) = fetches.due(opened, due)
            assert fetch.due_at is not None
            waits.append((fetch.due_at - now).total_seconds() / 3600)
            now = fetch.due_at
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 720, 720]


def test_fault_11_what_is_counted_is_exact_and_creation_is_told(league_ledger: str) -> None:
    games = [(1, "SOLO", "TOP"), (2, "DUO", "BOTTOM"), (1, "SOLO", "TOP"), (3, "SUPPORT", "BOTTOM")]
    for number, (champion, role, lane) in enumerate(games, 1):
        body = match_body(f"NA1_{number}", participant(1, championId=champion, role=role, lane=lane))
        assert store(body).created
        assert not store(body).created
    year = _year(puuid(1))
    assert year is not None
    assert (year.unique_champions, year.unique_roles, year.unique_lanes) == (3, 3, 2)
    assert (year.most_played_champion, year.most_played_champion_count) == (1, 2)
    with session("league", read_only=True) as opened:
        games_by = {(row.dimension, row.value): row.games for row in opened.exec(select(YearlyBreakdown))}
    assert games_by == {
        ("CHAMPION", "1"): 2,
        ("CHAMPION", "2"): 1,
        ("CHAMPION", "3"): 1,
        ("ROLE", "SOLO"): 2,
        ("ROLE", "DUO"): 1,
        ("ROLE", "SUPPORT"): 1,
        ("LANE", "TOP"): 2,
        ("LANE", "BOTTOM"): 2,
        ("QUEUE", "420"): 4,
    }


def test_fault_12_removing_a_match_takes_it_out_of_the_statistics_and_it_is_not_fetched_again(
    league_ledger: str,
) -> None:
    for number in (1, 2):
        store(match_body(f"NA1_{number}", participant(1)))
    with session("league") as opened:
        fetches.record_listing(opened, puuid(1), None, ["NA1_1", "NA1_2"], listed_at=NOW)
        remove_match(opened, "NA1_1")
    year = _year(puuid(1))
    assert year is not None and year.total_matches == 1
    with session("league") as opened:
        fetches.record_listing(opened, puuid(1), None, ["NA1_1", "NA1_2"], listed_at=NOW)
        left = fetches.pending(opened, puuid=puuid(1), now=NOW + timedelta(days=99))
        assert [(fetch.match_id, fetch.kind) for fetch in left] == [("NA1_2", FetchKind.TIMELINE)]
        remove_match(opened, "NA1_2")
        assert fetches.counts(opened, puuid(1))[FetchKind.MATCH][FetchState.REMOVED] == 2
    assert _year(puuid(1)) is None
