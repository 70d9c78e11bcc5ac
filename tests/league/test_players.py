"""A player's sync against a Riot API: what is stored, what is asked, what a fault or a kill leaves behind."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from blocks.engine import dispose_engines, session
from blocks.riot.errors import RiotKeyError, RiotUnavailableError, UnknownRouteError
from blocks.settings import settings
from deployments.sandbox.riot.server import RunningSandbox
from tasks.league.account import PlayerNotFoundError
from tasks.league.api import RiotKeyMissingError, riot_client
from tasks.league.core.dump import dump
from tasks.league.core.fetches import counts
from tasks.league.core.tables import (
    DOMAIN,
    ChampionMastery,
    Fetch,
    FetchKind,
    FetchState,
    Listing,
    Match,
    RankedEntry,
    Summoner,
    Timeline,
    Watermark,
    YearlyStats,
)
from tasks.league.players import PlayerSync, sync_player_data
from tests.league.conftest import home_in, riot

MATCH, TIMELINE = "match-v5.getMatch", "match-v5.getTimeline"
IDS, ACCOUNT = "match-v5.getMatchIdsByPUUID", "account-v1.getByRiotId"


def sync(sandbox: RunningSandbox, **options: Any) -> PlayerSync:
    player = {"game_name": sandbox.player["game_name"], "tag_line": sandbox.player["tag_line"], **options}
    return asyncio.run(sync_player_data.fn(**player))


def asked(sandbox: RunningSandbox) -> dict[str, int]:
    """Requests by method since the last reset."""
    found: dict[str, int] = {}
    for route in sandbox.app.truth()["routes"].values():
        for method, record in route["methods"].items():
            found[method] = found.get(method, 0) + record["requests"]
    return found


def rows() -> str:
    with session(DOMAIN, read_only=True) as opened:
        return dump(opened)


def stored(table: type[Match] | type[Timeline]) -> set[str]:
    with session(DOMAIN, read_only=True) as opened:
        return set(opened.exec(select(table.match_id)).all())


def fetches(kind: FetchKind, state: FetchState) -> set[str]:
    with session(DOMAIN, read_only=True) as opened:
        wanted = select(Fetch.match_id).where(Fetch.kind == kind, Fetch.state == state)
        return set(opened.exec(wanted).all())


def statistics(puuid: str) -> list[dict[str, Any]]:
    with session(DOMAIN, read_only=True) as opened:
        found = opened.exec(select(YearlyStats).where(col(YearlyStats.puuid) == puuid)).all()
    return [row.model_dump(exclude={"puuid"}) for row in sorted(found, key=lambda row: (row.year, row.platform))]


def expected_statistics(sandbox: RunningSandbox) -> list[dict[str, Any]]:
    found = sandbox.app.truth()["player"]["statistics_now"]
    return [{key: value for key, value in year.items() if key != "games_by"} for year in found]


def test_everything_the_api_has_is_stored_and_a_second_sync_asks_for_nothing_again(league_databases: str) -> None:
    with riot() as sandbox:
        first = sync(sandbox)
        truth = sandbox.app.truth()["player"]
        ids, gone = set(truth["match_ids"]), set(truth["missing_matches"])
        assert first.listed == first.new_matches == len(ids) == 14
        assert stored(Match) == ids - gone
        assert fetches(FetchKind.MATCH, FetchState.MISSING) == gone
        assert first.matches_stored == first.standing.matches == len(ids - gone)
        assert first.timelines_stored == first.standing.timelines == len(stored(Timeline))
        assert first.missing == first.standing.missing == 28 - first.matches_stored - first.timelines_stored > 0
        assert (first.failed_items, first.failed, first.standing.pending) == (0, (), 0)
        assert statistics(first.puuid) == [pytest.approx(year) for year in expected_statistics(sandbox)]
        assert first.requests == sandbox.app.truth()["totals"]["requests"]
        before = rows()

        sandbox.app.reset()
        second = sync(sandbox)
        assert asked(sandbox) == {**dict.fromkeys(asked(sandbox), 1)}
        assert {MATCH, TIMELINE}.isdisjoint(asked(sandbox))
        assert asked(sandbox)[IDS] == 1
        assert (second.new_matches, second.existing, second.standing) == (0, 14, first.standing)
        assert second.http_429 == 0
        assert rows() == before


def test_the_player_stands_in_the_ledger_with_ranked_entries_and_masteries(league_databases: str) -> None:
    with riot(matches=3) as sandbox:
        result = sync(sandbox)
        with session(DOMAIN, read_only=True) as opened:
            player = opened.get_one(Summoner, result.puuid)
            entries = opened.exec(select(RankedEntry)).all()
            masteries = opened.exec(select(ChampionMastery)).all()
    assert (player.game_name, player.tag_line) == (sandbox.player["game_name"], sandbox.player["tag_line"])
    assert player.tracked and player.synced_at is not None and player.summoner_level and player.revision_date
    of = {row.puuid for row in entries} | {row.puuid for row in masteries}
    assert masteries and of == {result.puuid}


def test_new_games_are_all_that_the_next_sync_asks_for(league_files: Path) -> None:
    with riot() as sandbox:
        sync(sandbox)
        played = sandbox.app.play(3)["match_ids"]
        sandbox.app.reset()
        result = sync(sandbox)
        assert (result.new_matches, result.existing) == (3, 14)
        assert (asked(sandbox)[IDS], asked(sandbox)[MATCH], asked(sandbox)[TIMELINE]) == (1, 3, 3)
        assert set(played) <= stored(Match)
        assert statistics(result.puuid) == [pytest.approx(year) for year in expected_statistics(sandbox)]


def test_what_was_missing_is_asked_for_again_when_it_is_due(
    league_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUINTET_LEAGUE__RECHECK_BASE_SECONDS", "0.001")
    with riot(late_match_rate=0.3, missing_match_rate=0.1) as sandbox:
        first = sync(sandbox)
        gone = set(sandbox.app.truth()["player"]["missing_matches"])
        late, before = fetches(FetchKind.MATCH, FetchState.MISSING) - gone, asked(sandbox)[MATCH]
        assert late and gone
        second = sync(sandbox)
        assert late <= stored(Match)
        assert second.matches_stored == len(late)
        assert asked(sandbox)[MATCH] - before == len(late | gone)
        assert second.standing.matches == first.standing.matches + len(late)


@pytest.mark.parametrize("ignored", [False, True])
def test_a_year_is_that_of_the_games_start_whether_or_not_the_api_filters(league_files: Path, ignored: bool) -> None:
    with riot(matches=130, ignore_start_time=ignored, missing_match_rate=0) as sandbox:
        games = sandbox.app.truth()["player"]["matches"]
        year = sorted(game["year"] for game in games if game["year"])[len(games) // 3]
        of_year = {game["match_id"] for game in games if game["year"] == year}
        result = sync(sandbox, year=year)
        with session(DOMAIN, read_only=True) as opened:
            told = opened.exec(select(Match.match_id).where(Match.year == year)).all()
            listed = set(opened.exec(select(Listing.match_id)).all())
        unknown = {game["match_id"] for game in games if game["year"] is None}
        assert 0 < len(of_year) < len(games)
        assert set(told) == of_year == listed - unknown
        assert stored(Match) <= of_year | unknown
        assert result.listed == len(listed)
        if not ignored:
            # Nothing but what is wanted, once.
            assert asked(sandbox)[MATCH] == len(listed)
        before = rows()
        sandbox.app.reset()
        second = sync(sandbox, year=year)
        assert second.new_matches == 0
        assert {IDS, MATCH, TIMELINE}.isdisjoint(asked(sandbox))
        assert rows() == before


def test_all_games_after_one_year_are_the_same_as_all_games(league_files: Path, tmp_path: Path) -> None:
    with riot(matches=30) as sandbox:
        sync(sandbox, year=2025)
        assert sync(sandbox).standing.pending == 0
        after = rows()
        with home_in(tmp_path / "clean"):
            sync(sandbox)
            clean = rows()
    marks = [line for line in after.splitlines() if line.startswith('["league_watermark"')]
    assert len(marks) == 2
    assert [line for line in after.splitlines() if line not in marks] == [
        line for line in clean.splitlines() if not line.startswith('["league_watermark"')
    ]


def test_another_spelling_and_a_new_name_are_the_same_player(league_files: Path) -> None:
    with riot(matches=3, game_name="Old Name") as sandbox:
        first = sync(sandbox, game_name="OLD name", tag_line="na1")
        sandbox.app.rename("New Name", "NEW")
        second = sync(sandbox, game_name="New Name", tag_line="NEW")
        assert first.puuid == second.puuid
        with session(DOMAIN, read_only=True) as opened:
            tracked = opened.exec(select(Summoner).where(Summoner.tracked)).all()
    assert [(row.puuid, row.game_name, row.tag_line) for row in tracked] == [(first.puuid, "New Name", "NEW")]


def test_two_players_of_one_name_stand_side_by_side(league_files: Path) -> None:
    with riot() as sandbox:
        for twin in sandbox.accounts["twins"]:
            sync(sandbox, game_name=twin["game_name"], tag_line=twin["tag_line"])
        with session(DOMAIN, read_only=True) as opened:
            tracked = opened.exec(select(Summoner).where(Summoner.tracked)).all()
    assert {row.puuid for row in tracked} == {twin["puuid"] for twin in sandbox.accounts["twins"]}
    assert len({row.game_name for row in tracked}) == 1


def test_matches_are_fetched_from_the_region_that_each_id_tells(league_files: Path) -> None:
    with riot(players=200, other_region_rate=0.4) as sandbox:
        result = sync(sandbox)
        truth = sandbox.app.truth()
        there = {match_id for match_id in truth["player"]["match_ids"] if match_id.startswith("EUW1_")}
        assert there & stored(Match)
        assert {MATCH, TIMELINE} == set(truth["routes"]["europe"]["methods"])
        assert truth["routes"]["europe"]["requests"] == 2 * len(there)
        assert statistics(result.puuid) == [pytest.approx(year) for year in expected_statistics(sandbox)]


def test_two_syncs_of_one_player_at_once_end_in_the_rows_of_one(league_databases: str, tmp_path: Path) -> None:
    async def twice(player: dict[str, str]) -> list[PlayerSync]:
        one = (sync_player_data.fn(player["game_name"], player["tag_line"]) for _ in range(2))
        return list(await asyncio.gather(*one))

    with riot() as sandbox:
        results = asyncio.run(twice(sandbox.player))
        assert {result.standing.pending for result in results} == {0}
        both = rows()
        dispose_engines()
        with home_in(tmp_path / "clean"):
            sync(sandbox)
            clean = rows()
    # Two 404 of one match count as two.
    assert both.replace('"failures": 2', '"failures": 1') == clean


def test_a_player_without_games_is_no_error(league_files: Path) -> None:
    with riot() as sandbox:
        idle = sandbox.accounts["idle"]
        result = sync(sandbox, game_name=idle["game_name"], tag_line=idle["tag_line"])
    assert (result.listed, result.standing.matches, result.failed) == (0, 0, ())


def test_the_platforms_region_is_asked_whatever_routing_says(league_files: Path, caplog: Any) -> None:
    with riot(matches=3) as sandbox, caplog.at_level(logging.INFO, "quintet"):
        result = sync(sandbox, routing="ASIA", platform="NA1")
        assert set(sandbox.app.truth()["routes"]) == {"americas", "na1"}
    assert result.platform == "na1" and result.listed == 3
    assert "regional=americas said=asia" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "error", "told"),
    [
        ({"platform": "na2"}, UnknownRouteError, "na1"),
        ({"routing": "mars"}, UnknownRouteError, "americas"),
        ({"year": 1999}, ValueError, "2009"),
        ({"game_name": "Nobody Here"}, PlayerNotFoundError, "no account"),
        ({"platform": "kr"}, PlayerNotFoundError, "never played on kr"),
    ],
)
def test_what_cannot_be_meant_is_told(
    league_files: Path, wrong: dict[str, Any], error: type[Exception], told: str
) -> None:
    with riot(matches=3) as sandbox:
        with pytest.raises(error, match=told) as raised:
            sync(sandbox, **wrong)
        # Names are in no error: errors are logged.
        assert sandbox.player["game_name"] not in str(raised.value) and "Nobody" not in str(raised.value)
    assert stored(Match) == set()


def test_neither_key_nor_names_are_logged_or_in_the_result(league_files: Path, caplog: Any) -> None:
    with riot(matches=5, error_rate=0.2) as sandbox, caplog.at_level(logging.DEBUG):
        result = sync(sandbox)
    text = caplog.text + repr(result) + result.model_dump_json()
    assert "completion" in text
    assert sandbox.key not in text
    assert sandbox.player["game_name"] not in text


def test_a_refused_key_stops_at_once_and_the_next_run_ends_as_if_nothing_had_happened(
    league_databases: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUINTET_LEAGUE__REQUESTS_AT_ONCE", "2")
    with riot(matches=40) as sandbox:
        answered = sandbox.app._answers.of
        seen = 0

        def expire_after_some(method: str, call: Any) -> Any:
            nonlocal seen
            seen += method == MATCH
            if method == MATCH and seen == 10:
                sandbox.app.set({"expired": True})
            return answered(method, call)

        monkeypatch.setattr(sandbox.app._answers, "of", expire_after_some)
        with pytest.raises(RiotKeyError):
            sync(sandbox)
        with session(DOMAIN, read_only=True) as opened:
            states = counts(opened)
        assert states[FetchKind.MATCH][FetchState.PENDING] >= 28
        assert not any(states[kind][FetchState.FAILED] for kind in FetchKind)
        # Those in flight and no more.
        assert sandbox.app.truth()["totals"]["by_status"]["403"] <= 4
        sandbox.app.set({"expired": False})
        sync(sandbox)
        assert stored(Match) == set(sandbox.app.truth()["player"]["match_ids"]) - fetches(
            FetchKind.MATCH, FetchState.MISSING
        )
        assert statistics(sandbox.player["puuid"]) == [pytest.approx(year) for year in expected_statistics(sandbox)]


def test_an_api_that_is_away_fails_the_run_and_no_match(league_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_LEAGUE__PATIENCE_SECONDS", "0.01")
    with riot(matches=40) as sandbox:
        answered = sandbox.app._answers.of

        def then_away(method: str, call: Any) -> Any:
            if method == IDS:
                sandbox.app.set({"error_rate": 1.0})
            return answered(method, call)

        monkeypatch.setattr(sandbox.app._answers, "of", then_away)
        with pytest.raises(RiotUnavailableError):
            sync(sandbox)
        assert len(fetches(FetchKind.MATCH, FetchState.PENDING)) == 40
        sandbox.app.set({"error_rate": 0.0})
        monkeypatch.setattr(sandbox.app._answers, "of", answered)
        assert sync(sandbox).standing.pending == 0


def test_without_a_key_the_error_says_where_to_put_one(league_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_LEAGUE__RIOT_API_BLOCK", "my-key")
    settings.cache_clear()
    with pytest.raises(
        RiotKeyMissingError, match=r"QUINTET_LEAGUE__RIOT_API_KEY.*riot-api/my-key.*quintet demo league"
    ):
        asyncio.run(sync_player_data.fn("Name", "TAG"))


async def test_tasks_inside_another_share_its_client(league_files: Path) -> None:
    with riot(matches=3):
        async with riot_client() as outer, riot_client() as inner:
            assert inner is outer
        async with riot_client() as later:
            assert later is not outer


def test_only_a_complete_listing_moves_the_watermark(league_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with riot(matches=130) as sandbox:
        pages = sandbox.app._answers.of

        def second_page_is_refused(method: str, call: Any) -> Any:
            if method == IDS:
                sandbox.app.set({"expired": True})
            return pages(method, call)

        monkeypatch.setattr(sandbox.app._answers, "of", second_page_is_refused)
        with pytest.raises(RiotKeyError):
            sync(sandbox)
        with session(DOMAIN, read_only=True) as opened:
            assert opened.exec(select(Listing)).all() == [] == opened.exec(select(Watermark)).all()
