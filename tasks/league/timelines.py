"""Timelines of matches, asked for by a match id. Needs a key of the Riot API and the league ledger."""

import asyncio
from enum import StrEnum

from pydantic import BaseModel, ConfigDict
from sqlmodel import Session

from blocks.engine import session
from blocks.riot.routes import platform_of
from tasks.foundation.core.columns import utc_now
from tasks.foundation.retries import TIMELINE_PROCESSING
from tasks.league.core.storing import store_timeline
from tasks.league.core.tables import DOMAIN, FetchKind, Timeline
from tasks.league.routing import check_routing
from tasks.league.single import fetch_one


class TimelineStatus(StrEnum):
    """Whether the timeline was stored now."""

    CREATED = "created"
    ALREADY_EXISTS = "already_exists"


class TimelineSync(BaseModel):
    """What syncing one timeline came to."""

    model_config = ConfigDict(frozen=True)

    match_id: str
    status: TimelineStatus
    #: Milliseconds.
    frame_interval: int
    frame_count: int
    event_count: int


@TIMELINE_PROCESSING.task
async def sync_match_timeline_atomic(
    match_id: str, platform: str | None = None, routing: str | None = None
) -> TimelineSync:
    """Fetch the timeline of a match and store it in one transaction; one that is stored is not asked for again.

    The match itself need not be stored: Riot has timelines of matches that it answers 404 for.

    Args:
        match_id: such as NA1_5018382378.
        platform: told by the id; one that differs is logged.
        routing: same.

    Raises:
        RiotNotFoundError: Riot does not have it (yet); the ledger asks again later.
        RiotKeyError: the key is refused.
        RiotRequestError: this is no match id.
        UnreadablePayloadError: what Riot answered is no timeline; the ledger tries again later.
        RiotUnavailableError: Riot gave no answer.
    """
    check_routing(platform_of(match_id), platform=platform, routing=routing)
    if (found := await asyncio.to_thread(_stored, match_id)) is not None:
        return found
    return await fetch_one(match_id, FetchKind.TIMELINE, lambda body: _store(match_id, body))


def _store(match_id: str, body: bytes) -> TimelineSync:
    with session(DOMAIN) as opened:
        stored = store_timeline(opened, body, match_id, now=utc_now())
        status = TimelineStatus.CREATED if stored.created else TimelineStatus.ALREADY_EXISTS
        return _told(opened, match_id, status)


def _stored(match_id: str) -> TimelineSync | None:
    with session(DOMAIN, read_only=True) as opened:
        found = opened.get(Timeline, match_id)
        return None if found is None else _told(opened, match_id, TimelineStatus.ALREADY_EXISTS)


def _told(opened: Session, match_id: str, status: TimelineStatus) -> TimelineSync:
    row = opened.get_one(Timeline, match_id)
    return TimelineSync(
        match_id=match_id,
        status=status,
        frame_interval=row.frame_interval,
        frame_count=row.frame_count,
        event_count=row.event_count,
    )
