"""Old games are removed by when they ended, with all that stands on them, and are not fetched again."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import Session, select

from blocks.engine import session
from tasks.league import cleanup
from tasks.league.cleanup import CleanedYear, CleanupReport, cleanup_old_data
from tasks.league.core.cleanup import MAXIMUM_DAYS, old_matches
from tasks.league.core.players import upsert_player
from tasks.league.core.statistics import differences
from tasks.league.core.storing import remove_matches, store_match, store_timeline
from tasks.league.core.tables import DOMAIN, Fetch, FetchState, Match, Payload, Summoner, Timeline, YearlyStats
from tests.league.conftest import riot
from tests.league.damage import MATCH, TIMELINE, asked, everything, execute, recover, rows, sync
from tests.league.made_games import Game, Player

NOW = datetime(2024, 6, 30, 12, tzinfo=UTC)
ANNA, BERT, CARL = "anna", "bert", "carl"


def clean(days: int = 30, dry_run: bool = False) -> CleanupReport:
    return asyncio.run(cleanup_old_data.fn(days, dry_run))


def timeline(match_id: str) -> bytes:
    return b'{"metadata": {"matchId": "%s"}, "info": {"frameInterval": 60000, "frames": []}}' % match_id.encode()


@pytest.fixture
def played(league_ledger: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Anna is tracked; Bert played long ago and lately, Carl long ago. All were fetched today."""
    monkeypatch.setattr("tasks.league.cleanup.utc_now", lambda: NOW)
    old, young = NOW - timedelta(days=40), NOW - timedelta(days=3)
    games = [
        Game("EUW1_1", old, [Player(ANNA, kills=5), Player(CARL)]),
        Game("EUW1_2", old + timedelta(days=1), [Player(ANNA), Player(BERT)]),
        Game("EUW1_3", young, [Player(ANNA, kills=9), Player(BERT)]),
        Game("EUW1_4", None, [Player(ANNA)], seconds=0),
    ]
    for game in games:
        with session(DOMAIN) as opened:
            upsert_player(opened, puuid=ANNA, game_name="Anna", tag_line="EUW", platform="euw1", now=NOW)
            store_match(opened, game.body(), now=NOW)
            store_timeline(opened, timeline(game.match_id), game.match_id, now=NOW)
    return league_ledger


def stored() -> set[str]:
    with session(DOMAIN, read_only=True) as opened:
        return set(opened.exec(select(Match.match_id)))


def test_former_fault_12_age_is_that_of_the_game_and_statistics_go_with_it(played: str) -> None:
    report = clean()
    assert (report.matches, report.timelines, report.players, report.timeless) == (2, 2, 1, 1)
    assert report.years == (CleanedYear(platform="euw1", year=2024, matches=2, timelines=2, bytes=report.bytes_freed),)
    assert report.bytes_freed > 0
    assert stored() == {"EUW1_3", "EUW1_4"}
    with session(DOMAIN) as opened:
        assert differences(opened) == []
        anna = opened.exec(select(YearlyStats).where(YearlyStats.puuid == ANNA)).one()
        assert (anna.total_matches, anna.total_kills) == (1, 9)
        assert set(opened.exec(select(Timeline.match_id))) == stored()
        assert {row.match_id for row in opened.exec(select(Payload))} == stored()
        states = {(row.match_id, row.state) for row in opened.exec(select(Fetch))}
        assert states == {
            *((match_id, FetchState.REMOVED) for match_id in ("EUW1_1", "EUW1_2")),
            *((match_id, FetchState.STORED) for match_id in stored()),
        }
        assert set(opened.exec(select(Summoner.puuid))) == {ANNA, BERT}
    assert clean().matches == 0


def test_a_dry_run_tells_the_same_and_changes_nothing(played: str) -> None:
    before = everything()
    planned = clean(dry_run=True)
    assert everything() == before
    done = clean()
    same = {"matches", "timelines", "bytes_freed", "years", "before", "timeless"}
    assert planned.model_dump(include=same) == done.model_dump(include=same)


def test_a_tracked_player_stays_without_a_game(played: str) -> None:
    monthly = clean(days=1)
    assert (monthly.matches, stored()) == (3, {"EUW1_4"})
    with session(DOMAIN, read_only=True) as opened:
        assert [row.puuid for row in opened.exec(select(Summoner))] == [ANNA]


def test_a_game_without_an_end_is_as_old_as_its_start_and_one_without_any_time_stays(played: str) -> None:
    execute("UPDATE league_match SET game_end = NULL")
    execute("UPDATE league_match SET game_start = NULL WHERE match_id = 'EUW1_2'")
    execute(
        "UPDATE league_match SET game_start = NULL, game_creation = NULL, game_end = NULL "
        "WHERE match_id IN ('EUW1_1', 'EUW1_4')"
    )
    report = clean()
    assert (report.matches, report.timeless) == (1, 2)
    assert stored() == {"EUW1_1", "EUW1_3", "EUW1_4"}


def test_a_game_that_ended_at_the_very_moment_stays(played: str) -> None:
    with session(DOMAIN) as opened:
        end = opened.get_one(Match, "EUW1_3").game_end
        assert end is not None
        assert "EUW1_3" not in {match.match_id for match in old_matches(opened, end)}
        assert "EUW1_3" in {match.match_id for match in old_matches(opened, end + timedelta(milliseconds=1))}


def test_a_run_that_is_stopped_has_removed_whole_games_and_the_next_ends_it(
    played: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StoppedError(Exception):
        pass

    calls = iter([remove_matches])

    def remove_one(opened: Session, match_ids: list[str]) -> int:
        for actual in calls:
            return actual(opened, match_ids)
        raise StoppedError

    monkeypatch.setattr(cleanup, "BATCH", 1)
    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        patch.setattr(cleanup, "remove_matches", remove_one)
        clean()
    assert stored() == {"EUW1_2", "EUW1_3", "EUW1_4"}
    with session(DOMAIN) as opened:
        assert differences(opened) == []
    assert clean().matches == 1
    assert stored() == {"EUW1_3", "EUW1_4"}


@pytest.mark.parametrize("days", [0, -3, MAXIMUM_DAYS + 1])
def test_days_out_of_range_are_refused(league_files: Path, days: int) -> None:
    with pytest.raises(ValueError, match=f"days must be from 1 to {MAXIMUM_DAYS}, not {days}"):
        clean(days)


def test_no_sync_and_no_recovery_fetches_what_was_removed(league_files: Path) -> None:
    with riot(late_match_rate=0.0, missing_match_rate=0.0, matches=8) as sandbox:
        sync(sandbox)
        before = rows()
        assert clean(days=1).matches == 8
        removed = rows()
        sandbox.app.reset()
        sync(sandbox)
        execute("DELETE FROM league_watermark")
        sync(sandbox)
        assert recover(sandbox).left == 16
        assert {MATCH, TIMELINE}.isdisjoint(asked(sandbox))
        assert rows() == removed
        recover(sandbox, include_removed=True)
        assert rows() == before
