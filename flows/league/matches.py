"""Syncs one match, and its timeline where a given player took part.

Needs a key of the Riot API, the league ledger and the limit `league-match-processing`. Runs as
`league-sync-match/on-demand`.
"""

from prefect import flow

from flows.submission import take_slot
from tasks.league.matches import MatchSync, sync_match_data_atomic
from tasks.league.timelines import sync_match_timeline_atomic

SUBMISSION_LIMIT = "league-match-processing"


@flow(name="league-sync-match")
async def sync_match(
    match_id: str,
    platform: str | None = None,
    routing: str | None = None,
    puuid: str | None = None,
    year: int | None = None,
) -> MatchSync:
    """Fetch one match and store it; with a player who took part, its timeline as well.

    Args:
        match_id: such as NA1_5018382378; it tells platform and region.
        platform: not needed; one that differs is logged.
        routing: not needed; same.
        puuid: a player; if they took part, the timeline is stored as well.
        year: the UTC year it is thought to be of; it counts in its own.

    Returns:
        What came of it.

    Raises:
        MissingLimitError: run `quintet apply` once.
        RiotNotFoundError: Riot does not have the match (yet), or not its timeline.
        RiotKeyError: the key is refused.
        RiotUnavailableError: Riot gave no answer for long.
    """
    await take_slot(SUBMISSION_LIMIT)
    result = await sync_match_data_atomic(match_id, platform, routing, puuid, year)
    if not result.took_part:
        return result
    await sync_match_timeline_atomic(match_id, platform, routing)
    return result.model_copy(update={"timeline_synced": True})
