"""Answers: every field is Riot's, every real payload can be read, and a wrong one is told by its field."""

import json
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
from pydantic import TypeAdapter, ValidationError

from blocks.patience import PassingError
from blocks.riot import answers
from blocks.riot.answers import RiotDto
from blocks.riot.errors import RiotAnswerError
from blocks.riot.shapes import read_answer
from blocks.riot.transport import Request
from tests.blocks.riot.stand_ins import DATA, PUUID, match_body, needs_data

REQUEST = Request("match-v5.getMatch of NA1_1 on americas", "americas", "match-v5.getMatch", "https://x", {})

#: Model -> Riot's name of it, where that is another.
SCHEMAS: dict[type[RiotDto], str] = {
    answers.AccountDto: "account-v1.AccountDto",
    answers.SummonerDto: "summoner-v4.SummonerDTO",
    answers.LeagueEntryDto: "league-v4.LeagueEntryDTO",
    answers.ChampionMasteryDto: "champion-mastery-v4.ChampionMasteryDto",
    answers.MetadataDto: "match-v5.MetadataDto",
    answers.PerkStyleDto: "match-v5.PerkStyleDto",
    answers.PerksDto: "match-v5.PerksDto",
    answers.ParticipantDto: "match-v5.ParticipantDto",
    answers.InfoDto: "match-v5.InfoDto",
    answers.MatchDto: "match-v5.MatchDto",
    answers.FramesTimeLineDto: "match-v5.FramesTimeLineDto",
    answers.InfoTimeLineDto: "match-v5.InfoTimeLineDto",
    answers.TimelineDto: "match-v5.TimelineDto",
    answers.StatusDto: "lol-status-v4.StatusDto",
    answers.PlatformDataDto: "lol-status-v4.PlatformDataDto",
}
_TYPES = {str: "string", int: "integer", bool: "boolean", float: "number"}


def _files(kind: str) -> list[Path]:
    return sorted((DATA / kind).glob("*.json")) if DATA.exists() else []


def _json_type(annotation: Any) -> str:
    if get_origin(annotation) in (Union, UnionType):
        (annotation,) = (one for one in get_args(annotation) if one is not type(None))
    if get_origin(annotation) in (tuple, list):
        return "array"
    return _TYPES.get(annotation, "object")


def test_every_model_is_compared() -> None:
    assert set(SCHEMAS) == set(RiotDto.__subclasses__())


@needs_data
@pytest.mark.parametrize("model", SCHEMAS, ids=lambda model: model.__name__)
def test_fields_are_riots(model: type[RiotDto]) -> None:
    schemas = json.loads((DATA / "openapi-3.0.0.min.json").read_text())["components"]["schemas"]
    schema = schemas[SCHEMAS[model]]
    for name, field in model.model_fields.items():
        theirs = field.alias or name
        described = schema["properties"][theirs]
        assert described.get("type", "object") == _json_type(field.annotation), theirs
        # What Riot may leave out must not be demanded.
        assert not field.is_required() or theirs in schema["required"], theirs


@needs_data
def test_the_type_of_an_event_is_riots() -> None:
    schemas = json.loads((DATA / "openapi-3.0.0.min.json").read_text())["components"]["schemas"]
    assert schemas["match-v5.EventsTimeLineDto"]["properties"]["type"]["type"] == "string"


@needs_data
@pytest.mark.parametrize("file", _files("match"), ids=lambda file: file.stem)
def test_real_matches(file: Path) -> None:
    raw = json.loads(file.read_bytes())
    match = answers.MATCH.validate_json(file.read_bytes())
    assert match.metadata.match_id == file.stem
    assert len(match.info.participants) == len(raw["info"]["participants"])
    for ours, theirs in zip(match.info.participants, raw["info"]["participants"], strict=True):
        told = ours.model_dump(by_alias=True, exclude_unset=True, exclude={"perks"})
        assert told == {name: theirs[name] for name in told}
        assert ours.perks is not None and ours.perks.styles is not None
        assert [style.style for style in ours.perks.styles] == [one["style"] for one in theirs["perks"]["styles"]]


@needs_data
@pytest.mark.parametrize("file", _files("timeline"), ids=lambda file: file.stem)
def test_real_timelines(file: Path) -> None:
    raw = json.loads(file.read_bytes())
    timeline = answers.TIMELINE.validate_json(file.read_bytes())
    assert timeline.metadata.match_id == file.stem
    assert timeline.info.frame_interval == raw["info"]["frameInterval"]
    assert [frame.timestamp for frame in timeline.info.frames] == [one["timestamp"] for one in raw["info"]["frames"]]
    assert timeline.event_count == sum(len(one["events"]) for one in raw["info"]["frames"])
    # What an event holds besides its type costs memory and nobody reads it here.
    assert all(event.keys() <= {"type"} for frame in timeline.info.frames for event in frame.events or ())


def test_what_a_later_year_adds_is_ignored() -> None:
    body = {**match_body(), "new": {"deep": [1]}}
    assert read_answer(REQUEST, answers.MATCH, json.dumps(body).encode()).metadata.match_id == "NA1_1"


def test_a_frame_without_participants() -> None:
    frame = {"timestamp": 0, "events": [{"type": "NEW_KIND", "x": 1}], "participantFrames": None}
    body = {"metadata": {"matchId": "NA1_1"}, "info": {"frameInterval": 0, "frames": [frame]}}
    assert read_answer(REQUEST, answers.TIMELINE, json.dumps(body).encode()).event_count == 1


def test_null_is_nothing_wherever_the_statistics_need_nothing() -> None:
    needed = {"championId", "win", "kills", "deaths", "assists"}
    player = {**dict.fromkeys(field.alias or "" for field in answers.ParticipantDto.model_fields.values()), "win": True}
    player |= dict.fromkeys(needed - {"win"}, 1)
    for none in ("goldEarned", "totalMinionsKilled", "neutralMinionsKilled", "totalDamageDealtToChampions"):
        del player[none]
    info = dict.fromkeys(field.alias or "" for field in answers.InfoDto.model_fields.values())
    body = {
        "metadata": {"matchId": "NA1_1", "dataVersion": None, "participants": None},
        "info": {**info, "participants": [player, {**player, "perks": {"styles": None}}]},
    }
    first, second = read_answer(REQUEST, answers.MATCH, json.dumps(body).encode()).info.participants
    assert (first.puuid, first.item0, first.perks, first.kills) == (None, None, None, 1)
    assert second.perks is not None and second.perks.styles is None
    frame = {"timestamp": 0, "events": None}
    timeline = {"metadata": {"matchId": "NA1_1"}, "info": {"frameInterval": None, "frames": [frame]}}
    assert read_answer(REQUEST, answers.TIMELINE, json.dumps(timeline).encode()).event_count == 0


def test_answers_cannot_be_changed() -> None:
    found = answers.ACCOUNT.validate_python({"puuid": PUUID})
    with pytest.raises(ValidationError):
        found.puuid = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("shape", "body", "field"),
    [
        (answers.MATCH, {}, "metadata"),
        (answers.MATCH, [], "all of it"),
        (answers.MATCH, {"metadata": {"matchId": "NA1_1"}, "info": {}}, "info.participants"),
        (
            answers.MATCH,
            {"metadata": {"matchId": "NA1_1"}, "info": {"participants": ["SECRET"]}},
            "info.participants.0",
        ),
        (answers.SUMMONER, {"puuid": "SECRET", "profileIconId": "SECRET"}, "profileIconId"),
        (answers.LEAGUE_ENTRIES, {"status": "SECRET"}, "all of it"),
        (answers.LEAGUE_ENTRIES, [{"puuid": "SECRET", "wins": "SECRET"}], "0.queueType"),
        (answers.MATCH_IDS, ["NA1_1", 5], "1: "),
        (answers.ACCOUNT, {"puuid": ""}, "puuid"),
        (answers.ACCOUNT, {"puuid": "../SECRET"}, "puuid"),
        (answers.ACCOUNT, {"puuid": "SECRET" * 1000}, "puuid"),
        (answers.ACCOUNT, {"puuid": "a", "gameName": "SECRET\0"}, "gameName"),
        (answers.SUMMONER, {"puuid": "a", "profileIconId": 2**31}, "profileIconId"),
        (answers.SUMMONER, {"puuid": "a", "profileIconId": 1, "revisionDate": 10**18}, "revisionDate"),
        (answers.CHAMPION_MASTERIES, [{"puuid": "a", "championId": -(10**20)}], "0.championId"),
        (answers.MATCH_IDS, None, "all of it"),
    ],
)
def test_a_wrong_shape_names_the_field_and_not_the_value(shape: TypeAdapter[Any], body: Any, field: str) -> None:
    with pytest.raises(RiotAnswerError) as caught:
        read_answer(REQUEST, shape, json.dumps(body).encode())
    assert field in str(caught.value) and REQUEST.name in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_many_wrong_fields_are_a_short_error() -> None:
    with pytest.raises(RiotAnswerError, match="and 97 more") as caught:
        read_answer(REQUEST, answers.MATCH_IDS, json.dumps([5] * 100).encode())
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html><body>Log in</body></html>", "no JSON but HTML"),
        (b"\xff\xfe", "no JSON"),
        (b"OK", "no JSON"),
        (b"[" * 10_000, "no JSON"),
    ],
)
def test_what_is_no_json(body: bytes, said: str) -> None:
    with pytest.raises(RiotAnswerError, match=said):
        read_answer(REQUEST, answers.MATCH, body)


@pytest.mark.parametrize("cut", [lambda body: b"", lambda body: body[:1], lambda body: body[:-1]])
def test_json_that_ends_early_may_pass(cut: Callable[[bytes], bytes]) -> None:
    with pytest.raises(PassingError) as caught:
        read_answer(REQUEST, answers.MATCH, cut(json.dumps(match_body()).encode()))
    assert isinstance(caught.value.final, RiotAnswerError)
