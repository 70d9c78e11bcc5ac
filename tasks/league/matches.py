"""Matches: one asked for by its id, and batches of many with their timelines.

Needs a key of the Riot API and the league ledger.
"""

import asyncio

from pydantic import BaseModel, ConfigDict
from sqlmodel import Session, col, select

from blocks.engine import session
from blocks.riot.routes import platform_of
from tasks.foundation.core.columns import utc_now
from tasks.foundation.lifecycle import logger
from tasks.foundation.retries import MATCH_PROCESSING
from tasks.league.api import riot_client
from tasks.league.batches import BatchResult, Item, Outcome, fetch_items
from tasks.league.core.storing import store_match
from tasks.league.core.tables import BOT_PUUID, DOMAIN, FetchKind, FetchState, Match, Participant, Timeline
from tasks.league.routing import check_routing
from tasks.league.single import fetch_one
from tasks.league.tracking import items_tracked


class MatchSync(BaseModel):
    """What syncing one match came to."""

    model_config = ConfigDict(frozen=True)

    match_id: str
    platform: str
    #: The UTC year that it counts in; None for a game that never began.
    year: int | None
    #: It was not stored before.
    created: bool
    #: All, bots included.
    participants_count: int
    #: The player who was asked for took part; None where none was.
    took_part: bool | None = None
    #: Its timeline is stored as well; the flow `league-sync-match` fetches it where the player took part.
    timeline_synced: bool = False


@MATCH_PROCESSING.task
async def sync_match_data_atomic(
    match_id: str,
    platform: str | None = None,
    routing: str | None = None,
    puuid: str | None = None,
    year: int | None = None,
) -> MatchSync:
    """Fetch a match and store it, with participants, statistics and payload, in one transaction.

    A match that is stored already is not asked for again: Riot's matches do not change.

    Args:
        match_id: such as NA1_5018382378.
        platform: told by the id; one that differs is logged.
        routing: same.
        puuid: a player; the result says whether they took part.
        year: the UTC year it is thought to be of; it counts in its own, and one that differs is logged.

    Returns:
        What came of it.

    Raises:
        RiotNotFoundError: Riot does not have it (yet); the ledger asks again later.
        RiotKeyError: the key is refused.
        RiotRequestError: this is no match id.
        UnreadablePayloadError: what Riot answered is no match; the ledger tries again later.
        RiotUnavailableError: Riot gave no answer.
    """
    check_routing(platform_of(match_id), platform=platform, routing=routing)
    found = await asyncio.to_thread(_stored, match_id, puuid)
    if found is None:
        found = await fetch_one(match_id, FetchKind.MATCH, lambda body: _store(match_id, body, puuid))
    if year is not None and found.year != year:
        logger(match=match_id).info("the match counts in another year", year=found.year, asked=year)
    return found


def _store(match_id: str, body: bytes, puuid: str | None) -> MatchSync:
    with session(DOMAIN) as opened:
        stored = store_match(opened, body, match_id=match_id, now=utc_now())
        timeline = opened.get(Timeline, match_id) is not None
    return MatchSync(
        match_id=match_id,
        platform=stored.platform,
        year=stored.year,
        created=stored.created,
        participants_count=stored.participants,
        took_part=None if puuid is None else puuid in stored.puuids,
        timeline_synced=timeline,
    )


def _stored(match_id: str, puuid: str | None) -> MatchSync | None:
    with session(DOMAIN, read_only=True) as opened:
        match = opened.get(Match, match_id)
        if match is None:
            return None
        return MatchSync(
            match_id=match_id,
            platform=match.platform,
            year=match.year,
            created=False,
            participants_count=match.participant_count,
            took_part=None if puuid is None else _took_part(opened, match_id, puuid),
            timeline_synced=opened.get(Timeline, match_id) is not None,
        )


def _took_part(opened: Session, match_id: str, puuid: str) -> bool:
    wanted = select(Participant.match_id).where(Participant.match_id == match_id, col(Participant.puuid) == puuid)
    return puuid != BOT_PUUID and opened.exec(wanted).first() is not None


@MATCH_PROCESSING.task
async def sync_matches(items: list[Item]) -> BatchResult:
    """Fetch a batch of matches and timelines at the rate that the key permits, and store each as it comes.

    Run again after it was stopped or killed it has to be given what is still open; what is stored is not lost.

    Args:
        items: pairs of a match id and MATCH or TIMELINE.

    Returns:
        Counts, and what failed and why.

    Raises:
        RiotKeyError: the key is refused; what was not fetched stays to be fetched.
        RiotUnavailableError: Riot is away; same.
        LedgerError: the database cannot be used; same.
    """
    async with items_tracked(len(items)) as tracker, riot_client() as client:

        async def report(outcome: Outcome) -> None:
            await tracker.item(outcome.match_id, failed=outcome.state is not FetchState.STORED)

        return await fetch_items(client, items, report)
