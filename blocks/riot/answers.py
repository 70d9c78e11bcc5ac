"""What the Riot API answers, typed: the fields that are used, under Riot's names in snake case.

Fields are validated and everything else is ignored, so that new fields and enumeration values break nothing. What the
payloads of some year (2022 to 2026) lack has a default. A test holds every field against Riot's OpenAPI schema, and
every model against real payloads.

A timeline's thousands of events stay small dictionaries: to read one costs about as much as parsing its JSON.
"""

from dataclasses import dataclass
from typing import Annotated, Generic, NotRequired, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter
from pydantic.alias_generators import to_camel
from typing_extensions import TypedDict

from blocks.riot.routes import is_match_id

T = TypeVar("T")


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

    puuid: str
    game_name: str | None = None
    tag_line: str | None = None


class SummonerDto(RiotDto):
    """A player on one platform. `revision_date` is in epoch milliseconds."""

    puuid: str
    profile_icon_id: int
    revision_date: int
    summoner_level: int


class LeagueEntryDto(RiotDto):
    """A player's standing in one ranked queue."""

    puuid: str
    queue_type: str
    league_id: str | None = None
    tier: str | None = None
    rank: str | None = None
    league_points: int
    wins: int
    losses: int
    hot_streak: bool = False
    veteran: bool = False
    fresh_blood: bool = False
    inactive: bool = False


class ChampionMasteryDto(RiotDto):
    """A player's mastery of one champion. `last_play_time` is in epoch milliseconds."""

    puuid: str
    champion_id: int
    champion_level: int
    champion_points: int
    last_play_time: int | None = None
    tokens_earned: int = 0


class MetadataDto(RiotDto):
    """What a payload is about; `participants` are puuids, `BOT` for bots."""

    data_version: str = ""
    match_id: str
    participants: tuple[str, ...] = ()


class PerkStyleDto(RiotDto):
    """A tree of runes; `description` is `primaryStyle` or `subStyle`."""

    description: str = ""
    style: int | None = None


class PerksDto(RiotDto):
    """The runes of a participant."""

    styles: tuple[PerkStyleDto, ...] = ()


class ParticipantDto(RiotDto):
    """One player, or bot, in one game."""

    participant_id: int
    puuid: str
    riot_id_game_name: str | None = None
    riot_id_tagline: str | None = None
    #: Before 2024 the only name.
    summoner_name: str | None = None
    team_id: int
    player_subteam_id: int | None = None
    placement: int | None = None
    champion_id: int
    champion_name: str = ""
    champ_level: int = 0
    individual_position: str | None = None
    team_position: str | None = None
    role: str | None = None
    lane: str | None = None
    win: bool
    game_ended_in_early_surrender: bool = False
    kills: int
    deaths: int
    assists: int
    gold_earned: int = 0
    total_minions_killed: int = 0
    neutral_minions_killed: int = 0
    total_damage_dealt_to_champions: int = 0
    vision_score: int = 0
    time_played: int = 0
    item0: int = 0
    item1: int = 0
    item2: int = 0
    item3: int = 0
    item4: int = 0
    item5: int = 0
    item6: int = 0
    summoner1_id: int = 0
    summoner2_id: int = 0
    perks: PerksDto | None = None


class InfoDto(RiotDto):
    """A game. Timestamps are in epoch milliseconds, 0 for games that were aborted before they began."""

    end_of_game_result: str | None = None
    game_creation: int = 0
    game_duration: int = 0
    #: Without it, `game_duration` is in milliseconds (before patch 11.20).
    game_end_timestamp: int | None = None
    game_id: int = 0
    game_mode: str = ""
    game_start_timestamp: int = 0
    game_type: str = ""
    game_version: str = ""
    map_id: int = 0
    participants: tuple[ParticipantDto, ...]
    platform_id: str = ""
    queue_id: int = 0


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
    events: tuple[EventsTimeLineDto, ...] = ()


class InfoTimeLineDto(RiotDto):
    """The course of a game. `frame_interval` is in milliseconds."""

    end_of_game_result: str | None = None
    frame_interval: int
    frames: tuple[FramesTimeLineDto, ...]


class TimelineDto(RiotDto):
    """A timeline, as match-v5 answers it."""

    metadata: MetadataDto
    info: InfoTimeLineDto

    @property
    def event_count(self) -> int:
        """How many events all frames hold."""
        return sum(len(frame.events) for frame in self.info.frames)


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


def _match_id(text: str) -> str:
    if not is_match_id(text):
        raise ValueError("no match id")
    return text


ACCOUNT = TypeAdapter(AccountDto)
SUMMONER = TypeAdapter(SummonerDto)
LEAGUE_ENTRIES = TypeAdapter(list[LeagueEntryDto])
CHAMPION_MASTERIES = TypeAdapter(list[ChampionMasteryDto])
MATCH_IDS = TypeAdapter(list[Annotated[str, AfterValidator(_match_id)]])
MATCH = TypeAdapter(MatchDto)
TIMELINE = TypeAdapter(TimelineDto)
PLATFORM_DATA = TypeAdapter(PlatformDataDto)
