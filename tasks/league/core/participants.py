"""Reads what the API answered for a match or a timeline into rows, from matches of 2021 to those of today.

Fields come and go with the game's versions: what is not needed is not looked at, and what only some versions have may
be absent. What the statistics are made of must be there and be what it claims to be, else the whole payload is refused
by an error that names the field, never its value.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from tasks.league.core.regions import regional_of
from tasks.league.core.tables import BOT_PUUID, DERIVATION

#: A platform and a number: NA1_5018382378, ESPORTSTMNT01_2004871.
MATCH_ID = re.compile(r"([A-Z][A-Z0-9]{1,15})_([0-9]{1,15})")
_PUUID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class UnreadablePayloadError(ValueError):
    """What the API answered is no match or timeline that can be read; says which field, and never its value."""


class _Wire(BaseModel):
    # Strict: a number in quotes is not what Riot sends, and reading it as a number would hide that.
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", strict=True, hide_input_in_errors=True)


_Int32 = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
#: Thousands of times what a game has ever seen, and far enough from what a year's sum may be.
_Count = Annotated[int, Field(ge=0, le=1_000_000)]
#: Milliseconds since 1970, until the year 2100: a later game would be the newest for ever, and no plot reaches so far.
_Moment = Annotated[int, Field(ge=0, lt=4_102_444_800_000)]
_Name = Annotated[str, Field(max_length=100)]
_Text64 = Annotated[str, Field(max_length=64)]
_Text32 = Annotated[str, Field(max_length=32)]
_Text16 = Annotated[str, Field(max_length=16)]


class _Metadata(_Wire):
    data_version: _Text16 | None = None
    match_id: str


class _Style(_Wire):
    description: str | None = None
    style: _Int32 | None = None


class _Perks(_Wire):
    styles: list[_Style] | None = None


class _Participant(_Wire):
    participant_id: _Int32 | None = None
    #: Without one, as a bot: a row that is nobody's.
    puuid: str | None = None
    riot_id_game_name: _Name | None = None
    #: What `riotIdGameName` was called in 2023.
    riot_id_name: _Name | None = None
    riot_id_tagline: _Text32 | None = None
    summoner_name: _Name | None = None
    team_id: _Int32 | None = None
    player_subteam_id: _Int32 | None = None
    placement: _Int32 | None = None
    champion_id: _Int32
    champion_name: _Text64 | None = None
    champ_level: _Int32 | None = None
    individual_position: _Text32 | None = None
    team_position: _Text32 | None = None
    role: _Text32 | None = None
    lane: _Text32 | None = None
    win: bool
    game_ended_in_early_surrender: bool | None = None
    kills: _Count
    deaths: _Count
    assists: _Count
    gold_earned: _Int32
    total_minions_killed: _Count
    neutral_minions_killed: _Count
    total_damage_dealt_to_champions: _Int32
    vision_score: _Int32 | None = None
    time_played: _Int32 | None = None
    item0: _Int32 | None = None
    item1: _Int32 | None = None
    item2: _Int32 | None = None
    item3: _Int32 | None = None
    item4: _Int32 | None = None
    item5: _Int32 | None = None
    item6: _Int32 | None = None
    summoner1_id: _Int32 | None = None
    summoner2_id: _Int32 | None = None
    perks: _Perks | None = None


class _Info(_Wire):
    end_of_game_result: _Text64 | None = None
    game_creation: _Moment | None = None
    game_start_timestamp: _Moment | None = None
    game_end_timestamp: _Moment | None = None
    game_duration: Annotated[int, Field(ge=0, le=2**31 * 1000)] | None = None
    game_mode: _Text64 | None = None
    game_type: _Text64 | None = None
    game_version: _Text64 | None = None
    map_id: _Int32 | None = None
    queue_id: _Int32 | None = None
    # Arena has 16, and no mode more; this only keeps a hostile answer small.
    participants: Annotated[list[_Participant], Field(max_length=64)]


class _Match(_Wire):
    metadata: _Metadata
    info: _Info


class _Event(_Wire):
    """Counted, not read."""


class _Frame(_Wire):
    events: list[_Event] | None = None


class _TimelineInfo(_Wire):
    end_of_game_result: _Text64 | None = None
    frame_interval: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    frames: list[_Frame]


class _Timeline(_Wire):
    metadata: _Metadata
    info: _TimelineInfo


_Payload = TypeVar("_Payload", _Match, _Timeline)


@dataclass(frozen=True)
class Sighting:
    """What one game tells of one player: where he was seen, and as whom."""

    puuid: str
    platform: str
    #: When the game began, as far as that is known.
    seen: datetime | None
    #: None unless the game tells a whole Riot ID.
    game_name: str | None
    tag_line: str | None


@dataclass(frozen=True)
class MatchRows:
    """The rows of one match, by column."""

    match: dict[str, Any]
    participants: list[dict[str, Any]]
    sightings: list[Sighting]

    @property
    def match_id(self) -> str:
        """Riot's matchId."""
        return str(self.match["match_id"])

    @property
    def puuids(self) -> tuple[str, ...]:
        """The players, without bots, in order."""
        return tuple(sighting.puuid for sighting in self.sightings)


def split_match_id(match_id: str) -> tuple[str, int]:
    """The platform, lower case, and the game's number.

    Raises:
        ValueError: it is no match id.
    """
    found = MATCH_ID.fullmatch(match_id)
    if found is None:
        raise ValueError("not a match id: expected a platform and a number, as in NA1_5018382378")
    return found[1].lower(), int(found[2])


def moment_of(milliseconds: int | None) -> datetime | None:
    """The UTC moment of a Riot timestamp; None for 0, which Riot writes where there is none."""
    return _EPOCH + timedelta(milliseconds=milliseconds) if milliseconds else None


def _reason(error: ValidationError) -> str:
    """The first fault and how many more there are, without any value."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    # The words on broken JSON tell the position only; those on a value name the rule it breaks.
    said = f"{where}: {first['msg']}" if where else first["msg"]
    more = error.error_count() - 1
    return f"{said} (and {more} more)" if more else said


def _number(text: str) -> float | int:
    number = float(text)
    return int(number) if number.is_integer() else number


def _read(shape: type[_Payload], body: bytes) -> _Payload:
    try:
        try:
            return shape.model_validate_json(body)
        except ValidationError as error:
            if all(fault["type"] != "int_type" for fault in error.errors(include_url=False, include_input=False)):
                raise
            # JSON knows one kind of numbers: 3.0 is the integer 3, for Riot's schema too. Only here, since it takes
            # thrice as long.
            return shape.model_validate(json.loads(body, parse_float=_number))
    except ValidationError as error:
        raise UnreadablePayloadError(_reason(error)) from None


def _same_match(said: str, asked: str | None) -> str:
    if MATCH_ID.fullmatch(said) is None:
        raise UnreadablePayloadError("metadata.matchId: not a match id")
    if asked is not None and said != asked:
        raise UnreadablePayloadError(f"metadata.matchId: not that of {asked}, which was asked for")
    return said


def _text(value: str | None) -> str:
    # PostgreSQL has no NUL in text; nothing of Riot's means it.
    return value.replace("\x00", "\N{REPLACEMENT CHARACTER}") if value else ""


def _puuid(participant: _Participant, place: int) -> str:
    if not participant.puuid or participant.puuid == BOT_PUUID:
        return BOT_PUUID
    if _PUUID.fullmatch(participant.puuid) is None:
        raise UnreadablePayloadError(f"info.participants[{place}].puuid: not a puuid")
    return participant.puuid


def _numbers(participants: list[_Participant]) -> list[int]:
    """Riot's participant numbers, or the places in the list where those cannot be told apart."""
    given = [participant.participant_id or 0 for participant in participants]
    if len(set(given)) == len(given) and all(number >= 1 for number in given):
        return given
    return list(range(1, len(participants) + 1))


def _styles(participant: _Participant) -> tuple[int | None, int | None]:
    styles = (participant.perks.styles if participant.perks else None) or []
    named = {style.description: style.style for style in styles}
    if "primaryStyle" in named or "subStyle" in named:
        return named.get("primaryStyle"), named.get("subStyle")
    first, second, *_ = [style.style for style in styles] + [None, None]
    return first, second


def _participant_row(match_id: str, number: int, puuid: str, given: _Participant) -> dict[str, Any]:
    riot_name = _text(given.riot_id_game_name) or _text(given.riot_id_name)
    primary, sub = _styles(given)
    return {
        "match_id": match_id,
        "participant_id": number,
        "puuid": puuid,
        "riot_id_game_name": riot_name or _text(given.summoner_name) or None,
        "riot_id_tagline": (_text(given.riot_id_tagline) or None) if riot_name else None,
        "team_id": given.team_id or 0,
        "player_subteam_id": given.player_subteam_id or None,
        "placement": given.placement or None,
        "champion_id": given.champion_id,
        "champion_name": _text(given.champion_name),
        "champ_level": given.champ_level or 0,
        "individual_position": _text(given.individual_position),
        "team_position": _text(given.team_position),
        "role": _text(given.role),
        "lane": _text(given.lane),
        "win": given.win,
        "game_ended_in_early_surrender": given.game_ended_in_early_surrender or False,
        "kills": given.kills,
        "deaths": given.deaths,
        "assists": given.assists,
        "gold_earned": given.gold_earned,
        "total_minions_killed": given.total_minions_killed,
        "neutral_minions_killed": given.neutral_minions_killed,
        "total_damage_dealt_to_champions": given.total_damage_dealt_to_champions,
        "vision_score": given.vision_score or 0,
        "time_played": given.time_played or 0,
        "item0": given.item0 or 0,
        "item1": given.item1 or 0,
        "item2": given.item2 or 0,
        "item3": given.item3 or 0,
        "item4": given.item4 or 0,
        "item5": given.item5 or 0,
        "item6": given.item6 or 0,
        "summoner1_id": given.summoner1_id or 0,
        "summoner2_id": given.summoner2_id or 0,
        "primary_style": primary,
        "sub_style": sub,
    }


def _sightings(rows: list[dict[str, Any]], platform: str, seen: datetime | None) -> list[Sighting]:
    """One for each player, the first where a player is listed twice."""
    found: dict[str, Sighting] = {}
    for row in rows:
        puuid, name, tag = row["puuid"], row["riot_id_game_name"], row["riot_id_tagline"]
        if puuid != BOT_PUUID and puuid not in found:
            # A name without a tagline is a summoner name, which is nobody's Riot ID.
            whole = (name, tag) if name and tag else (None, None)
            found[puuid] = Sighting(puuid, platform, seen, *whole)
    return list(found.values())


def read_match(body: bytes, *, asked: str | None = None) -> MatchRows:
    """Read the rows of a match from what the API answered.

    Args:
        body: the JSON, as received.
        asked: the match id that was asked for.

    Raises:
        UnreadablePayloadError: it is not JSON, not a match, not the match that was asked for, or lacks what the
            statistics are made of.
    """
    read = _read(_Match, body)
    match_id, info = _same_match(read.metadata.match_id, asked), read.info
    platform, game_id = split_match_id(match_id)
    created, started = moment_of(info.game_creation), moment_of(info.game_start_timestamp)
    began = started or created
    # Riot's own rule: milliseconds until patch 11.20, which brought gameEndTimestamp, and seconds since.
    duration = info.game_duration or 0
    rows = [
        _participant_row(match_id, number, _puuid(participant, place), participant)
        for place, (number, participant) in enumerate(zip(_numbers(info.participants), info.participants, strict=True))
    ]
    match = {
        "match_id": match_id,
        "platform": platform,
        "regional": regional_of(platform),
        "game_id": game_id,
        "data_version": _text(read.metadata.data_version),
        "game_version": _text(info.game_version),
        "queue_id": info.queue_id or 0,
        "map_id": info.map_id or 0,
        "game_mode": _text(info.game_mode),
        "game_type": _text(info.game_type),
        "end_of_game_result": _text(info.end_of_game_result) or None,
        "game_creation": created,
        "game_start": started,
        "game_end": moment_of(info.game_end_timestamp),
        "game_duration": min(duration if info.game_end_timestamp is not None else duration // 1000, 2**31 - 1),
        "year": began.year if began else None,
        "participant_count": len(rows),
        "derivation": DERIVATION,
    }
    return MatchRows(match, rows, _sightings(rows, platform, began))


def read_timeline(body: bytes, *, asked: str | None = None) -> dict[str, Any]:
    """Read the row of a timeline from what the API answered; the events are counted and not kept.

    Args:
        body: the JSON, as received.
        asked: the match id that was asked for.

    Raises:
        UnreadablePayloadError: it is not JSON, not a timeline, or not the one that was asked for.
    """
    read = _read(_Timeline, body)
    return {
        "match_id": _same_match(read.metadata.match_id, asked),
        "data_version": _text(read.metadata.data_version),
        "frame_interval": read.info.frame_interval or 0,
        "frame_count": len(read.info.frames),
        "event_count": sum(len(frame.events or ()) for frame in read.info.frames),
        "end_of_game_result": _text(read.info.end_of_game_result) or None,
    }
