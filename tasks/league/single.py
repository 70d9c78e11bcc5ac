"""One match or timeline that was asked for by its id: fetched, and what it came to written down whatever that is."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from blocks.riot.errors import RiotError, RiotKeyError, RiotNotFoundError, RiotUnavailableError
from tasks.league.api import riot_client
from tasks.league.core.participants import UnreadablePayloadError
from tasks.league.core.tables import FetchKind
from tasks.league.outcomes import note_failed, note_missing

R = TypeVar("R")


async def fetch_one(match_id: str, kind: FetchKind, store: Callable[[bytes], R]) -> R:
    """Fetch a match or timeline and store it.

    Args:
        match_id: what to fetch.
        kind: which of the two.
        store: writes the body in a transaction; called in a thread.

    Raises:
        RiotError: Riot does not have it or refuses; the ledger says so, and asks again later. A key that is refused and
            an API that is away change nothing there.
        UnreadablePayloadError: the answer cannot be read; same.
    """
    try:
        async with riot_client() as client:
            answer = await (client.match(match_id) if kind is FetchKind.MATCH else client.timeline(match_id))
        return await asyncio.to_thread(store, answer.body)
    except (RiotKeyError, RiotUnavailableError):
        # Says nothing of the match: the run fails, and the match stays as it was.
        raise
    except RiotNotFoundError:
        await asyncio.to_thread(note_missing, match_id, kind)
        raise
    except (RiotError, UnreadablePayloadError) as error:
        await asyncio.to_thread(note_failed, match_id, kind, error)
        raise
