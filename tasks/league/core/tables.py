"""The league ledger: players, matches with their participants, timelines, statistics, and what is still to be fetched.

What the API said of a **match** stands in rows (`Match`, `Participant`) that are written in one transaction with the
**statistics** they add to, and as the compressed **payload** they were read from. A **fetch** row says, for each match
and each timeline that was ever listed, whether it is stored, still to be fetched, missing at Riot's (404) or failing.

Names are Riot's own in snake case. Columns whose names end in `_at` hold our own clock's time (when something was
fetched, when it is due); every other column is a function of what the API answered, so that two syncs of one player
end in the same rows.
"""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from sqlalchemy import BigInteger, Index, LargeBinary, MetaData
from sqlmodel import Field, SQLModel

from tasks.foundation.core.columns import NAMING_CONVENTION
from tasks.foundation.core.tables import moment, one_of

DOMAIN = "league"

#: What Riot writes in place of a bot's puuid, and what is stored where it writes none; five participants of one game
#: may bear it.
BOT_PUUID = "BOT"
#: Raised when a column is added that stored payloads can fill: `recover_player_data` then derives the rows anew.
DERIVATION = 1


class FetchKind(StrEnum):
    """What is fetched of a match id."""

    MATCH = "MATCH"
    TIMELINE = "TIMELINE"


class FetchState(StrEnum):
    """Where a fetch stands.

    PENDING is to be fetched; STORED is done; MISSING was answered 404 and is asked again at `due_at`, later each time;
    FAILED could not be fetched or read and is tried again at `due_at`; REMOVED was cleaned away and is left alone.
    """

    PENDING = "PENDING"
    STORED = "STORED"
    MISSING = "MISSING"
    FAILED = "FAILED"
    REMOVED = "REMOVED"


class Dimension(StrEnum):
    """By what a year's statistics are broken down."""

    CHAMPION = "CHAMPION"
    ROLE = "ROLE"
    LANE = "LANE"
    QUEUE = "QUEUE"


class LeagueTable(SQLModel):
    """Base of the domain's tables; their metadata is the domain's own, so that each domain migrates alone."""

    metadata: ClassVar[MetaData] = MetaData(naming_convention=NAMING_CONVENTION)


class Summoner(LeagueTable, table=True):
    """A player: everybody who took part in a stored match, and those who were synced.

    The puuid is the only identity: game names change, and equal ones stand beside different taglines.
    """

    __tablename__ = "league_summoner"
    __table_args__ = (Index("ix_league_summoner_riot_id", "game_name", "tag_line"),)

    puuid: str = Field(primary_key=True, max_length=128)
    #: The newest Riot ID that is known; None for players of matches from before Riot IDs.
    game_name: str | None = Field(default=None, max_length=100)
    tag_line: str | None = Field(default=None, max_length=32)
    #: As of when the Riot ID is known: the start of the game that told it, or the time the account was fetched.
    named_at: datetime | None = moment(default=None)
    #: Where the player was last asked for or seen, as in Riot's table, lower case: `na1`.
    platform: str = Field(max_length=16)
    #: As of when the platform is known: the start of the newest game, or the time the account was fetched.
    seen_at: datetime | None = moment(default=None)
    profile_icon_id: int | None = None
    summoner_level: int | None = None
    revision_date: datetime | None = moment(default=None)
    #: Somebody asked for this player; `auto_retry_failed_matches` and the stale-name rules look only at these.
    tracked: bool = False
    synced_at: datetime | None = moment(default=None)


class RankedEntry(LeagueTable, table=True):
    """A player's standing in one ranked queue, as of the last sync."""

    __tablename__ = "league_ranked_entry"

    puuid: str = Field(primary_key=True, foreign_key="league_summoner.puuid", max_length=128)
    queue_type: str = Field(primary_key=True, max_length=64)
    league_id: str | None = Field(default=None, max_length=64)
    tier: str | None = Field(default=None, max_length=32)
    rank: str | None = Field(default=None, max_length=8)
    league_points: int
    wins: int
    losses: int
    hot_streak: bool
    veteran: bool
    fresh_blood: bool
    inactive: bool


class ChampionMastery(LeagueTable, table=True):
    """A player's mastery of one champion, as of the last sync."""

    __tablename__ = "league_champion_mastery"

    puuid: str = Field(primary_key=True, foreign_key="league_summoner.puuid", max_length=128)
    champion_id: int = Field(primary_key=True)
    champion_level: int
    champion_points: int = Field(sa_type=BigInteger)
    last_play_time: datetime | None = moment(default=None)
    tokens_earned: int = 0


class Match(LeagueTable, table=True):
    """One game. `game_start` is None where Riot says 0, as for games that were aborted before they began."""

    __tablename__ = "league_match"

    match_id: str = Field(primary_key=True, max_length=32)
    #: From the id's prefix, lower case.
    platform: str = Field(max_length=16)
    #: The regional route that Riot's table gives for the platform.
    regional: str = Field(max_length=16)
    game_id: int = Field(sa_type=BigInteger)
    data_version: str = Field(default="", max_length=16)
    game_version: str = Field(default="", max_length=64)
    queue_id: int
    map_id: int
    game_mode: str = Field(default="", max_length=64)
    game_type: str = Field(default="", max_length=64)
    end_of_game_result: str | None = Field(default=None, max_length=64)
    game_creation: datetime | None = moment(default=None)
    game_start: datetime | None = moment(default=None, index=True)
    game_end: datetime | None = moment(default=None)
    #: Seconds, whatever unit the payload has.
    game_duration: int
    #: The UTC year of `game_start` (of `game_creation` where that is missing): the year the game counts in.
    year: int | None = None
    participant_count: int
    derivation: int = DERIVATION


class Participant(LeagueTable, table=True):
    """One player, or bot, in one game; keyed by its number, since bots share one puuid."""

    __tablename__ = "league_participant"
    __table_args__ = (Index("ix_league_participant_player", "puuid", "match_id"),)

    match_id: str = Field(primary_key=True, foreign_key="league_match.match_id", max_length=32)
    #: 1 to 16.
    participant_id: int = Field(primary_key=True)
    #: `BOT` for bots.
    puuid: str = Field(max_length=128)
    #: The name at the time of the game, and the summoner name of games from before Riot IDs.
    riot_id_game_name: str | None = Field(default=None, max_length=100)
    riot_id_tagline: str | None = Field(default=None, max_length=32)
    team_id: int
    #: Arena only: team of two, and its place.
    player_subteam_id: int | None = None
    placement: int | None = None
    champion_id: int
    champion_name: str = Field(default="", max_length=64)
    champ_level: int
    individual_position: str = Field(default="", max_length=32)
    team_position: str = Field(default="", max_length=32)
    role: str = Field(default="", max_length=32)
    lane: str = Field(default="", max_length=32)
    win: bool
    game_ended_in_early_surrender: bool = False
    kills: int
    deaths: int
    assists: int
    gold_earned: int
    total_minions_killed: int
    neutral_minions_killed: int
    total_damage_dealt_to_champions: int
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
    primary_style: int | None = None
    sub_style: int | None = None


class Timeline(LeagueTable, table=True):
    """A game's timeline. It stands alone: Riot sometimes has the timeline of a match that it answers 404 for."""

    __tablename__ = "league_timeline"

    match_id: str = Field(primary_key=True, max_length=32)
    data_version: str = Field(default="", max_length=16)
    #: Milliseconds.
    frame_interval: int
    frame_count: int
    event_count: int
    end_of_game_result: str | None = Field(default=None, max_length=64)


class Payload(LeagueTable, table=True):
    """What the API answered, byte for byte, compressed with Zstandard."""

    __tablename__ = "league_payload"

    match_id: str = Field(primary_key=True, max_length=32)
    kind: FetchKind = one_of(FetchKind, primary_key=True)
    #: SHA-256 of the bytes before compression.
    content_sha256: str = Field(max_length=64)
    #: Bytes before compression.
    size: int
    body: bytes = Field(sa_type=LargeBinary)


class YearlyStats(LeagueTable, table=True):
    """A player's sums and averages over the games of one UTC year on one platform, all queues.

    Always equal to what `Participant` and `Match` say: added to in the transaction that stores a match, derived anew
    when matches are removed.
    """

    __tablename__ = "league_yearly_stats"

    puuid: str = Field(primary_key=True, foreign_key="league_summoner.puuid", max_length=128)
    year: int = Field(primary_key=True)
    platform: str = Field(primary_key=True, max_length=16)
    total_matches: int = 0
    wins: int = 0
    losses: int = 0
    total_kills: int = 0
    total_deaths: int = 0
    total_assists: int = 0
    total_gold_earned: int = Field(default=0, sa_type=BigInteger)
    total_minions_killed: int = 0
    total_neutral_minions_killed: int = 0
    total_damage_dealt_to_champions: int = Field(default=0, sa_type=BigInteger)
    unique_champions: int = 0
    unique_roles: int = 0
    unique_lanes: int = 0
    #: The champion id; the smallest where several were played equally often.
    most_played_champion: int | None = None
    most_played_champion_count: int = 0
    #: Percent.
    win_rate: float = 0
    #: (kills + assists) / deaths, and kills + assists where nobody died.
    kda_ratio: float = 0
    average_kills: float = 0
    average_deaths: float = 0
    average_assists: float = 0
    average_gold: float = 0
    #: Creep score: minions and neutral minions.
    average_cs: float = 0


class YearlyBreakdown(LeagueTable, table=True):
    """The same sums by champion, role, lane and queue."""

    __tablename__ = "league_yearly_breakdown"

    puuid: str = Field(primary_key=True, foreign_key="league_summoner.puuid", max_length=128)
    year: int = Field(primary_key=True)
    platform: str = Field(primary_key=True, max_length=16)
    dimension: Dimension = one_of(Dimension, primary_key=True)
    #: The champion id, role, lane or queue id, as text.
    value: str = Field(primary_key=True, max_length=64)
    games: int = 0
    wins: int = 0
    kills: int = 0
    deaths: int = 0
    assists: int = 0


class Fetch(LeagueTable, table=True):
    """Whether one match or timeline is stored, and if not, why and when it is tried again."""

    __tablename__ = "league_fetch"
    __table_args__ = (Index("ix_league_fetch_due", "state", "due_at"),)

    match_id: str = Field(primary_key=True, max_length=32)
    kind: FetchKind = one_of(FetchKind, primary_key=True)
    state: FetchState = one_of(FetchState, default=FetchState.PENDING)
    #: Answers in a row that were no match; 0 once it is stored.
    failures: int = 0
    #: What the last try ended with, for people.
    reason: str | None = Field(default=None, max_length=500)
    due_at: datetime | None = moment(default=None)
    tried_at: datetime | None = moment(default=None)


class Listing(LeagueTable, table=True):
    """The API listed this match for this player."""

    __tablename__ = "league_listing"

    puuid: str = Field(primary_key=True, foreign_key="league_summoner.puuid", max_length=128)
    match_id: str = Field(primary_key=True, max_length=32, index=True)


class Watermark(LeagueTable, table=True):
    """Up to when a player's matches are all listed; the next sync asks from there on, with some overlap."""

    __tablename__ = "league_watermark"

    puuid: str = Field(primary_key=True, foreign_key="league_summoner.puuid", max_length=128)
    #: The UTC year that was asked for; 0 for all.
    year: int = Field(primary_key=True)
    listed_at: datetime = moment()
