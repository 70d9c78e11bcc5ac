"""What stands on a player card."""

from datetime import datetime

from pydantic import BaseModel, computed_field

#: Tiers that are not divided; Riot answers `I` for all of them.
_UNDIVIDED = frozenset({"MASTER", "GRANDMASTER", "CHALLENGER"})


def kda(kills: int, deaths: int, assists: int) -> float:
    """(kills + assists) / deaths, and kills + assists where there was no death."""
    return (kills + assists) / (deaths or 1)


def percent(part: int, whole: int) -> float:
    """Percent, 0 of nothing."""
    return 100 * part / whole if whole else 0.0


class Tally(BaseModel):
    """Games of one kind, and what the player did in them."""

    name: str
    games: int
    wins: int
    kills: int
    deaths: int
    assists: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def win_rate(self) -> float:
        """Percent."""
        return percent(self.wins, self.games)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def kda(self) -> float:
        """(kills + assists) / deaths."""
        return kda(self.kills, self.deaths, self.assists)


class Year(Tally):
    """A year on one platform; `name` is the year and the platform."""

    year: int
    platform: str
    average_cs: float
    average_gold: float
    most_played: str | None


class Standing(BaseModel):
    """Where the player stands in one ranked queue."""

    queue_type: str
    tier: str | None
    rank: str | None
    league_points: int
    wins: int
    losses: int
    hot_streak: bool

    @computed_field  # type: ignore[prop-decorator]
    @property
    def title(self) -> str:
        """`Emerald II`, `Master`, or `unranked`."""
        if self.tier is None:
            return "unranked"
        undivided = self.tier.upper() in _UNDIVIDED or self.rank is None
        return self.tier.capitalize() if undivided else f"{self.tier.capitalize()} {self.rank}"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def win_rate(self) -> float:
        """Percent."""
        return percent(self.wins, self.wins + self.losses)


class Mastery(BaseModel):
    """What the player has gathered on one champion."""

    champion: str
    level: int
    points: int


class Game(BaseModel):
    """One game of the player."""

    match_id: str
    #: When it began, or was made where Riot does not tell.
    started: datetime
    queue_id: int
    champion_id: int
    champion: str
    win: bool
    kills: int
    deaths: int
    assists: int
    #: Arena: the place of the player's team.
    placement: int | None
    #: Ended within minutes since somebody was missing.
    remake: bool
    seconds: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def kda(self) -> float:
        """(kills + assists) / deaths."""
        return kda(self.kills, self.deaths, self.assists)


class Point(BaseModel):
    """KDA over the last `rolling_games` games, at the start of the last of them."""

    at: datetime
    kda: float


class PlayerCard(BaseModel):
    """What the ledger says of one player, in one year or in all."""

    puuid: str
    game_name: str | None
    tag_line: str | None
    platform: str
    summoner_level: int | None
    synced_at: datetime | None
    #: None for all years.
    year: int | None
    total: Tally
    standings: list[Standing]
    years: list[Year]
    champions: list[Tally]
    queues: list[Tally]
    masteries: list[Mastery]
    #: Games that one point of KDA over time is about.
    rolling_games: int
    kda_over_time: list[Point]
    #: Games won in a row until now; lost ones are negative. Remakes neither lengthen nor end it.
    streak: int
    #: Newest first.
    last_games: list[Game]
    #: Listed matches and timelines that are not stored, by state, whatever the year.
    unstored: dict[str, int]
    #: Stored matches that Riot lists for the player and that do not have them, whatever the year.
    without_player: int = 0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def riot_id(self) -> str:
        """`name#tag`, or the beginning of the puuid where no name is known."""
        return riot_id(self.puuid, self.game_name, self.tag_line)


def riot_id(puuid: str, game_name: str | None, tag_line: str | None) -> str:
    """`name#tag`; `player 1a2b3c4d` (the puuid's beginning) where no name is known."""
    if not game_name:
        return f"player {puuid[:8]}"
    return f"{game_name}#{tag_line}" if tag_line else game_name
