"""Syncs a player: account, ranked standing, masteries, all matches with their timelines, yearly statistics.

Needs a key of the Riot API, the league ledger and the limit `league-player-sync`. Runs as
`league-sync-player/on-demand`.
"""

from prefect import flow

from flows.submission import take_slot
from tasks.league.cards import show_failures, show_player_card
from tasks.league.players import PlayerSync, sync_player_data

SUBMISSION_LIMIT = "league-player-sync"


@flow(name="league-sync-player")
async def sync_player(
    game_name: str, tag_line: str, platform: str = "na1", routing: str = "americas", year: int | None = None
) -> PlayerSync:
    """Fetch all new matches and timelines of a player; show the player's card, and what failed and why.

    Args:
        game_name: of the Riot ID, in any case.
        tag_line: what stands behind the #.
        platform: where the player plays, such as na1, euw1 or kr.
        routing: the platform's region; a wrong one does no harm.
        year: only games of this UTC year; empty for all that Riot lists.

    Returns:
        The counts of this sync, and what failed and why.

    Raises:
        MissingLimitError: run `quintet apply` once.
        RiotKeyMissingError: there is no key; the message says where to put it.
        PlayerNotFoundError: no account has this Riot ID, or it never played on this platform.
        RiotKeyError: the key is refused.
        RiotUnavailableError: Riot gave no answer for long.
    """
    await take_slot(SUBMISSION_LIMIT)
    result = await sync_player_data(game_name, tag_line, platform, routing, year)
    await show_player_card(result.puuid, year)
    await show_failures(result.puuid)
    return result
