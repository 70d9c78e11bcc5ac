"""Games that were fetched with another application's key: they name other puuids, and are told and fetched again."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from blocks.engine import dispose_engines, session
from blocks.settings import settings
from deployments.sandbox.riot.options import DEFAULT_KEY
from tasks.foundation.core.columns import utc_now
from tasks.league.core import fetches
from tasks.league.core.absence import ABSENT, is_without, listed_without
from tasks.league.core.card import player_card
from tasks.league.core.card_sections import remarks
from tasks.league.core.players import upsert_player
from tasks.league.core.recovery import Action, check
from tasks.league.core.statistics import differences
from tasks.league.core.storing import store_match
from tasks.league.core.tables import DOMAIN, FetchKind, Match, Participant, YearlyStats
from tests.league.conftest import home_in, riot
from tests.league.damage import MATCH, TIMELINE, asked, everything, recover, rows, sync
from tests.league.made_games import Game, Player, day

OTHER_KEY = "RGAPI-5a4db0c5-0000-4000-8000-000000000002"
KEYS = (DEFAULT_KEY, OTHER_KEY)


@contextmanager
def key_in_use(key: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUINTET_LEAGUE__RIOT_API_KEY", key)
        settings.cache_clear()
        yield
    settings.cache_clear()


def of_player(text: str, former: str) -> list[str]:
    """The dump without what only the former key knows: the tracked player of its own puuid."""
    return [line for line in text.splitlines() if former not in line]


def test_games_of_another_applications_key_are_told_and_fetched_again(
    league_databases: str, tmp_path: Path, caplog: Any
) -> None:
    with riot(keys=KEYS, missing_match_rate=0.0, missing_timeline_rate=0.0, matches=4) as sandbox:
        former = sync(sandbox)
        assert former.without_player == 0
        with key_in_use(OTHER_KEY):
            with caplog.at_level(logging.WARNING, "quintet"):
                found = sync(sandbox)
            named = {game["match_id"] for game in sandbox.app.truth(OTHER_KEY)["player"]["matches"]}
            assert found.puuid != former.puuid
            assert (found.matches_stored, found.listed) == (0, 4)
            assert found.without_player == len(named)
            assert "run league-recover-player" in caplog.text
            assert sandbox.player["game_name"] not in caplog.text
            with session(DOMAIN, read_only=True) as opened:
                assert "4 matches that Riot lists" in " ".join(remarks(player_card(opened, found.puuid)))

            before = everything()
            planned = recover(sandbox, dry_run=True)
            assert everything() == before
            assert {item.reason for item in planned.plan} == {ABSENT}
            assert planned.to_fetch == 8
            sandbox.app.reset()
            done = recover(sandbox)
            assert (done.matches_stored, done.timelines_stored) == (4, 4)
            assert (asked(sandbox)[MATCH], asked(sandbox)[TIMELINE]) == (4, 4)
            check_whole(found.puuid)
            again = recover(sandbox)
            assert (again.to_fetch, again.derived, again.mended, again.statistics) == (0, 0, 0, 0)
            assert sync(sandbox).without_player == 0
            after = of_player(rows(), former.puuid)
            dispose_engines()
            with home_in(tmp_path / "clean"):
                sync(sandbox)
                clean = rows().splitlines()
    assert after == clean


def check_whole(puuid: str) -> None:
    with session(DOMAIN) as opened:
        assert differences(opened) == []
        assert listed_without(opened, puuid) == 0
        assert opened.exec(select(YearlyStats).where(col(YearlyStats.puuid) == puuid)).all()
        opened.rollback()


def test_a_player_who_is_not_in_a_game_at_riots_either_leaves_no_recovery_unfinished(
    league_files: Path, caplog: Any
) -> None:
    with riot(matches=5, players=60, missing_match_rate=0.0, missing_timeline_rate=0.0) as sandbox:
        main, twin = sync(sandbox).puuid, sandbox.accounts["twins"][0]
        sandbox.app.play(5, f"{twin['game_name']}#{twin['tag_line']}")
        sync(sandbox, game_name=twin["game_name"], tag_line=twin["tag_line"])
        with session(DOMAIN) as opened:
            mine = select(Participant.match_id).where(Participant.puuid == main)
            strange = opened.exec(select(Match.match_id).where(col(Match.match_id).not_in(mine))).first()
            assert strange is not None
            fetches.record_listing(opened, main, None, [strange], listed_at=utc_now())
        sandbox.app.reset()
        with caplog.at_level(logging.WARNING, "quintet"):
            done = recover(sandbox)
        assert (asked(sandbox)[MATCH], asked(sandbox)[TIMELINE], done.to_fetch) == (1, 1, 2)
        assert {item.match_id for item in done.plan if item.reason == ABSENT} == {strange}
        assert "do not have the player" in caplog.text


def test_a_404_with_this_key_leaves_the_game_as_it_was(league_files: Path) -> None:
    with riot(keys=KEYS, matches=3, edge_cases=False, missing_match_rate=0.0) as sandbox:
        sync(sandbox)
        stored = everything()
        with key_in_use(OTHER_KEY):
            sandbox.app.set({"late_requests": 9})
            for outline in sandbox.app.corpus.calendar.by_id.values():
                object.__setattr__(outline, "match", "missing")
            done = recover(sandbox)
            assert (done.matches_stored, done.missing) == (0, 3)
            kept = [line for line in stored if line.startswith(("league_match ", "league_participant "))]
            assert set(kept) <= set(everything())
            again = recover(sandbox)
            assert (again.to_fetch, again.left) == (0, 3)


def test_a_game_in_which_nobody_took_part_lacks_nobody(league_ledger: str) -> None:
    with session(DOMAIN) as opened:
        upsert_player(opened, puuid="me", game_name=None, tag_line=None, platform="na1", now=utc_now())
        for game in (Game("NA1_1", day(1), [Player("me")]), Game("NA1_2", None), Game("NA1_3", day(2), [Player("it")])):
            store_match(opened, game.body(), now=utc_now())
            fetches.record_listing(opened, "me", None, [game.match_id], listed_at=utc_now())
        fetches.record_listing(opened, "me", None, ["NA1_4"], listed_at=utc_now())
        assert listed_without(opened, "me") == 1
        found = check(opened, ["NA1_1", "NA1_2", "NA1_3"], now=utc_now(), puuid="me")
        matches = {item.match_id: item.action for item in found if item.kind is FetchKind.MATCH}
        assert matches == {"NA1_3": Action.FETCH}
        opened.rollback()


def test_a_timeline_that_names_nobody_lacks_nobody() -> None:
    assert not is_without("me", content=b'{"metadata": {}}')
    assert not is_without("me", content=b'{"participants": [{"puuid": "me"}]}')
    assert is_without("me", content=b'{"participants": [{"puuid": "it"}]}')
