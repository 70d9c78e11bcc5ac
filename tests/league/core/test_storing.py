"""A match is stored whole and once, again after a correction, and by any number of writers at a time."""

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, delete, select, update

from blocks.engine import session
from tasks.league.core import payloads, statistics
from tasks.league.core.participants import UnreadablePayloadError
from tasks.league.core.storing import (
    rederive_match,
    remove_match,
    remove_matches,
    store_match,
    store_timeline,
)
from tasks.league.core.tables import (
    Fetch,
    FetchKind,
    FetchState,
    Match,
    Participant,
    Payload,
    Summoner,
    Timeline,
    YearlyStats,
)
from tests.league.core.ledgers import NOW, empty_ledger, store, text_of_ledger
from tests.league.core.oracle import statistics_of, stored_statistics
from tests.league.payloads import MIDSUMMER, match_body, participant, puuid, timeline_body

_HOUR = 3_600_000


def _at(hours: int) -> dict[str, Any]:
    return {"gameStartTimestamp": MIDSUMMER + hours * _HOUR}


def test_one_answer_becomes_all_its_rows(league_ledger: str) -> None:
    body = match_body("NA1_1", *(participant(number) for number in range(1, 5)), participant(5, puuid="BOT"))
    stored = store(body)
    assert (stored.created, stored.corrected, stored.participants, stored.year) == (True, False, 5, 2024)
    assert stored.puuids == tuple(puuid(number) for number in range(1, 5))
    assert puuid(1) not in repr(stored)
    with session("league", read_only=True) as opened:
        match = opened.get_one(Match, "NA1_1")
        assert (match.platform, match.regional, match.participant_count) == ("na1", "americas", 5)
        assert match.game_end is not None and match.game_start is not None
        assert match.game_end - match.game_start == timedelta(seconds=match.game_duration)
        assert len(opened.exec(select(Participant)).all()) == 5
        assert len(opened.exec(select(Summoner)).all()) == len(opened.exec(select(YearlyStats)).all()) == 4
        assert payloads.load(opened, "NA1_1", FetchKind.MATCH) == body
        fetch = opened.get_one(Fetch, ("NA1_1", FetchKind.MATCH))
        assert (fetch.state, fetch.failures, fetch.due_at, fetch.tried_at) == (FetchState.STORED, 0, None, NOW)


def test_any_text_and_the_greatest_numbers_that_are_read_can_be_written(league_ledger: str) -> None:
    name = "\x00\N{GRINNING FACE}" + "ß" * 98
    odd = participant(1, riotIdGameName=name, lane="\x00", goldEarned=2**31 - 1, kills=1_000_000, championId=-(2**31))
    for number in (1, 2, 3):
        latest = {"gameStartTimestamp": 4_102_444_799_999, "gameEndTimestamp": None, "gameDuration": 2**31 * 1000}
        store(match_body(f"NA1_{10**14 + number}", odd, **latest))
    with session("league", read_only=True) as opened:
        (player,) = opened.exec(select(Summoner)).all()
        assert player.game_name == name.replace("\x00", "\N{REPLACEMENT CHARACTER}")
        (year,) = opened.exec(select(YearlyStats)).all()
        assert (year.year, year.total_gold_earned, year.total_kills) == (2099, 3 * (2**31 - 1), 3_000_000)
        assert year.most_played_champion == -(2**31)


def test_a_failing_transaction_leaves_nothing(league_ledger: str) -> None:
    empty = text_of_ledger()
    with pytest.raises(RuntimeError, match="pulled"), session("league") as opened:
        store_match(opened, match_body(), now=NOW)
        raise RuntimeError("the plug was pulled")
    with pytest.raises(UnreadablePayloadError), session("league") as opened:
        store_match(opened, match_body("NA1_2"), now=NOW, match_id="NA1_1")
    assert text_of_ledger() == empty


def test_a_corrected_match_replaces_the_former(league_ledger: str) -> None:
    other = match_body("NA1_9", participant(1), participant(2))
    former = match_body("NA1_1", participant(1), participant(2), participant(3))
    later_year = {"gameStartTimestamp": MIDSUMMER + 365 * 24 * _HOUR}
    corrected = match_body("NA1_1", participant(1, kills=90, championId=7), participant(4), **later_year)
    for body in (other, former, corrected):
        stored = store(body)
    assert (stored.created, stored.corrected) == (False, True)
    with session("league", read_only=True) as opened:
        assert stored_statistics(opened) == statistics_of([other, corrected])
        assert payloads.load(opened, "NA1_1", FetchKind.MATCH) == corrected
    once = text_of_ledger()
    assert not store(corrected).corrected
    assert text_of_ledger() == once


def _without_participants(opened: Any) -> None:
    opened.connection().execute(delete(Participant).where(col(Participant.participant_id) == 2))


def _without_match(opened: Any) -> None:
    opened.connection().execute(delete(Participant))
    opened.connection().execute(delete(Match))


def _by_older_rules(opened: Any) -> None:
    opened.connection().execute(update(Match).values(derivation=0, queue_id=0))


def _without_payload(opened: Any) -> None:
    opened.connection().execute(delete(Payload))


def _without_statistics(opened: Any) -> None:
    opened.connection().execute(delete(YearlyStats))


@pytest.mark.parametrize("damage", [_without_participants, _by_older_rules, _without_payload])
def test_storing_again_mends_what_is_not_whole(league_ledger: str, damage: Callable[[Any], None]) -> None:
    store(match_body())
    whole = text_of_ledger()
    with session("league") as opened:
        damage(opened)
    assert text_of_ledger() != whole
    assert store(match_body()).corrected
    assert text_of_ledger() == whole


def test_a_match_whose_rows_were_lost_is_not_counted_twice(league_ledger: str) -> None:
    store(match_body())
    whole = text_of_ledger()
    with session("league") as opened:
        _without_match(opened)
    assert store(match_body()).created
    assert text_of_ledger() == whole


@pytest.mark.parametrize("damage", [_without_participants, _without_match, _by_older_rules, _without_statistics])
def test_rows_are_derived_anew_from_the_payload(league_ledger: str, damage: Callable[[Any], None]) -> None:
    store(match_body())
    whole = text_of_ledger()
    with session("league") as opened:
        damage(opened)
    with session("league") as opened:
        rederive_match(opened, "NA1_1")
    assert text_of_ledger() == whole
    with session("league") as opened:
        assert statistics.differences(opened) == []


def test_without_its_payload_nothing_is_derived(league_ledger: str) -> None:
    with session("league") as opened, pytest.raises(payloads.MissingPayloadError, match="NA1_1"):
        rederive_match(opened, "NA1_1")
    store(match_body())
    with session("league") as opened:
        opened.connection().execute(update(Payload).values(content_sha256="0" * 64))
    with session("league") as opened, pytest.raises(payloads.DamagedPayloadError, match="NA1_1"):
        rederive_match(opened, "NA1_1")


def test_the_newest_name_and_platform_win_in_any_order_of_arrival(league_ledger: str) -> None:
    games = [
        match_body("NA1_1", participant(1, riotIdGameName="Oldest"), **_at(0)),
        match_body("EUW1_2", participant(1, riotIdGameName="Newest"), **_at(2)),
        match_body("KR_3", participant(1, riotIdGameName=None, riotIdTagline=None), **_at(3)),
        match_body("NA1_4", participant(1, riotIdGameName="Same moment"), **_at(2)),
        match_body("NA1_5", participant(1, riotIdGameName="Undated"), gameStartTimestamp=0, gameCreation=0),
    ]
    seen = set()
    for order in itertools.permutations(games):
        if order[0] > order[-1]:
            continue  # half of all orders is plenty
        empty_ledger()
        for body in order:
            store(body)
        with session("league", read_only=True) as opened:
            player = opened.get_one(Summoner, puuid(1))
            seen.add((player.game_name, player.platform, player.named_at, player.seen_at, player.tracked))
    assert {(name, platform) for name, platform, *_ in seen} == {("Same moment", "kr")}
    assert len(seen) == 1


def test_a_timeline_stands_alone_and_is_stored_once(league_ledger: str) -> None:
    def put(body: bytes) -> tuple[bool, bool]:
        with session("league") as opened:
            stored = store_timeline(opened, body, "NA1_1", now=NOW)
        return stored.created, stored.corrected

    assert put(timeline_body()) == (True, False)
    once = text_of_ledger()
    assert put(timeline_body()) == (False, False)
    assert text_of_ledger() == once
    assert put(timeline_body(frames=7)) == (False, True)
    with session("league", read_only=True) as opened:
        assert opened.get_one(Timeline, "NA1_1").frame_count == 7
        assert payloads.load(opened, "NA1_1", FetchKind.TIMELINE) == timeline_body(frames=7)
        assert opened.get_one(Fetch, ("NA1_1", FetchKind.TIMELINE)).state is FetchState.STORED


def test_a_removed_match_is_gone_with_all_it_added_and_comes_back_when_stored(league_ledger: str) -> None:
    store(match_body("NA1_9", participant(1)))
    without = text_of_ledger()
    store(match_body("NA1_1", participant(1), participant(2)))
    with session("league") as opened:
        store_timeline(opened, timeline_body("NA1_1"), "NA1_1", now=NOW)
    whole = text_of_ledger()
    with session("league") as opened:
        assert remove_match(opened, "NA1_1")
        assert not remove_match(opened, "NA1_1")
    with session("league", read_only=True) as opened:
        for kind in FetchKind:
            assert opened.get_one(Fetch, ("NA1_1", kind)).state is FetchState.REMOVED
            assert opened.get(Payload, ("NA1_1", kind)) is None
        assert opened.get(Match, "NA1_1") is None
        assert opened.get(Timeline, "NA1_1") is None
    left = [line for line in text_of_ledger().splitlines() if "league_fetch" not in line and puuid(2) not in line]
    assert left == [line for line in without.splitlines() if "league_fetch" not in line]
    store(match_body("NA1_1", participant(1), participant(2)))
    with session("league") as opened:
        store_timeline(opened, timeline_body("NA1_1"), "NA1_1", now=NOW)
    assert text_of_ledger() == whole


@pytest.mark.parametrize("first_commits", [True, False])
def test_of_two_who_store_one_match_at_once_one_counts_it(league_ledger: str, first_commits: bool) -> None:
    body = match_body()
    written, go_on = threading.Event(), threading.Event()

    def first() -> bool | None:
        try:
            with session("league") as opened:
                created = store_match(opened, body, now=NOW).created
                written.set()
                assert go_on.wait(60)
                if not first_commits:
                    raise InterruptedError
                return created
        except InterruptedError:
            return None

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(first)
        assert written.wait(60)
        two = pool.submit(store, body)
        go_on.set()
        assert one.result(60) is (True if first_commits else None)
        assert two.result(60).created is not first_commits
    with session("league", read_only=True) as opened:
        assert stored_statistics(opened) == statistics_of([body])


def test_writers_whose_matches_share_players_end_right_and_without_deadlock(league_ledger: str) -> None:
    players = [participant(number) for number in range(1, 11)]
    bodies = [
        match_body(f"NA1_{number}", *(players if number % 2 else reversed(players)), queueId=number % 3)
        for number in range(1, 25)
    ]
    with session("league") as opened:
        store_match(opened, match_body("NA1_100", *players), now=NOW)
    together = threading.Barrier(4)

    def write(part: list[bytes]) -> None:
        together.wait(60)
        for body in part:
            store(body)

    def remove() -> None:
        together.wait(60)
        with session("league") as opened:
            remove_matches(opened, ["NA1_100"])

    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(write, bodies[start::2]) for start in (0, 1)]
        # Some matches by two writers.
        tasks += [pool.submit(write, bodies[::3]), pool.submit(remove)]
        for task in tasks:
            task.result(120)
    with session("league") as opened:
        assert stored_statistics(opened) == statistics_of(bodies)
        assert statistics.differences(opened) == []
