"""Single matches and batches: every outcome is a row, one bad item holds no other up, and errors are raised."""

import asyncio
import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import select

from blocks.engine import LedgerError, engine, session, sqlite_path
from blocks.riot.errors import RiotAnswerError, RiotNotFoundError, RiotRequestError, RiotUnavailableError
from deployments.sandbox.riot.server import RunningSandbox
from tasks.league.api import riot_client
from tasks.league.batches import OUTAGE, BatchResult, Item, Outcome, fetch_items
from tasks.league.core.participants import UnreadablePayloadError
from tasks.league.core.tables import DOMAIN, Fetch, FetchKind, FetchState, Match, Participant, Payload, Timeline
from tasks.league.matches import MatchSync, sync_match_data_atomic, sync_matches
from tasks.league.timelines import sync_match_timeline_atomic
from tests.league.conftest import riot
from tests.league.killing import rows

MATCH = "match-v5.getMatch"


def sync_one(match_id: str, **options: Any) -> MatchSync:
    return asyncio.run(sync_match_data_atomic.fn(match_id, **options))


def ids_of(sandbox: RunningSandbox, state: str = "here") -> list[str]:
    """The main player's matches that are there (or missing), match and timeline alike."""
    games = sandbox.app.truth()["player"]["matches"]
    return [game["match_id"] for game in games if game["match"] == state and game["timeline"] == "here"]


def fetch_of(match_id: str, kind: FetchKind = FetchKind.MATCH) -> Fetch:
    with session(DOMAIN, read_only=True) as opened:
        return opened.get_one(Fetch, (match_id, kind))


def stored() -> set[str]:
    with session(DOMAIN, read_only=True) as opened:
        return set(opened.exec(select(Match.match_id)).all())


def answer_instead(sandbox: RunningSandbox, patch: pytest.MonkeyPatch, match_id: str, other: str) -> None:
    """Let the API answer for one match what it answers for another."""
    answered = sandbox.app._answers.of

    def of(method: str, call: Any) -> Any:
        if match_id in call.parts.values():
            call.parts.update({key: other for key, value in call.parts.items() if value == match_id})
        return answered(method, call)

    patch.setattr(sandbox.app._answers, "of", of)


def test_a_match_is_stored_with_all_it_says_and_asked_for_once(league_databases: str) -> None:
    with riot() as sandbox:
        match_id, puuid = ids_of(sandbox)[0], sandbox.player["puuid"]
        first = sync_one(match_id, puuid=puuid)
        before = rows()
        second = sync_one(match_id, puuid=puuid)
        requests = sandbox.app.truth()["totals"]["requests"]
    assert (first.match_id, first.platform, first.created, first.took_part) == (match_id, "na1", True, True)
    assert second == first.model_copy(update={"created": False})
    assert requests == 1
    assert rows() == before
    with session(DOMAIN, read_only=True) as opened:
        assert len(opened.exec(select(Participant)).all()) == first.participants_count
        assert opened.exec(select(Payload.kind)).all() == [FetchKind.MATCH]
    assert fetch_of(match_id).state is FetchState.STORED


def test_somebody_else_did_not_take_part(league_files: Path) -> None:
    with riot() as sandbox:
        match_id, idle = ids_of(sandbox)[0], sandbox.accounts["idle"]["puuid"]
        assert sync_one(match_id, puuid=idle).took_part is False
        assert sync_one(match_id, puuid="BOT").took_part is False
        assert sync_one(match_id).took_part is None


def test_the_ids_own_routes_are_asked_and_its_own_year_counts(league_files: Path, caplog: Any) -> None:
    with riot() as sandbox, caplog.at_level(logging.INFO, "quintet"):
        result = sync_one(ids_of(sandbox)[0], platform="KR", routing="asia", year=2011)
        assert set(sandbox.app.truth()["routes"]) == {"americas"}
    assert result.year and result.year > 2011
    assert "said=kr" in caplog.text and "regional=americas said=asia" in caplog.text and "asked=2011" in caplog.text


def test_a_match_that_riot_does_not_have_is_an_error_and_a_tombstone(league_databases: str) -> None:
    with riot(missing_match_rate=0.2) as sandbox:
        gone = ids_of(sandbox, "missing")[0]
        for tries in (1, 2):
            with pytest.raises(RiotNotFoundError):
                sync_one(gone)
            fetch = fetch_of(gone)
            assert (fetch.state, fetch.failures) == (FetchState.MISSING, tries)
            assert fetch.due_at is not None and fetch.tried_at is not None and fetch.due_at > fetch.tried_at
    assert stored() == set()


@pytest.mark.parametrize("wrong", ["", "NA1", "NA9_1", "na1_1", "NA1_1/../x"])
def test_what_is_no_match_id_is_told_without_a_request(league_files: Path, wrong: str) -> None:
    with riot() as sandbox:
        with pytest.raises(RiotRequestError):
            sync_one(wrong)
        assert sandbox.app.truth()["totals"]["requests"] == 0


def test_an_answer_for_another_match_is_an_error_with_its_reason(
    league_databases: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with riot() as sandbox:
        wanted, other = ids_of(sandbox)[:2]
        answer_instead(sandbox, monkeypatch, wanted, other)
        with pytest.raises((UnreadablePayloadError, RiotAnswerError)):
            sync_one(wanted)
    fetch = fetch_of(wanted)
    assert fetch.state is FetchState.FAILED and fetch.reason
    assert stored() == set()


def test_a_batch_goes_on_whatever_single_items_come_to(league_databases: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_LEAGUE__REQUESTS_AT_ONCE", "3")
    with riot(missing_match_rate=0.2) as sandbox:
        good, gone = ids_of(sandbox), ids_of(sandbox, "missing")
        bad, unknown = good.pop(), "XX9_17"
        answer_instead(sandbox, monkeypatch, bad, good[0])
        items: list[Item] = [(match_id, kind) for match_id in (bad, unknown, *gone, *good) for kind in FetchKind]
        result = asyncio.run(sync_matches.fn(items))
    assert stored() == set(good)
    assert (result.matches_stored, result.missing, result.failed) == (len(good), len(gone), 4)
    # The timeline of a match that is not there is.
    assert result.timelines_stored == len(good) + len(gone)
    assert {(failure.match_id, failure.kind) for failure in result.failures} == {
        (match_id, kind) for match_id in (bad, unknown) for kind in FetchKind
    }
    assert "XX9" in next(failure.reason for failure in result.failures if failure.match_id == unknown)
    for failure in result.failures:
        fetch = fetch_of(failure.match_id, failure.kind)
        assert (fetch.state, fetch.reason) == (FetchState.FAILED, failure.reason)


def test_items_without_an_answer_fail_where_others_got_one_and_else_the_run_does(
    league_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUINTET_LEAGUE__PATIENCE_SECONDS", "0.01")
    with riot() as sandbox:
        good = ids_of(sandbox)
        silent = good.pop()
        answered = sandbox.app._faults.draw
        call_of = sandbox.app._limited

        def limited(method: str, call: Any, record: Any) -> Any:
            failing = silent in call.parts.values()
            sandbox.app.set({"error_rate": 1.0 if failing else 0.0})
            return call_of(method, call, record)

        monkeypatch.setattr(sandbox.app, "_limited", limited)
        assert answered is not None
        with pytest.raises(RiotUnavailableError):
            asyncio.run(sync_matches.fn([(silent, FetchKind.MATCH)]))
        with session(DOMAIN, read_only=True) as opened:
            assert opened.exec(select(Fetch)).all() == []
        result = asyncio.run(sync_matches.fn([(silent, FetchKind.MATCH), *((each, FetchKind.MATCH) for each in good)]))
    assert (result.failed, result.matches_stored) == (1, len(good))
    assert fetch_of(silent).state is FetchState.FAILED


def test_an_api_that_is_away_is_no_fault_of_the_match_asked_for(
    league_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUINTET_LEAGUE__PATIENCE_SECONDS", "0.01")
    with riot(matches=20, error_rate=1.0) as sandbox:
        match_id = ids_of(sandbox)[0]
        for one in (sync_match_data_atomic, sync_match_timeline_atomic):
            with pytest.raises(RiotUnavailableError):
                asyncio.run(one.fn(match_id))
    with session(DOMAIN, read_only=True) as opened:
        assert opened.exec(select(Fetch)).all() == []


def test_an_api_that_goes_away_half_way_is_noticed_before_all_items_were_tried(
    league_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUINTET_LEAGUE__PATIENCE_SECONDS", "0.01")
    monkeypatch.setenv("QUINTET_LEAGUE__REQUESTS_AT_ONCE", "1")
    with riot(matches=60, missing_match_rate=0) as sandbox:
        answered = sandbox.app._answers.of

        def once(method: str, call: Any) -> Any:
            sandbox.app.set({"error_rate": 1.0})
            return answered(method, call)

        monkeypatch.setattr(sandbox.app._answers, "of", once)
        items: list[Item] = [(match_id, FetchKind.MATCH) for match_id in ids_of(sandbox)]
        with pytest.raises(RiotUnavailableError):
            asyncio.run(sync_matches.fn(items))
    assert len(stored()) == 1
    assert len(items) > OUTAGE
    with session(DOMAIN, read_only=True) as opened:
        assert {row.state for row in opened.exec(select(Fetch)).all()} == {FetchState.STORED}


def test_every_item_is_reported_when_the_ledger_has_it(league_files: Path) -> None:
    reported: list[Outcome] = []

    async def report(outcome: Outcome) -> None:
        assert fetch_of(outcome.match_id, outcome.kind).state is outcome.state
        reported.append(outcome)

    async def run(items: list[Item]) -> BatchResult:
        async with riot_client() as client:
            return await fetch_items(client, items, report)

    with riot(missing_match_rate=0.2) as sandbox:
        items: list[Item] = [
            (match_id, FetchKind.MATCH) for match_id in (*ids_of(sandbox), *ids_of(sandbox, "missing"))
        ]
        result = asyncio.run(run(items))
    assert sorted((outcome.match_id, outcome.kind) for outcome in reported) == sorted(items)
    assert result.matches_stored + result.missing == len(items) and result.missing > 0


def test_requests_go_on_while_the_database_is_busy(league_files: Path) -> None:
    at_once, answered = 8, Event()
    with riot(missing_match_rate=0) as sandbox:
        items: list[Item] = [(match_id, FetchKind.MATCH) for match_id in ids_of(sandbox)[:at_once]]
        of, seen = sandbox.app._answers.of, 0

        def count(method: str, call: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == at_once:
                answered.set()
            return of(method, call)

        async def run() -> BatchResult:
            with closing(sqlite3.connect(sqlite_path(DOMAIN), isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                batch = asyncio.create_task(sync_matches.fn(items))
                # All are asked for although none can be written.
                assert await asyncio.to_thread(answered.wait, 60)
                assert stored() == set()
                other.execute("ROLLBACK")
            return await batch

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sandbox.app._answers, "of", count)
            assert asyncio.run(run()).matches_stored == at_once


def test_a_full_disk_stops_the_batch_with_a_clear_error_and_loses_nothing(league_files: Path) -> None:
    def grow_no_more(connection: Any, _record: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages + 30}")

    with riot(missing_match_rate=0) as sandbox:
        items: list[Item] = [(match_id, kind) for match_id in ids_of(sandbox) for kind in FetchKind]
        engine(DOMAIN).dispose()
        event.listen(engine(DOMAIN), "connect", grow_no_more)
        with pytest.raises(LedgerError, match="full") as raised:
            asyncio.run(sync_matches.fn(items))
        # What was to be written, and so who played, is quoted nowhere in the chain.
        error: BaseException | None = raised.value
        while error is not None:
            assert sandbox.player["puuid"] not in str(error)
            error = error.__cause__ or error.__context__
        event.remove(engine(DOMAIN), "connect", grow_no_more)
        engine(DOMAIN).dispose()
        before = stored()
        assert before < {match_id for match_id, _ in items}
        asyncio.run(sync_matches.fn(items))
    assert stored() == {match_id for match_id, _ in items}
    with session(DOMAIN, read_only=True) as opened:
        assert set(opened.exec(select(Timeline.match_id)).all()) == stored()
        assert {row.state for row in opened.exec(select(Fetch)).all()} == {FetchState.STORED}
