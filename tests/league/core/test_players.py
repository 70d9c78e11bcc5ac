"""Players who were asked for, and how they are found again."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import select

from blocks.engine import session
from tasks.league.core import players
from tasks.league.core.tables import ChampionMastery, RankedEntry, Summoner
from tests.league.core.ledgers import NOW, store
from tests.league.payloads import MIDSUMMER, match_body, participant, puuid

ME = puuid(1)


def _ask(opened: Any, name: str | None = "Me", tag: str | None = "TAG", **changed: Any) -> None:
    given: dict[str, Any] = {"puuid": ME, "platform": "NA1", "now": NOW} | changed
    players.upsert_player(opened, game_name=name, tag_line=tag, **given)


def _stored(who: str = ME) -> Summoner:
    with session("league", read_only=True) as opened:
        return opened.get_one(Summoner, who)


def test_a_player_is_tracked_once_asked_for_and_keeps_what_is_not_told_again(league_ledger: str) -> None:
    store(match_body("EUW1_1", participant(1)))
    assert not _stored().tracked
    with session("league") as opened:
        _ask(opened, profile_icon_id=5, summoner_level=300, revision_date=NOW)
    with session("league") as opened:
        _ask(opened, None, None, summoner_level=301, now=NOW + timedelta(days=1))
        players.mark_synced(opened, ME, now=NOW)
    player = _stored()
    assert (player.game_name, player.tag_line, player.named_at, player.platform) == ("Me", "TAG", NOW, "na1")
    assert (player.profile_icon_id, player.summoner_level, player.revision_date) == (5, 301, NOW)
    assert (player.tracked, player.synced_at) == (True, NOW)


def test_a_game_after_the_account_was_fetched_tells_a_newer_name_and_none_before(league_ledger: str) -> None:
    fetched = datetime.fromtimestamp(MIDSUMMER / 1000, NOW.tzinfo)
    before, after = fetched - timedelta(hours=1), fetched + timedelta(hours=1)
    with session("league") as opened:
        _ask(opened, now=after)
    store(match_body("EUW1_1", participant(1, riotIdGameName="Former")))
    assert (_stored().game_name, _stored().platform) == ("Me", "na1")
    with session("league") as opened:
        _ask(opened, "Changed", "NEW", now=after)
    assert _stored().game_name == "Changed"
    store(match_body("KR_2", participant(2, riotIdGameName="Newer")))
    with session("league") as opened:
        _ask(opened, "Older", "OLD", puuid=puuid(2), now=before)
    assert (_stored(puuid(2)).game_name, _stored(puuid(2)).platform) == ("Newer", "kr")
    assert _stored(puuid(2)).tracked


def test_a_riot_id_is_found_in_any_case_and_the_last_who_had_it(league_ledger: str) -> None:
    with session("league") as opened:
        _ask(opened, "Straße Ölig", "EUW")
        _ask(opened, "Me", "TAG", puuid=puuid(2), now=NOW - timedelta(days=9))
        _ask(opened, "Me", "TAG", puuid=puuid(3))
        _ask(opened, "Me", "tag", puuid=puuid(4), now=NOW - timedelta(days=1))

    def find(name: str, tag: str) -> str | None:
        with session("league", read_only=True) as opened:
            found = players.find_player(opened, name, tag)
        return found.puuid if found else None

    assert find("straße öLIG", "euw") == find("STRASSEÖLIG", "EUW") == ME
    assert find("Me", "TAG") == puuid(3)
    assert find("Me", "tag") == puuid(4)
    assert find("me", "Tag") == puuid(3)
    assert find("Me", "T") is find("", "") is None


def _entry(queue: str, points: int, who: str = ME) -> RankedEntry:
    flags: dict[str, Any] = {"hot_streak": False, "veteran": False, "fresh_blood": True, "inactive": False}
    return RankedEntry(puuid=who, queue_type=queue, tier="GOLD", league_points=points, wins=1, losses=2, **flags)


def _mastery(champion: int, points: int) -> ChampionMastery:
    return ChampionMastery(puuid=ME, champion_id=champion, champion_level=1, champion_points=points)


def test_standing_and_masteries_are_as_of_the_last_sync(league_ledger: str) -> None:
    with session("league") as opened:
        _ask(opened)
        assert players.replace_ranked_entries(opened, ME, [_entry("SOLO", 1), _entry("FLEX", 2)]) == 2
        assert players.replace_masteries(opened, ME, [_mastery(champion, 10) for champion in range(170)]) == 170
    with session("league") as opened:
        players.replace_ranked_entries(opened, ME, [_entry("SOLO", 5)])
        players.replace_masteries(opened, ME, [_mastery(3, 2**40), _mastery(500, 1)])
        with pytest.raises(ValueError, match="another player"):
            players.replace_ranked_entries(opened, ME, [_entry("SOLO", 5, puuid(2))])
    with session("league", read_only=True) as opened:
        assert [(row.queue_type, row.league_points) for row in opened.exec(select(RankedEntry))] == [("SOLO", 5)]
        masteries = opened.exec(select(ChampionMastery).order_by(ChampionMastery.champion_id)).all()  # type: ignore[arg-type]
        assert [(row.champion_id, row.champion_points) for row in masteries] == [(3, 2**40), (500, 1)]
    with session("league") as opened:
        assert players.replace_ranked_entries(opened, ME, []) == 0
        assert opened.exec(select(RankedEntry)).all() == []


def test_only_a_stored_player_is_synced(league_ledger: str) -> None:
    with session("league") as opened, pytest.raises(LookupError) as caught:
        players.mark_synced(opened, ME, now=NOW)
    assert ME not in str(caught.value)
