"""Answers have the form that Riot documents, whatever the kind and the year of a match."""

import gzip
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import orjson
import pytest

from deployments.sandbox.riot.application import Sandbox
from deployments.sandbox.riot.corpus_calendar import KINDS
from deployments.sandbox.riot.corpus_players import MAIN
from deployments.sandbox.riot.corpus_timelines import join_gzip
from deployments.sandbox.riot.endpoints import Answers, Call
from deployments.sandbox.riot.options import DEFAULT_KEY, REGION_OF, SandboxOptions
from tests.sandbox.riot.calls import Caller

SPECIFICATION = Path(__file__).parents[4] / "shared" / "data" / "riot" / "openapi-3.0.0.min.json"
with_specification = pytest.mark.skipif(
    not SPECIFICATION.exists(), reason="Riot's specification is not in ../shared/data/riot"
)
#: What every participant has had since match-v5 began.
PARTICIPANT = """
    puuid summonerId summonerName summonerLevel profileIcon participantId teamId win championId championName champLevel
    champExperience championTransform kills deaths assists doubleKills tripleKills quadraKills pentaKills unrealKills
    killingSprees largestKillingSpree largestMultiKill largestCriticalStrike firstBloodKill firstBloodAssist
    firstTowerKill firstTowerAssist goldEarned goldSpent item0 item1 item2 item3 item4 item5 item6 itemsPurchased
    consumablesPurchased individualPosition teamPosition role lane totalMinionsKilled neutralMinionsKilled
    totalDamageDealt totalDamageDealtToChampions totalDamageTaken totalDamageShieldedOnTeammates totalHeal
    totalHealsOnTeammates totalUnitsHealed totalTimeCCDealt totalTimeSpentDead magicDamageDealt
    magicDamageDealtToChampions magicDamageTaken physicalDamageDealt physicalDamageDealtToChampions physicalDamageTaken
    trueDamageDealt trueDamageDealtToChampions trueDamageTaken damageDealtToObjectives damageDealtToTurrets
    damageSelfMitigated baronKills dragonKills inhibitorKills nexusKills turretKills objectivesStolen
    objectivesStolenAssists visionScore visionWardsBoughtInGame sightWardsBoughtInGame detectorWardsPlaced wardsPlaced
    wardsKilled spell1Casts spell2Casts spell3Casts spell4Casts summoner1Id summoner1Casts summoner2Id summoner2Casts
    perks timeCCingOthers timePlayed longestTimeSpentLiving gameEndedInEarlySurrender gameEndedInSurrender
    teamEarlySurrendered
"""
INFO = """
    gameCreation gameDuration gameId gameMode gameName gameStartTimestamp gameType gameVersion mapId participants
    platformId queueId teams
"""


@cache
def sandbox() -> Sandbox:
    """Two of each kind and as many usual ones."""
    kinds = tuple(KINDS) * 2
    return Sandbox(SandboxOptions(matches=len(kinds) + 20, kinds=kinds, timeline_frames=3, players=200))


def bodies(resource: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything the main player took part in, by kind."""
    corpus = sandbox().corpus
    make = corpus.match if resource == "match" else corpus.timeline
    for outline in corpus.calendar.of(MAIN):
        yield outline.kind, orjson.loads(make(DEFAULT_KEY, outline).plain)


def of_schema(name: str) -> jsonschema.Draft202012Validator:
    """A validator of one of the specification's types that checks the size of whole numbers as well."""
    document = _specification()
    checker = jsonschema.FormatChecker(formats=())
    checker.checks("int32")(lambda value: not isinstance(value, int) or abs(value) < 2**31)
    checker.checks("int64")(lambda value: not isinstance(value, int) or abs(value) < 2**63)
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": document["components"]}, format_checker=checker
    )


@cache
def _specification() -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(SPECIFICATION.read_bytes())
    frames = document["components"]["schemas"]["match-v5.FramesTimeLineDto"]["properties"]["participantFrames"]
    # The specification has no word for it, yet Riot's timelines of games that never began say null here.
    frames["type"] = ["object", "null"]
    return document


@with_specification
@pytest.mark.parametrize(("resource", "name"), [("match", "match-v5.MatchDto"), ("timeline", "match-v5.TimelineDto")])
def test_matches_and_timelines_are_valid(resource: str, name: str) -> None:
    validator = of_schema(name)
    seen = [kind for kind, body in bodies(resource) if not validator.validate(body)]
    assert set(KINDS) <= set(seen)
    assert len(seen) >= 60


@with_specification
@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("account-v1.getByPuuid", "account-v1.AccountDto"),
        ("summoner-v4.getByPUUID", "summoner-v4.SummonerDTO"),
        ("league-v4.getLeagueEntriesByPUUID", "league-v4.LeagueEntryDTO"),
        ("champion-mastery-v4.getAllChampionMasteriesByPUUID", "champion-mastery-v4.ChampionMasteryDto"),
        ("lol-status-v4.getPlatformData", "lol-status-v4.PlatformDataDto"),
    ],
)
def test_everything_else_is_valid_for_everybody(method: str, name: str) -> None:
    here, validator, answers = sandbox(), of_schema(name), Answers(sandbox().corpus)
    for player in here.corpus.players.everyone[::7]:
        puuid = here.corpus.players.puuids(DEFAULT_KEY)[player.index]
        call = Call(DEFAULT_KEY, player.platform, {"puuid": puuid}, {}, here.options)
        value = orjson.loads(answers.of(method, call).plain)
        for each in value if isinstance(value, list) else [value]:
            validator.validate(each)


@with_specification
def test_the_list_below_is_riots() -> None:
    schemas = _specification()["components"]["schemas"]
    assert set(PARTICIPANT.split()) == set(schemas["match-v5.ParticipantDto"]["required"])
    assert set(INFO.split()) == set(schemas["match-v5.InfoDto"]["required"])


def test_no_required_field_is_absent() -> None:
    info, participant = set(INFO.split()), set(PARTICIPANT.split())
    assert len(participant) == 95
    for kind, body in bodies("match"):
        assert set(body) == {"metadata", "info"}
        assert not info - set(body["info"]), kind
        for each in body["info"]["participants"]:
            assert not participant - set(each), kind


def test_numbers_of_a_match_agree() -> None:
    for kind, match in bodies("match"):
        people = match["info"]["participants"]
        kills, deaths = (sum(each[name] for each in people) for name in ("kills", "deaths"))
        assert kills == deaths or kind.startswith("swarm")
        for each in people:
            share = each.get("challenges", {}).get("killParticipation", 0)
            assert 0 <= share <= 1
            assert each["totalDamageDealtToChampions"] >= 0


def test_a_timeline_belongs_to_its_match() -> None:
    for (kind, match), (_kind, timeline) in zip(bodies("match"), bodies("timeline"), strict=True):
        assert timeline["metadata"] == match["metadata"]
        events = [event for frame in timeline["info"]["frames"] for event in frame["events"]]
        assert events[-1]["type"] == "GAME_END"
        assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events), kind
        if kind == "empty":
            continue
        assert timeline["info"]["gameId"] == match["info"]["gameId"]
        people = [(each["participantId"], each["puuid"]) for each in match["info"]["participants"]]
        assert [(each["participantId"], each["puuid"]) for each in timeline["info"]["participants"]] == people
        for frame in timeline["info"]["frames"]:
            assert sorted(map(int, frame["participantFrames"])) == [number for number, _puuid in people]


def test_a_whole_timeline_has_a_frame_a_minute() -> None:
    corpus = Sandbox(SandboxOptions(matches=3)).corpus
    for outline in corpus.calendar.of(MAIN):
        body = corpus.timeline(DEFAULT_KEY, outline)
        assert gzip.decompress(body.gzipped) == body.plain
        frames = orjson.loads(body.plain)["info"]["frames"]
        assert len(frames) == outline.duration // 60_000 + 2
        assert [frame["timestamp"] // 60_000 for frame in frames[:-1]] == list(range(len(frames) - 1))


def test_parts_compressed_apart_make_one_stream() -> None:
    assert gzip.decompress(join_gzip([(b"one ", None), (b"two ", None), (b"three", None)])) == b"one two three"


async def test_others_on_other_platforms_can_be_asked_for_all_they_have() -> None:
    caller = Caller(sandbox())
    for platform, account in caller.accounts["elsewhere"].items():
        assert account["regional"] == REGION_OF[platform]
        listed = await caller.get(f"/{account['regional']}/lol/match/v5/matches/by-puuid/{account['puuid']}/ids")
        assert listed.json()
        match = await caller.get(f"/{account['regional']}/lol/match/v5/matches/{listed.json()[0]}")
        assert account["puuid"] in match.json()["metadata"]["participants"]
