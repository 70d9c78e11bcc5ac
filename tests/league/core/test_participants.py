"""What the API answered becomes rows, whatever the game's version, the platform and the machine's time zone."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.riot.routes import PLATFORMS, regional_of
from tasks.league.core.participants import (
    UnreadablePayloadError,
    moment_of,
    read_match,
    read_timeline,
    split_match_id,
)
from tasks.league.core.regions import REGIONAL_OF_PLATFORM
from tests.league.payloads import MIDSUMMER, match, match_body, participant, timeline_body

#: The last second of 2023 and the first of 2024, UTC.
NEW_YEAR = 1_704_067_200_000


@pytest.fixture(params=["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def time_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def test_the_year_is_utc_in_every_time_zone(time_zone: str) -> None:
    years = [
        read_match(match_body(gameStartTimestamp=started, gameCreation=0)).match["year"]
        for started in (NEW_YEAR - 1, NEW_YEAR)
    ]
    assert years == [2023, 2024]
    assert moment_of(NEW_YEAR) == datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("started", "created", "year"),
    [
        (NEW_YEAR, NEW_YEAR - 60_000, 2024),
        (0, NEW_YEAR - 60_000, 2023),
        (None, NEW_YEAR, 2024),
        (0, 0, None),
        (None, None, None),
    ],
)
def test_a_game_belongs_to_the_year_it_began_in(started: int | None, created: int | None, year: int | None) -> None:
    rows = read_match(match_body(gameStartTimestamp=started, gameCreation=created))
    assert rows.match["year"] == year
    assert rows.match["game_start"] == (moment_of(started) if started else None)


@pytest.mark.parametrize(("ended", "told", "seconds"), [(MIDSUMMER, 1800, 1800), (None, 1_800_999, 1800)])
def test_the_duration_is_in_seconds_only_since_games_have_an_end(ended: int | None, told: int, seconds: int) -> None:
    rows = read_match(match_body(gameEndTimestamp=ended, gameDuration=told))
    assert rows.match["game_duration"] == seconds


@pytest.mark.parametrize(
    ("given_numbers", "numbers"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([3, 1, 2], [3, 1, 2]),
        ([0, 0, 0], [1, 2, 3]),
        ([1, 1, 2], [1, 2, 3]),
        ([None, None, None], [1, 2, 3]),
        ([1, None, 2], [1, 2, 3]),
        ([-1, 1, 2], [1, 2, 3]),
    ],
)
def test_participants_are_numbered_even_where_riot_does_not(
    given_numbers: list[int | None], numbers: list[int]
) -> None:
    players = [participant(place, participantId=number) for place, number in enumerate(given_numbers, 1)]
    rows = read_match(match_body("NA1_1", *players))
    assert [row["participant_id"] for row in rows.participants] == numbers
    assert [row["champion_id"] for row in rows.participants] == [101, 102, 103]


@pytest.mark.parametrize(
    ("told", "name", "tag", "known"),
    [
        ({}, "Name 1", "TAG", ("Name 1", "TAG")),
        ({"riotIdGameName": None, "riotIdName": "Older"}, "Older", "TAG", ("Older", "TAG")),
        ({"riotIdGameName": None, "riotIdTagline": None}, "Summoner 1", None, (None, None)),
        ({"riotIdGameName": "", "riotIdTagline": ""}, "Summoner 1", None, (None, None)),
        ({"riotIdGameName": "", "riotIdTagline": "TAG"}, "Summoner 1", None, (None, None)),
        ({"riotIdTagline": ""}, "Name 1", None, (None, None)),
        ({"riotIdGameName": "", "summonerName": ""}, None, None, (None, None)),
    ],
)
def test_a_name_is_a_riot_id_only_with_a_tagline(
    told: dict[str, Any], name: str | None, tag: str | None, known: tuple[str | None, str | None]
) -> None:
    rows = read_match(match_body("NA1_1", participant(1, **told)))
    assert (rows.participants[0]["riot_id_game_name"], rows.participants[0]["riot_id_tagline"]) == (name, tag)
    assert (rows.sightings[0].game_name, rows.sightings[0].tag_line) == known


def test_bots_are_rows_and_nobody() -> None:
    told = match("NA1_1", participant(1), participant(2, puuid="BOT"), participant(3, puuid=""), participant(4))
    told["info"]["participants"] += [participant(5, puuid=None)]
    told["info"]["participants"][3]["puuid"] = None
    rows = read_match(json.dumps(told).encode())
    assert [row["puuid"] for row in rows.participants[1:]] == ["BOT"] * 4
    assert rows.puuids == (participant(1)["puuid"],)


def _with_points(told: Any) -> Any:
    """The same, with every whole number written as 3.0."""
    if isinstance(told, dict):
        return {name: _with_points(value) for name, value in told.items()}
    if isinstance(told, list):
        return [_with_points(value) for value in told]
    return float(told) if type(told) is int else told


def test_a_whole_number_may_be_written_with_a_point() -> None:
    told, timeline = match(), json.loads(timeline_body())
    assert b"1.0" in json.dumps(_with_points(told)).encode()
    assert read_match(json.dumps(_with_points(told)).encode()) == read_match(json.dumps(told).encode())
    assert read_timeline(json.dumps(_with_points(timeline)).encode()) == read_timeline(json.dumps(timeline).encode())


def test_what_old_games_lack_is_empty() -> None:
    bare = ("puuid", "championId", "win", "kills", "deaths", "assists", "goldEarned", "totalMinionsKilled")
    needed = {*bare, "neutralMinionsKilled", "totalDamageDealtToChampions"}
    full = participant(1)
    old = {name: value for name, value in full.items() if name in needed}
    told = {"metadata": {"matchId": "KR_7"}, "info": {"participants": [old], "somethingNew": {"deep": [1]}}}
    rows = read_match(json.dumps(told).encode())
    (row,) = rows.participants
    assert (row["role"], row["lane"], row["team_position"], row["primary_style"], row["item6"]) == ("", "", "", None, 0)
    assert (row["kills"], row["gold_earned"], row["participant_id"]) == (1, 10_001, 1)
    assert (rows.match["platform"], rows.match["regional"], rows.match["game_id"]) == ("kr", "asia", 7)


@pytest.mark.parametrize(
    ("perks", "styles"),
    [
        (None, (None, None)),
        ({}, (None, None)),
        ({"styles": []}, (None, None)),
        ({"styles": [{"style": 8000}]}, (8000, None)),
        ({"styles": [{"style": 8000}, {"style": 8100}, {"style": 8200}]}, (8000, 8100)),
        (
            {"styles": [{"description": "subStyle", "style": 8100}, {"description": "primaryStyle", "style": 8000}]},
            (8000, 8100),
        ),
    ],
)
def test_rune_styles_are_told_by_name_else_by_place(perks: Any, styles: tuple[int | None, int | None]) -> None:
    (row,) = read_match(match_body("NA1_1", participant(1, perks=perks))).participants
    assert (row["primary_style"], row["sub_style"]) == styles


def _with(path: str, value: Any) -> bytes:
    told = match("NA1_1", participant(1), participant(2))
    *parents, last = path.split("/")
    place: Any = told
    for name in parents:
        place = place[int(name)] if isinstance(place, list) else place[name]
    place[last] = value
    return json.dumps(told).encode()


_SECRET = "a-very-private-value"


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("info", [], "info:"),
        ("info", _SECRET, "info:"),
        ("metadata", {}, "metadata.matchId:"),
        ("metadata/matchId", _SECRET, "metadata.matchId:"),
        ("metadata/matchId", "NA1_1\n", "metadata.matchId:"),
        ("metadata/matchId", "na1_1", "metadata.matchId:"),
        ("metadata/matchId", "NA1_" + "9" * 19, "metadata.matchId:"),
        ("info/participants", {}, "info.participants:"),
        ("info/participants", [participant(1)] * 65, "info.participants:"),
        ("info/participants/1/kills", None, "info.participants[1].kills:"),
        ("info/participants/1/kills", "7", "info.participants[1].kills:"),
        ("info/participants/1/kills", -1, "info.participants[1].kills:"),
        ("info/participants/1/kills", 1.5, "info.participants[1].kills:"),
        ("info/participants/1/kills", float("inf"), "info.participants[1].kills:"),
        ("info/participants/1/goldEarned", 1e300, "info.participants[1].goldEarned:"),
        ("info/participants/1/kills", True, "info.participants[1].kills:"),
        ("info/participants/1/goldEarned", 2**31, "info.participants[1].goldEarned:"),
        ("info/participants/1/championId", 10**400, "info.participants[1].championId:"),
        ("info/participants/0/win", "true", "info.participants[0].win:"),
        ("info/participants/0/win", 1, "info.participants[0].win:"),
        ("info/participants/0/puuid", "x" * 129, "info.participants[0].puuid:"),
        ("info/participants/0/puuid", "' OR 1 --", "info.participants[0].puuid:"),
        ("info/participants/0/riotIdGameName", _SECRET * 10, "info.participants[0].riotIdGameName:"),
        ("info/participants/0/lane", ["TOP"], "info.participants[0].lane:"),
        ("info/participants/0/perks", [], "info.participants[0].perks:"),
        ("info/gameStartTimestamp", 10**15, "info.gameStartTimestamp:"),
        ("info/gameStartTimestamp", -1, "info.gameStartTimestamp:"),
        ("info/gameCreation", float("nan"), "info.gameCreation:"),
        ("info/queueId", 2**31, "info.queueId:"),
        ("info/gameVersion", "1." * 40, "info.gameVersion:"),
    ],
)
def test_what_is_no_match_is_refused_by_the_field_and_not_its_value(path: str, value: Any, field: str) -> None:
    with pytest.raises(UnreadablePayloadError) as caught:
        read_match(_with(path, value))
    assert str(caught.value).startswith(field)
    assert _SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"<html>502 Bad Gateway</html>",
        b'{"status":{"message":"Not found","status_code":404}}',
        b"\xff\xfe",
        match_body()[:-1],
        b"[" * 100_000,
        b'{"a":' * 100_000,
        match_body().replace(b"Name 1", b"\\ud800"),
    ],
)
def test_what_is_not_json_or_no_object_is_refused(body: bytes) -> None:
    for read in (read_match, read_timeline):
        with pytest.raises(UnreadablePayloadError):
            read(body)


def test_another_match_than_was_asked_for_is_refused() -> None:
    assert read_match(match_body("NA1_1"), asked="NA1_1").match_id == "NA1_1"
    with pytest.raises(UnreadablePayloadError, match=r"metadata\.matchId: not that of NA1_2"):
        read_match(match_body("NA1_1"), asked="NA1_2")
    with pytest.raises(UnreadablePayloadError, match=r"metadata\.matchId: not that of NA1_2"):
        read_timeline(timeline_body("NA1_1"), asked="NA1_2")


def test_a_nul_character_is_replaced() -> None:
    rows = read_match(match_body("NA1_1", participant(1, riotIdGameName="a\x00b", lane="\x00"), gameMode="C\x00"))
    texts = [value for row in [rows.match, *rows.participants] for value in row.values() if isinstance(value, str)]
    assert "a\N{REPLACEMENT CHARACTER}b" in texts
    assert not any("\x00" in text for text in texts)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (timeline_body(), (60_000, 3, 12, "GameComplete")),
        (timeline_body(frames=0), (60_000, 0, 0, "GameComplete")),
        (timeline_body(frameInterval=0, frames=1, events=1, endOfGameResult="Abort"), (0, 1, 1, "Abort")),
        (timeline_body(frames=1, frameInterval=None, endOfGameResult=None), (0, 1, 4, None)),
    ],
)
def test_a_timeline_is_counted(body: bytes, told: tuple[Any, ...]) -> None:
    row = read_timeline(body)
    assert (row["frame_interval"], row["frame_count"], row["event_count"], row["end_of_game_result"]) == told
    assert row["data_version"] == "2"


def test_a_timeline_without_frames_is_refused() -> None:
    told = json.loads(timeline_body())
    del told["info"]["frames"]
    with pytest.raises(UnreadablePayloadError, match=r"info\.frames"):
        read_timeline(json.dumps(told).encode())


def test_match_ids_tell_the_platform() -> None:
    assert split_match_id("EUW1_6834713231") == ("euw1", 6834713231)
    for wrong in ("", "EUW1", "EUW1_", "_1", "EUW1_1_2", "EUW1-1", "EUW1_1 ", "EUW1_٣"):
        with pytest.raises(ValueError, match="not a match id"):
            split_match_id(wrong)


def test_the_table_of_regions_is_the_clients() -> None:
    assert {platform: regional_of(platform) for platform in PLATFORMS} == REGIONAL_OF_PLATFORM


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(
    field=st.sampled_from(sorted(participant(1))), value=_JSON, level=st.sampled_from(["participant", "info", "top"])
)
def test_anything_in_any_field_is_read_or_refused(field: str, value: Any, level: str) -> None:
    told = match("NA1_1", participant(1))
    if level == "participant":
        told["info"]["participants"][0][field] = value
    elif level == "info":
        told["info"][sorted(told["info"])[len(field) % len(told["info"])]] = value
    else:
        told[["info", "metadata"][len(field) % 2]] = value
    try:
        rows = read_match(json.dumps(told).encode())
    except UnreadablePayloadError:
        return
    for row in [rows.match, *rows.participants]:
        for name, stored in row.items():
            assert not (isinstance(stored, str) and "\x00" in stored)
            assert not (isinstance(stored, int) and name != "game_id" and not -(2**31) <= stored < 2**31)
