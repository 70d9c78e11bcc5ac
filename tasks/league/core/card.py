"""The player card: what the ledger says of one player, in one page.

Sums are read from the statistics, so they follow their rules: every stored match counts, in the UTC year it began in.
What is about the order of games (KDA over time, streak, last games) is read from the games themselves. The number of
statements is the same for a player of one match and of five thousand.
"""

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session, col, func, select

from tasks.league.core import fetches
from tasks.league.core.absence import listed_without
from tasks.league.core.card_model import Game, Mastery, PlayerCard, Point, Standing, Tally, Year, kda
from tasks.league.core.queues import queue_name
from tasks.league.core.tables import (
    ChampionMastery,
    Dimension,
    FetchState,
    Match,
    Participant,
    RankedEntry,
    Summoner,
    YearlyBreakdown,
    YearlyStats,
)

#: Games that one point of KDA over time is about: at least so many, and of thousands more, or the line is a noise.
ROLLING_GAMES = 20
ROLLING_PART = 50
#: The first game that has a point, where there are as many: one good game alone would set the scale.
FIRST_POINT = 5
CHAMPIONS = 10
LAST_GAMES = 10
MASTERIES = 5


class UnknownPlayerError(LookupError):
    """The ledger has no such player."""


def player_card(session: Session, puuid: str, year: int | None = None, *, champions: int = CHAMPIONS) -> PlayerCard:
    """Read the card of a player.

    Args:
        session: the league ledger.
        puuid: whose.
        year: only games of this UTC year.
        champions: how many of the most played ones are shown.

    Raises:
        UnknownPlayerError: the ledger has no such player.
    """
    player = session.exec(select(Summoner).where(Summoner.puuid == puuid)).one_or_none()
    if player is None:
        raise UnknownPlayerError(f"the league ledger has no player of puuid {puuid[:8]}...")
    every = _games(session, puuid)
    # The newest game's name of a champion is the present one; masteries are of all years.
    names = {game.champion_id: game.champion for game in every if game.champion}
    games = [game for game in every if year in (None, game.started.year)]
    years = _years(session, puuid, year, names)
    by = _breakdowns(session, puuid, year)
    played = [tally.model_copy(update={"name": _champion(names, int(tally.name))}) for tally in by[Dimension.CHAMPION]]
    queues = [tally.model_copy(update={"name": queue_name(int(tally.name))}) for tally in by[Dimension.QUEUE]]
    return PlayerCard(
        puuid=puuid,
        game_name=player.game_name,
        tag_line=player.tag_line,
        platform=player.platform,
        summoner_level=player.summoner_level,
        synced_at=player.synced_at,
        year=year,
        total=_total(years),
        standings=_standings(session, puuid),
        years=years,
        champions=played[:champions],
        queues=queues,
        masteries=_masteries(session, puuid, names),
        rolling_games=window(games),
        kda_over_time=rolling_kda(games, window(games)),
        streak=streak(games),
        last_games=games[: -LAST_GAMES - 1 : -1],
        unstored=unstored(session, puuid),
        without_player=listed_without(session, puuid),
    )


def _games(session: Session, puuid: str) -> list[Game]:
    """Those that the statistics count, oldest first."""
    started = func.coalesce(Match.game_start, Match.game_creation)
    asked: Any = (
        select(  # type: ignore[call-overload]
            Match.match_id, Match.game_start, Match.game_creation, Match.queue_id, Participant.champion_id,
            Participant.champion_name, Participant.win, Participant.kills, Participant.deaths, Participant.assists,
            Participant.placement, Participant.game_ended_in_early_surrender, Match.game_duration,
        )
        .join(Participant, col(Participant.match_id) == col(Match.match_id))
        .where(Participant.puuid == puuid, col(Match.year).is_not(None))
        .order_by(started, col(Match.match_id))
    )  # fmt: skip
    return [
        # Rows of our own ledger: checking five thousand of them again takes longer than reading them.
        Game.model_construct(
            match_id=match_id, started=start or creation, queue_id=queue_id, champion_id=champion_id, champion=champion,
            win=win, kills=kills, deaths=deaths, assists=assists, placement=placement, remake=remake, seconds=seconds,
        )
        for match_id, start, creation, queue_id, champion_id, champion, win, kills, deaths, assists, placement, remake,
        seconds in session.exec(asked).all()
    ]  # fmt: skip


def _years(session: Session, puuid: str, year: int | None, names: dict[int, str]) -> list[Year]:
    asked = select(YearlyStats).where(YearlyStats.puuid == puuid, col(YearlyStats.total_matches) > 0)
    if year is not None:
        asked = asked.where(YearlyStats.year == year)
    return [
        Year(
            name=f"{row.year} {row.platform}",
            year=row.year,
            platform=row.platform,
            games=row.total_matches,
            wins=row.wins,
            kills=row.total_kills,
            deaths=row.total_deaths,
            assists=row.total_assists,
            average_cs=row.average_cs,
            average_gold=row.average_gold,
            most_played=None if row.most_played_champion is None else _champion(names, row.most_played_champion),
        )
        for row in session.exec(asked.order_by(col(YearlyStats.year).desc(), col(YearlyStats.platform))).all()
    ]


def _breakdowns(session: Session, puuid: str, year: int | None) -> dict[Dimension, list[Tally]]:
    """By champion and by queue, each by its id, the most played first."""
    sums = [
        func.sum(getattr(YearlyBreakdown, name)).label(name) for name in ("games", "wins", "kills", "deaths", "assists")
    ]
    asked: Any = (
        select(YearlyBreakdown.dimension, YearlyBreakdown.value, *sums)
        .where(
            YearlyBreakdown.puuid == puuid,
            col(YearlyBreakdown.dimension).in_([Dimension.CHAMPION, Dimension.QUEUE]),
            col(YearlyBreakdown.games) > 0,
        )
        .group_by(YearlyBreakdown.dimension, YearlyBreakdown.value)
    )
    if year is not None:
        asked = asked.where(YearlyBreakdown.year == year)
    found: dict[Dimension, list[Tally]] = {Dimension.CHAMPION: [], Dimension.QUEUE: []}
    for dimension, value, *numbers in session.exec(asked).all():
        # PostgreSQL's sums are decimals.
        games, wins, kills, deaths, assists = (int(number) for number in numbers)
        found[dimension].append(Tally(name=value, games=games, wins=wins, kills=kills, deaths=deaths, assists=assists))
    for tallies in found.values():
        tallies.sort(key=lambda tally: (-tally.games, -tally.wins, int(tally.name)))
    return found


def _total(years: Sequence[Tally]) -> Tally:
    return Tally(
        name="all",
        games=sum(row.games for row in years),
        wins=sum(row.wins for row in years),
        kills=sum(row.kills for row in years),
        deaths=sum(row.deaths for row in years),
        assists=sum(row.assists for row in years),
    )


def _standings(session: Session, puuid: str) -> list[Standing]:
    asked = select(RankedEntry).where(RankedEntry.puuid == puuid).order_by(col(RankedEntry.queue_type).desc())
    return [Standing.model_validate(row, from_attributes=True) for row in session.exec(asked).all()]


def _masteries(session: Session, puuid: str, names: dict[int, str]) -> list[Mastery]:
    asked = (
        select(ChampionMastery)
        .where(ChampionMastery.puuid == puuid)
        .order_by(col(ChampionMastery.champion_points).desc(), col(ChampionMastery.champion_id))
        .limit(MASTERIES)
    )
    return [
        Mastery(champion=_champion(names, row.champion_id), level=row.champion_level, points=row.champion_points)
        for row in session.exec(asked).all()
    ]


def _champion(names: dict[int, str], champion_id: int) -> str:
    """Mastery and Arena's bravery may be of a champion that no stored game has."""
    return names.get(champion_id) or f"champion {champion_id}"


def unstored(session: Session, puuid: str) -> dict[str, int]:
    """How many listed matches and timelines of a player are not stored, by state; removed ones are not counted."""
    by_kind = fetches.counts(session, puuid).values()
    waiting = (FetchState.PENDING, FetchState.FAILED, FetchState.MISSING)
    found = {state.value: sum(states[state] for states in by_kind) for state in waiting}
    return {state: count for state, count in found.items() if count}


def window(games: Sequence[Game]) -> int:
    """How many games one point of KDA over time is about: 20, and a fiftieth of more than a thousand, in tens."""
    return max(ROLLING_GAMES, len(games) // ROLLING_PART // 10 * 10)


def rolling_kda(games: Sequence[Game], window: int) -> list[Point]:
    """KDA over the last games, at the start of each; the first points are about fewer.

    Args:
        games: oldest first.
        window: how many games a point is about.
    """
    kills = deaths = assists = 0
    points: list[Point] = []
    for number, game in enumerate(games):
        kills, deaths, assists = kills + game.kills, deaths + game.deaths, assists + game.assists
        if number >= window:
            gone = games[number - window]
            kills, deaths, assists = kills - gone.kills, deaths - gone.deaths, assists - gone.assists
        if number + 1 >= min(FIRST_POINT, len(games)):
            points.append(Point.model_construct(at=game.started, kda=kda(kills, deaths, assists)))
    return points


def streak(games: Sequence[Game]) -> int:
    """Games won in a row until the last; lost ones are negative. Remakes neither lengthen nor end it.

    Args:
        games: oldest first.
    """
    count = 0
    for game in reversed(games):
        if game.remake:
            continue
        if count and game.win is not (count > 0):
            break
        count += 1 if game.win else -1
    return count
