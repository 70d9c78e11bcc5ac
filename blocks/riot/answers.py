"""What the Riot API answers, typed: the fields that are used, under Riot's names in snake case.

Fields are validated and everything else is ignored, so that new fields and enumeration values break nothing. What a
match or timeline lacks, or says null for, is None: payloads of some years (2022 to 2026) lack fields, and Riot writes
null in those of games that never began. A test holds every field against Riot's OpenAPI schema, and every model against
real payloads.

A timeline's thousands of events stay small dictionaries: to read one costs about as much as parsing its JSON.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Generic, NotRequired, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict

T = TypeVar("T")

#: What is stored as it comes must fit where it is stored, or the error would be the database's.
_Int32 = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
#: Milliseconds since 1970, until the year 2100.
_MOMENT = Field(ge=0, lt=4_102_444_800_000)
#: Part of addresses and of logs.
_Puuid = Annotated[str, Field(min_length=1, max_length=128, pattern="^[A-Za-z0-9_-]+$")]


def _text(longest: int) -> Any:
    # PostgreSQL has no NUL in text.
    return Field(max_length=longest, pattern=r"^[^\x00]*$")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """An answer with the bytes it was read from.

    Attributes:
        value: the answer, typed.
        body: exactly what was received, after content decoding.
    """

    value: T
    body: bytes


class RiotDto(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True
    )


class AccountDto(RiotDto):
    """An account: the puuid, and the Riot ID it has now."""

    puuid: _Puuid
    game_name: Annotated[str | None, _text(100)] = None
    tag_line: Annotated[str | None, _text(32)] = None


class SummonerDto(RiotDto):
    """A player on one platform. `revision_date` is in epoch milliseconds."""

    puuid: _Puuid
    profile_icon_id: _Int32
    revision_date: Annotated[int, _MOMENT]
    summoner_level: _Int32


class LeagueEntryDto(RiotDto):
    """A player's standing in one ranked queue."""

    puuid: _Puuid
    queue_type: Annotated[str, _text(64)]
    league_id: Annotated[str | None, _text(64)] = None
    tier: Annotated[str | None, _text(32)] = None
    rank: Annotated[str | None, _text(8)] = None
    league_points: _Int32
    wins: _Int32
    losses: _Int32
    hot_streak: bool = False
    veteran: bool = False
    fresh_blood: bool = False
    inactive: bool = False


class ChampionMasteryDto(RiotDto):
    """A player's mastery of one champion. `last_play_time` is in epoch milliseconds."""

    puuid: _Puuid
    champion_id: _Int32
    champion_level: _Int32
    champion_points: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
    last_play_time: Annotated[int | None, _MOMENT] = None
    tokens_earned: _Int32 = 0


class MetadataDto(RiotDto):
    """What a payload is about; `participants` are puuids, `BOT` for bots."""

    data_version: str | None = None
    match_id: str
    participants: tuple[str | None, ...] | None = None


class PerkStyleDto(RiotDto):
    """A tree of runes; `description` is `primaryStyle` or `subStyle`."""

    description: str | None = None
    style: int | None = None


class PerksDto(RiotDto):
    """The runes of a participant."""

    styles: tuple[PerkStyleDto, ...] | None = None


class ParticipantDto(RiotDto):
    """One player, or bot, in one game."""

    participant_id: int | None = None
    puuid: str | None = None
    riot_id_game_name: str | None = None
    #: What `riot_id_game_name` was called for some patches before 14.5.
    riot_id_name: str | None = None
    riot_id_tagline: str | None = None
    #: Before 2024 the only name.
    summoner_name: str | None = None
    team_id: int | None = None
    player_subteam_id: int | None = None
    placement: int | None = None
    champion_id: int
    champion_name: str | None = None
    champ_level: int | None = None
    individual_position: str | None = None
    team_position: str | None = None
    role: str | None = None
    lane: str | None = None
    win: bool
    game_ended_in_early_surrender: bool | None = None
    kills: int
    deaths: int
    assists: int
    gold_earned: int = 0
    total_minions_killed: int = 0
    neutral_minions_killed: int = 0
    total_damage_dealt_to_champions: int = 0
    vision_score: int | None = None
    time_played: int | None = None
    item0: int | None = None
    item1: int | None = None
    item2: int | None = None
    item3: int | None = None
    item4: int | None = None
    item5: int | None = None
    item6: int | None = None
    summoner1_id: int | None = None
    summoner2_id: int | None = None
    perks: PerksDto | None = None


class InfoDto(RiotDto):
    """A game. Timestamps are in epoch milliseconds, 0 for games that were aborted before they began."""

    end_of_game_result: str | None = None
    game_creation: int | None = None
    game_duration: int | None = None
    #: Without it, `game_duration` is in milliseconds (before patch 11.20).
    game_end_timestamp: int | None = None
    game_id: int | None = None
    game_mode: str | None = None
    game_start_timestamp: int | None = None
    game_type: str | None = None
    game_version: str | None = None
    map_id: int | None = None
    participants: tuple[ParticipantDto, ...]
    platform_id: str | None = None
    queue_id: int | None = None


class MatchDto(RiotDto):
    """A match, as match-v5 answers it."""

    metadata: MetadataDto
    info: InfoDto


class EventsTimeLineDto(TypedDict):
    """An event of a timeline; of its fields only the type is read."""

    type: NotRequired[str]


class FramesTimeLineDto(RiotDto):
    """What happened in one interval. `timestamp` is milliseconds into the game."""

    timestamp: int
    events: tuple[EventsTimeLineDto, ...] | None = None


class InfoTimeLineDto(RiotDto):
    """The course of a game. `frame_interval` is in milliseconds."""

    end_of_game_result: str | None = None
    frame_interval: int | None = None
    frames: tuple[FramesTimeLineDto, ...]


class TimelineDto(RiotDto):
    """A timeline, as match-v5 answers it."""

    metadata: MetadataDto
    info: InfoTimeLineDto

    @property
    def event_count(self) -> int:
        """How many events all frames hold."""
        return sum(len(frame.events or ()) for frame in self.info.frames)


class StatusDto(RiotDto):
    """A maintenance or an incident of a platform; lol-status-v4 alone writes its names in snake case."""

    model_config = ConfigDict(alias_generator=None)

    id: int
    maintenance_status: str | None = None
    incident_severity: str | None = None


class PlatformDataDto(RiotDto):
    """How a platform is doing."""

    id: str
    name: str = ""
    maintenances: tuple[StatusDto, ...] = ()
    incidents: tuple[StatusDto, ...] = ()


ACCOUNT = TypeAdapter(AccountDto)
SUMMONER = TypeAdapter(SummonerDto)
LEAGUE_ENTRIES = TypeAdapter(list[LeagueEntryDto])
CHAMPION_MASTERIES = TypeAdapter(list[ChampionMasteryDto])
#: As Riot lists them: one that is no match id spoils no page.
MATCH_IDS = TypeAdapter(list[str])
MATCH = TypeAdapter(MatchDto)
TIMELINE = TypeAdapter(TimelineDto)
PLATFORM_DATA = TypeAdapter(PlatformDataDto)
