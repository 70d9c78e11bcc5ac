"""Slots of a submission rate for flows that are better skipped than kept waiting.

A run that waits for a rate of one an hour would hold a worker for an hour. It looks first, takes a slot only where one
is free, and else ends as Completed with the state name `Skipped` and a message that says when to come again.

It must look before it asks: Prefect's server counts a slot's decay from the row's last change, and a refused request
is such a change. A caller who asks every half hour for a slot of an hour would never get one.
"""

from datetime import datetime, timedelta
from typing import Any

from prefect.client.orchestration import get_client
from prefect.concurrency.asyncio import AcquireConcurrencySlotTimeoutError, rate_limit
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed

from tasks.foundation.core.columns import utc_now

#: Long enough for the server's answer; the wait that a refusal asks for is always longer.
_TAKING_SECONDS = 5.0
#: State name of a run that found no slot.
SKIPPED = "Skipped"


async def _next_free(name: str) -> datetime | None:
    """When the limit has its next slot; None where one is free, or where no limit of that name exists."""
    async with get_client() as client:
        try:
            limit = await client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            return None
    if not limit.active or limit.active_slots < limit.limit or limit.slot_decay_per_second <= 0:
        return None
    # `active_slots` is what is left after the decay so far; one slot goes each 1/rate seconds after the last change.
    changed = limit.updated or utc_now()
    wait = timedelta(seconds=1 / limit.slot_decay_per_second)
    gone = (utc_now() - changed) // wait
    return changed + wait * (gone + 1 + limit.active_slots - limit.limit)


async def take_slot_or_skip(name: str) -> datetime | None:
    """Take a slot of a rate if one is free at once.

    Args:
        name: the global concurrency limit, one with slot decay.

    Returns:
        None if the slot was taken, else when the next one is free.

    Raises:
        ConcurrencySlotAcquisitionError: there is no such limit, or the server cannot be asked.
    """
    if (free_at := await _next_free(name)) is not None:
        return free_at
    try:
        await rate_limit(name, strict=True, timeout_seconds=_TAKING_SECONDS)
    except AcquireConcurrencySlotTimeoutError:
        # Another run took it between the look and the request.
        return await _next_free(name) or utc_now()
    return None


def skipped(name: str, free_at: datetime) -> Any:
    """The final state of a flow run that found no slot; whoever called the flow in its own process gets None.

    Args:
        name: the limit that had no slot.
        free_at: when it has one again.
    """
    return Completed(
        name=SKIPPED,
        message=(
            f"Nothing was done: the limit {name} has no slot left. It can run again at {free_at:%Y-%m-%d %H:%M:%S} UTC."
        ),
    )
