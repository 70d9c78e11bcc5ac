"""Recovery of a player: damage of every kind, done behind the ledger's back, is found and mended."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from blocks.engine import session
from blocks.riot.errors import RiotKeyError
from deployments.sandbox.riot.server import RunningSandbox
from tasks.league.account import PlayerNotFoundError
from tasks.league.core.recovery import Action
from tasks.league.core.storing import remove_match
from tasks.league.core.tables import DOMAIN, Fetch, FetchKind, FetchState, Match
from tests.league.conftest import home_in, riot
from tests.league.damage import (
    ANY,
    MATCH,
    TIMELINE,
    TO_GAMES,
    TO_PLAYERS,
    Damage,
    Victim,
    apply,
    asked,
    choose,
    everything,
    execute,
    recover,
    rows,
    sync,
)

#: What is missing at Riot's stays so.
STEADY = {"late_match_rate": 0.0, "missing_match_rate": 0.1, "missing_timeline_rate": 0.1}


def games_asked(sandbox: RunningSandbox) -> int:
    requests = asked(sandbox)
    return requests.get(MATCH, 0) + requests.get(TIMELINE, 0)


def check_mended(sandbox: RunningSandbox, done: Sequence[tuple[Damage, Victim]], clean: str) -> None:
    """The dry run plans just this and changes nothing; the recovery then does it, with no request too many."""
    names = ", ".join(damage.name for damage, _ in done)
    before = everything()
    planned = recover(sandbox, dry_run=True)
    assert everything() == before, names
    fetched, mended = sum(damage.fetched for damage, _ in done), sum(damage.mended for damage, _ in done)
    derived = None if any(damage.derived < 0 for damage, _ in done) else sum(damage.derived for damage, _ in done)
    assert (planned.to_fetch, planned.mended) == (fetched, mended), f"{names}: {planned.plan}"
    assert derived in (planned.derived, None), f"{names}: {planned.plan}"
    sandbox.app.reset()
    told = recover(sandbox)
    assert rows() == clean, names
    assert games_asked(sandbox) == fetched == told.matches_stored + told.timelines_stored, names
    assert (told.missing, told.failed) == (0, 0), names


def test_every_damage_to_games_is_planned_then_mended_with_no_request_too_many(league_databases: str) -> None:
    with riot(**STEADY, matches=20) as sandbox:
        victims = choose(sync(sandbox).puuid)
        clean, size = rows(), 7
        assert len(victims) >= size
        for start in range(0, len(TO_GAMES), size):
            done = list(zip(TO_GAMES[start : start + size], victims, strict=False))
            for damage, victim in done:
                before = everything()
                apply(damage, victim)
                assert everything() != before, f"{damage.name} changes nothing"
            check_mended(sandbox, done, clean)


def test_every_damage_to_players_is_mended(league_databases: str) -> None:
    with riot(**STEADY, matches=5, edge_cases=False) as sandbox:
        victim = choose(sync(sandbox).puuid)[0]
        clean = rows()
        for damage in TO_PLAYERS:
            apply(damage, victim)
            assert rows() != clean, damage.name
            check_mended(sandbox, [(damage, victim)], clean)


def test_random_damage_is_mended(tmp_path: Path) -> None:
    with home_in(tmp_path / "home"), riot(**STEADY, matches=8) as sandbox:
        victims = choose(sync(sandbox).puuid)
        clean = rows()

        @settings(max_examples=8, deadline=None, derandomize=True, database=None)
        @given(st.lists(st.tuples(st.sampled_from(ANY), st.sampled_from(victims)), min_size=1, max_size=12))
        def mended(done: list[tuple[Damage, Victim]]) -> None:
            for damage, victim in done:
                try:
                    apply(damage, victim)
                except IntegrityError:
                    # What the database itself does not allow beside the damage done so far.
                    continue
            recover(sandbox)
            assert rows() == clean

        mended()


def test_a_player_that_the_ledger_does_not_know_is_recovered_as_a_sync_would(tmp_path: Path) -> None:
    with riot(**STEADY) as sandbox:
        with home_in(tmp_path / "synced"):
            sync(sandbox)
            synced = rows()
        with home_in(tmp_path / "recovered"):
            empty = everything()
            planned = recover(sandbox, dry_run=True)
            assert everything() == empty == []
            assert (planned.to_fetch, planned.checked, planned.left) == (28, 14, 0)
            assert {item.reason for item in planned.plan} == {"was never fetched"}
            recover(sandbox)
            assert rows() == synced


def test_former_fault_10_a_404_is_left_alone_until_it_is_due_and_never_asked_again_before(league_files: Path) -> None:
    with riot(late_match_rate=0.0, missing_match_rate=0.3, missing_timeline_rate=0.0) as sandbox:
        sync(sandbox)
        gone = set(sandbox.app.truth()["player"]["missing_matches"])
        sandbox.app.reset()
        for _ in range(3):
            report = recover(sandbox)
            assert {item.match_id for item in report.plan} == gone
            assert {item.action for item in report.plan} == {Action.LEAVE}
            assert "404; asked again after" in report.plan[0].reason
        assert games_asked(sandbox) == 0

        execute("UPDATE league_fetch SET due_at = '2020-01-01' WHERE state = 'MISSING'")
        report = recover(sandbox)
        assert games_asked(sandbox) == report.missing == len(gone)
        with session(DOMAIN, read_only=True) as opened:
            assert opened.get_one(Fetch, (min(gone), FetchKind.MATCH)).failures == 2


def test_a_damaged_match_that_riot_no_longer_has_keeps_its_rows_and_is_not_asked_for_over_and_over(
    league_files: Path,
) -> None:
    with riot(late_match_rate=0.0, missing_match_rate=0.0, missing_timeline_rate=0.0) as sandbox:
        victim = choose(sync(sandbox).puuid)[0]
    execute("DELETE FROM league_payload WHERE match_id = :id AND kind = 'MATCH'", **victim)
    with riot(late_match_rate=0.0, missing_match_rate=1.0, missing_timeline_rate=0.0) as sandbox:
        report = recover(sandbox)
        assert (report.to_fetch, report.missing) == (1, 1)
        assert recover(sandbox).left == 1
        assert games_asked(sandbox) == 1
        with session(DOMAIN, read_only=True) as opened:
            assert opened.get(Match, victim["id"]) is not None


def test_what_failed_is_tried_again_at_once_since_somebody_asked(league_files: Path) -> None:
    with riot(**STEADY) as sandbox:
        victim = choose(sync(sandbox).puuid)[0]
        clean = rows()
        execute(
            "DELETE FROM league_payload WHERE match_id = :id",
            "UPDATE league_fetch SET state = 'FAILED', failures = 4, due_at = '2999-01-01' WHERE match_id = :id",
            **victim,
        )
        assert recover(sandbox).matches_stored == 1
        assert rows() == clean


def test_only_games_of_the_year_are_looked_at(league_files: Path) -> None:
    with riot(**STEADY, matches=30, edge_cases=False) as sandbox:
        sync(sandbox)
        with session(DOMAIN, read_only=True) as opened:
            years = {match.match_id: match.year or 0 for match in opened.exec(select(Match))}
        year = max(years.values())
        execute("UPDATE league_match SET map_id = 0")
        report = recover(sandbox, year=year)
        assert {item.match_id for item in report.plan if item.action is Action.DERIVE} == {
            match_id for match_id, of in years.items() if of == year
        }
        assert recover(sandbox).derived == sum(of != year for of in years.values()) > 0


def test_what_was_removed_is_left_alone_unless_asked_for(league_files: Path) -> None:
    with riot(**STEADY, matches=4) as sandbox:
        victim = choose(sync(sandbox).puuid)[0]
        clean = rows()
        with session(DOMAIN) as opened:
            remove_match(opened, victim["id"])
        removed = rows()
        report = recover(sandbox)
        assert rows() == removed
        assert {item.reason for item in report.plan if item.match_id == victim["id"]} == {"was cleaned away"}
        assert recover(sandbox, include_removed=True).matches_stored == 1
        assert rows() == clean


def test_a_recovery_that_is_stopped_between_preparing_and_fetching_is_ended_by_the_next(
    league_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StoppedError(Exception):
        pass

    async def stop(*_: object) -> None:
        raise StoppedError

    with riot(**STEADY) as sandbox:
        victims = choose(sync(sandbox).puuid)
        clean = rows()
        for damage, victim in zip(TO_GAMES[::4], victims, strict=False):
            apply(damage, victim)
        with monkeypatch.context() as patch, pytest.raises(StoppedError):
            patch.setattr("tasks.league.matches.fetch_items", stop)
            recover(sandbox)
        assert rows() != clean
        recover(sandbox)
        assert rows() == clean


def test_former_fault_5_a_recovery_that_cannot_be_done_is_an_error_and_no_answer_that_says_so(
    league_files: Path,
) -> None:
    with riot(matches=3) as sandbox:
        sync(sandbox)
        with pytest.raises(PlayerNotFoundError):
            recover(sandbox, tag_line="nobody")
        before = rows()
        execute("DELETE FROM league_payload")
        sandbox.app.set({"expired": "on"})
        with pytest.raises(RiotKeyError):
            recover(sandbox)
        sandbox.app.set({"expired": "off"})
        recover(sandbox)
        assert rows() == before


def test_former_faults_6_and_7_a_thousand_waits_of_the_api_fail_no_match(league_files: Path) -> None:
    limits = ((40, 1.0),)
    with riot(**STEADY, app=limits, service_429_rate=0.05, error_rate=0.05) as sandbox:
        report = recover(sandbox)
        assert report.failed == 0
        assert report.matches_stored == 14 - len(sandbox.app.truth()["player"]["missing_matches"])
        assert sandbox.app.truth()["totals"]["rejected"] == 0


def test_fetch_states_other_than_stored_are_told_apart(league_files: Path) -> None:
    with riot(**STEADY, matches=6) as sandbox:
        victim = choose(sync(sandbox).puuid)[0]
        execute("DELETE FROM league_payload WHERE match_id = :id", **victim)
        reasons = {}
        for state in FetchState:
            execute("UPDATE league_fetch SET state = :state, due_at = NULL WHERE match_id = :id", state=state, **victim)
            report = recover(sandbox, dry_run=True)
            reasons[state] = {item.reason for item in report.plan if item.match_id == victim["id"]}
        assert reasons == {
            FetchState.PENDING: {"was never fetched"},
            FetchState.STORED: {"its payload is gone"},
            FetchState.MISSING: {"answered 404 when last asked for; due again"},
            FetchState.FAILED: {"failed when last tried"},
            FetchState.REMOVED: {"was cleaned away"},
        }
