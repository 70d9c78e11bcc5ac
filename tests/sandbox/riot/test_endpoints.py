"""What the endpoints answer, and how unforgiving they are."""

import pytest

from deployments.sandbox.riot.application import Sandbox
from deployments.sandbox.riot.options import SandboxOptions
from tests.sandbox.riot.calls import Caller

PLENTY = ((1_000_000, 1.0),)
OTHER_KEY = "RGAPI-another"
MATCHES = "/americas/lol/match/v5/matches"


@pytest.fixture
def caller() -> Caller:
    options = SandboxOptions(app=PLENTY, matches=130, timeline_frames=2, keys=("RGAPI-main", OTHER_KEY))
    return Caller(Sandbox(options))


async def test_an_account_is_found_whatever_the_case_and_on_any_account_route(caller: Caller) -> None:
    name, tag = caller.player["game_name"], caller.player["tag_line"]
    for route in ("americas", "asia", "europe"):
        answer = await caller.get(f"/{route}/riot/account/v1/accounts/by-riot-id/{name.upper()}/{tag.lower()}")
        assert answer.json() == {"puuid": caller.player["puuid"], "gameName": name, "tagLine": tag}
    by_puuid = await caller.get(f"/asia/riot/account/v1/accounts/by-puuid/{caller.player['puuid']}")
    assert by_puuid.json()["gameName"] == name


@pytest.mark.parametrize("route", ["sea", "na1", "nowhere"])
async def test_accounts_are_on_no_other_route(caller: Caller, route: str) -> None:
    answer = await caller.get(f"/{route}/riot/account/v1/accounts/by-puuid/{caller.player['puuid']}")
    assert (answer.status_code, answer.json()) == (403, {"status": {"message": "Forbidden", "status_code": 403}})


async def test_nobody_is_a_404_with_a_name_that_has_a_slash_too(caller: Caller) -> None:
    answer = await caller.get("/americas/riot/account/v1/accounts/by-riot-id/No%2Fbody/%23")
    assert answer.status_code == 404
    assert "No/body##" in answer.json()["status"]["message"]


async def test_puuids_are_78_characters_and_of_one_key(caller: Caller) -> None:
    mine = caller.player["puuid"]
    assert len(mine) == 78
    path = f"/europe/riot/account/v1/accounts/by-riot-id/{caller.player['game_name']}/{caller.player['tag_line']}"
    caller.key = OTHER_KEY
    theirs = (await caller.get(path)).json()["puuid"]
    assert theirs != mine
    for url in (
        f"{MATCHES}/by-puuid/{mine}/ids",
        f"/asia/riot/account/v1/accounts/by-puuid/{mine}",
        f"/na1/lol/summoner/v4/summoners/by-puuid/{mine}",
        f"/na1/lol/league/v4/entries/by-puuid/{mine}",
        f"/na1/lol/champion-mastery/v4/champion-masteries/by-puuid/{mine}",
    ):
        answer = await caller.get(url)
        assert answer.status_code == 400
        assert answer.json()["status"]["message"] == f"Bad Request - Exception decrypting {mine}"
    match_id = (await caller.get(f"{MATCHES}/by-puuid/{theirs}/ids")).json()[0]
    match = (await caller.get(f"{MATCHES}/{match_id}")).json()
    assert theirs in match["metadata"]["participants"]
    assert mine not in match["metadata"]["participants"]


async def test_summoner_ranked_entries_and_masteries_live_on_one_platform(caller: Caller) -> None:
    puuid = caller.player["puuid"]
    summoner = (await caller.get(f"/na1/lol/summoner/v4/summoners/by-puuid/{puuid}")).json()
    assert set(summoner) == {"puuid", "profileIconId", "revisionDate", "summonerLevel"}
    assert (await caller.get(f"/euw1/lol/summoner/v4/summoners/by-puuid/{puuid}")).status_code == 404
    entries = (await caller.get(f"/na1/lol/league/v4/entries/by-puuid/{puuid}")).json()
    assert [entry["queueType"] for entry in entries] == ["RANKED_SOLO_5x5", "RANKED_FLEX_SR", "CHERRY"]
    assert "tier" not in entries[-1]
    mastery = "/lol/champion-mastery/v4/champion-masteries/by-puuid"
    everything = (await caller.get(f"/na1{mastery}/{puuid}")).json()
    assert (await caller.get(f"/na1{mastery}/{puuid}/top")).json() == everything[:3]
    assert (await caller.get(f"/na1{mastery}/{puuid}/top", count=7)).json() == everything[:7]
    assert (await caller.get(f"/kr{mastery}/{puuid}")).json() == []
    idle = caller.accounts["idle"]["puuid"]
    assert (await caller.get(f"/na1/lol/league/v4/entries/by-puuid/{idle}")).json() == []
    assert (await caller.get(f"{MATCHES}/by-puuid/{idle}/ids")).json() == []


async def test_ids_come_newest_first_in_pages(caller: Caller) -> None:
    everything = (await caller.truth())["player"]["match_ids"]
    assert len(everything) == 130
    assert await caller.ids() == everything[:20]
    assert await caller.ids(count=100) == everything[:100]
    assert await caller.ids(count=100, start=100) == everything[100:]
    assert await caller.ids(start=130) == []
    assert await caller.ids(count=0) == []


async def test_ids_by_time_are_in_seconds_and_milliseconds_find_nothing(caller: Caller) -> None:
    played = (await caller.truth())["player"]["matches"]
    start = caller.sandbox.corpus.calendar.by_id[played[40]["match_id"]].start
    seconds = start // 1000
    since = await caller.ids(startTime=seconds, count=100)
    assert since[-1] in (played[40]["match_id"], played[39]["match_id"])
    assert len(await caller.ids(startTime=seconds + 1, count=100)) == 40
    assert len(await caller.ids(endTime=seconds - 1, count=100)) == 130 - 41
    assert await caller.ids(startTime=start) == []
    await caller.tell("/__set", ignore_start_time=True)
    assert len(await caller.ids(startTime=start)) == 20


async def test_ids_by_queue_and_type(caller: Caller) -> None:
    queues = {match["match_id"]: match["queue_id"] for match in (await caller.truth())["player"]["matches"]}
    ranked = await caller.ids(type="ranked", count=100)
    # An aborted game says queue 0 of itself, and is listed as what it was to be.
    assert {queues[match_id] for match_id in ranked} == {420, 440, 0}
    assert {queues[match_id] for match_id in await caller.ids(queue=450, count=100)} == {450}
    assert await caller.ids(queue=450, type="ranked") == []
    assert await caller.ids(type="tourney") == []
    assert set(ranked).isdisjoint(await caller.ids(type="normal", count=100))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 101),
        ("count", -1),
        ("count", "ten"),
        ("start", -1),
        ("startTime", "2024-01-01"),
        ("startTime", 1.5),
        ("endTime", ""),
        ("queue", "solo"),
        ("type", "RANKED"),
    ],
)
async def test_values_that_are_none_are_a_400(caller: Caller, name: str, value: object) -> None:
    answer = await caller.get(f"{MATCHES}/by-puuid/{caller.player['puuid']}/ids", **{name: value})
    assert answer.status_code == 400
    assert answer.json()["status"]["message"] == f"Bad Request - Invalid value for {name}"


async def test_unknown_parameters_are_ignored_as_at_riot(caller: Caller) -> None:
    assert await caller.ids(beginTime=99_999_999_999) == await caller.ids()


async def test_a_match_is_on_its_own_route_only(caller: Caller) -> None:
    match_id = next(m["match_id"] for m in (await caller.truth())["player"]["matches"] if m["match"] == "here")
    assert (await caller.get(f"{MATCHES}/{match_id}")).json()["metadata"]["matchId"] == match_id
    for path in (f"/europe/lol/match/v5/matches/{match_id}", f"{MATCHES}/{match_id.lower()}", f"{MATCHES}/NA1_1"):
        answer = await caller.get(path)
        assert answer.status_code == 404
        assert answer.json() == {"status": {"message": "Data not found - match file not found", "status_code": 404}}
    assert (await caller.get(f"{MATCHES}/nonsense")).status_code == 400


async def test_a_player_has_no_matches_on_another_region(caller: Caller) -> None:
    answer = await caller.get(f"/asia/lol/match/v5/matches/by-puuid/{caller.player['puuid']}/ids")
    assert (answer.status_code, answer.json()) == (200, [])


async def test_missing_and_late_matches(caller: Caller) -> None:
    matches = (await caller.truth())["player"]["matches"]
    missing = next(match["match_id"] for match in matches if match["match"] == "missing")
    silent = next(match["match_id"] for match in matches if match["timeline"] == "missing")
    late = next(match["match_id"] for match in matches if match["match"] == "late-still")

    async def statuses(match_id: str) -> tuple[int, int]:
        match, timeline = await caller.get(f"{MATCHES}/{match_id}"), await caller.get(f"{MATCHES}/{match_id}/timeline")
        return match.status_code, timeline.status_code

    assert [await statuses(missing) for _ in range(3)] == [(404, 200)] * 3
    assert [await statuses(silent) for _ in range(2)] == [(200, 404)] * 2
    assert [await statuses(late) for _ in range(3)] == [(404, 404), (200, 200), (200, 200)]
    truth = (await caller.truth())["player"]
    assert late in truth["late"]
    assert late not in truth["late_still"]
    await caller.tell("/__reset")
    assert await statuses(late) == (404, 404)


async def test_the_platform_tells_its_state(caller: Caller) -> None:
    assert (await caller.get("/oc1/lol/status/v4/platform-data")).json()["id"] == "OC1"
    assert (await caller.get("/americas/lol/status/v4/platform-data")).status_code == 403


async def test_playing_adds_the_newest(caller: Caller) -> None:
    before = await caller.ids()
    played = (await caller.tell("/__play", n=3))["match_ids"]
    assert await caller.ids() == [*played, *before[:17]]
    assert len((await caller.truth())["player"]["match_ids"]) == 133
    assert (await caller.get(f"{MATCHES}/{played[0]}")).status_code == 200
    later = (await caller.tell("/__play", n=1, at=2_000_000_000_000))["match_ids"][0]
    assert (await caller.get(f"{MATCHES}/{later}")).json()["info"]["gameStartTimestamp"] == 2_000_000_000_000


async def test_old_games_may_turn_up_late_in_lists(caller: Caller) -> None:
    before = (await caller.truth())["player"]
    third = caller.sandbox.corpus.calendar.by_id[before["match_ids"][2]].start
    late = (await caller.tell("/__play", n=1, at=third + 1000))["match_ids"]
    ids = (await caller.truth())["player"]["match_ids"]
    assert ids == [*before["match_ids"][:2], *late, *before["match_ids"][2:]]
    assert await caller.ids() == ids[:20]


async def test_a_new_name_holds_from_then_on(caller: Caller) -> None:
    old = caller.player
    match_id = (await caller.ids())[0]
    before = (await caller.get(f"{MATCHES}/{match_id}")).content
    renamed = await caller.tell("/__rename", game_name="Other", tag_line="EUW")
    assert renamed == {**old, "game_name": "Other", "tag_line": "EUW"}
    path = "/americas/riot/account/v1/accounts/by-riot-id"
    assert (await caller.get(f"{path}/{old['game_name']}/{old['tag_line']}")).status_code == 404
    assert (await caller.get(f"{path}/other/euw")).json()["puuid"] == old["puuid"]
    assert (await caller.get(f"{MATCHES}/{match_id}")).content == before
    played = (await caller.tell("/__play", riot_id="Other#EUW"))["match_ids"][0]
    match = (await caller.get(f"{MATCHES}/{played}")).json()
    mine = next(each for each in match["info"]["participants"] if each["puuid"] == old["puuid"])
    assert (mine["riotIdGameName"], mine["riotIdTagline"]) == ("Other", "EUW")
