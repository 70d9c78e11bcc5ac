"""Syncs one timeline.

Needs a key of the Riot API, the league ledger and the limit `league-timeline-processing`. Runs as
`league-sync-timeline/on-demand`.
"""

from prefect import flow

from flows.submission import take_slot
from tasks.league.timelines import TimelineSync, sync_match_timeline_atomic

SUBMISSION_LIMIT = "league-timeline-processing"


@flow(name="league-sync-timeline")
async def sync_timeline(match_id: str, platform: str | None = None, routing: str | None = None) -> TimelineSync:
    """Fetch the timeline of one match and store it.

    Args:
        match_id: such as NA1_5018382378; it tells platform and region.
        platform: not needed; one that differs is logged.
        routing: not needed; same.

    Returns:
        What came of it: created, or stored already.

    Raises:
        MissingLimitError: run `quintet apply` once.
        RiotNotFoundError: Riot does not have it (yet).
        RiotKeyError: the key is refused.
        RiotUnavailableError: Riot gave no answer for long.
    """
    await take_slot(SUBMISSION_LIMIT)
    return await sync_match_timeline_atomic(match_id, platform, routing)
