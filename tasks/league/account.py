"""A player as Riot knows them: account, summoner, ranked standing, champion masteries.

Needs a key of the Riot API and the league ledger.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from blocks.engine import session
from blocks.riot.answers import AccountDto, ChampionMasteryDto, LeagueEntryDto, SummonerDto
from blocks.riot.errors import RiotNotFoundError
from blocks.riot.routes import platform_route
from tasks.foundation.core.columns import utc_now
from tasks.foundation.retries import PLAYER_SYNC
from tasks.league.api import riot_client
from tasks.league.core.participants import moment_of
from tasks.league.core.players import replace_masteries, replace_ranked_entries, upsert_player
from tasks.league.core.tables import DOMAIN, ChampionMastery, RankedEntry
from tasks.league.routing import check_routing
from tasks.league.steps import side_by_side

R = TypeVar("R")


class PlayerNotFoundError(Exception):
    """Riot knows no such player."""


class Player(BaseModel):
    """Whose matches are asked for, and where."""

    model_config = ConfigDict(frozen=True)

    puuid: str
    #: `na1`...
    platform: str
    #: Where the platform's matches are: `americas`...
    regional: str


@PLAYER_SYNC.task
async def fetch_player(game_name: str, tag_line: str, platform: str = "na1", routing: str = "americas") -> Player:
    """Find a player by Riot ID and store account, level, ranked standing and champion masteries.

    Args:
        game_name: of the Riot ID, in any case.
        tag_line: what stands behind the #.
        platform: where the player plays.
        routing: a regional route; the platform's own is used, and one that differs is logged.

    Returns:
        The player; a renamed one is the same as before.

    Raises:
        PlayerNotFoundError: no account has this Riot ID, or it never played on this platform.
        UnknownRouteError: Riot has no such platform or region.
        RiotKeyError: the key is refused.
        RiotUnavailableError: Riot gave no answer.
    """
    platform = platform_route(platform)
    regional = check_routing(platform, routing=routing)
    async with riot_client() as client:
        try:
            account = await client.account_by_riot_id(game_name, tag_line, regional=regional)
        except RiotNotFoundError:
            # Without the name: errors are logged.
            raise PlayerNotFoundError("Riot knows no account of this game name and tag line") from None
        puuid = account.puuid
        try:
            async with side_by_side() as group:
                summoner = group.create_task(client.summoner_by_puuid(puuid, platform=platform))
                entries = group.create_task(_or_none(client.league_entries_by_puuid(puuid, platform=platform)))
                masteries = group.create_task(_or_none(client.champion_masteries_by_puuid(puuid, platform=platform)))
        except RiotNotFoundError:
            raise PlayerNotFoundError(f"the player {puuid[:8]} never played on {platform}: name another one") from None
    await asyncio.to_thread(
        _store, account, summoner.result(), entries.result() or [], masteries.result() or [], platform
    )
    return Player(puuid=puuid, platform=platform, regional=regional)


async def _or_none(answer: Awaitable[R]) -> R | None:
    """The answer; None where Riot says 404 instead of an empty list."""
    try:
        return await answer
    except RiotNotFoundError:
        return None


def _store(
    account: AccountDto,
    summoner: SummonerDto,
    entries: Sequence[LeagueEntryDto],
    masteries: Sequence[ChampionMasteryDto],
    platform: str,
) -> None:
    puuid = account.puuid
    with session(DOMAIN) as opened:
        upsert_player(
            opened,
            puuid=puuid,
            game_name=account.game_name,
            tag_line=account.tag_line,
            platform=platform,
            now=utc_now(),
            profile_icon_id=summoner.profile_icon_id,
            summoner_level=summoner.summoner_level,
            revision_date=moment_of(summoner.revision_date),
        )
        replace_ranked_entries(opened, puuid, [_ranked_entry(puuid, entry) for entry in entries])
        replace_masteries(opened, puuid, [_mastery(puuid, mastery) for mastery in masteries])


def _ranked_entry(puuid: str, entry: LeagueEntryDto) -> RankedEntry:
    return RankedEntry(puuid=puuid, **entry.model_dump(include=set(RankedEntry.model_fields) - {"puuid"}))


def _mastery(puuid: str, mastery: ChampionMasteryDto) -> ChampionMastery:
    return ChampionMastery(
        puuid=puuid,
        champion_id=mastery.champion_id,
        champion_level=mastery.champion_level,
        champion_points=mastery.champion_points,
        last_play_time=moment_of(mastery.last_play_time),
        tokens_earned=mastery.tokens_earned,
    )
