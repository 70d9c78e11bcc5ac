"""Flows that are better skipped than kept waiting: a run that waits for a rate of one an hour holds a worker that long.

It looks first, takes a slot only where one is free, and else ends as Completed with the state name `Skipped` and a
message that says when to come again.

It must look before it asks: Prefect's server counts a slot's decay from the row's last change, and a refused request
is such a change. Who asks every half hour for a slot of an hour would never get one.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed

from flows.submission import take_slot
from tasks.foundation.core.columns import utc_now

#: State name of a run that found no slot.
SKIPPED = "Skipped"
#: Long enough for the server's answer; the wait that a refusal asks for is far longer.
_TAKING_SECONDS = 5.0


async def slot_or_skipped(limit: str) -> Any:
    """Take a slot of a rate if one is free at once.

    Args:
        limit: the name of a global concurrency limit with slot decay, of `deployments/limits.py`.

    Returns:
        None if the slot was taken; else the state that the flow is to return. Who called the flow in its own process
        then gets None.

    Raises:
        MissingLimitError: `quintet apply` has not been run on this Prefect server.
        ConcurrencySlotAcquisitionError: the server cannot be asked.
    """
    free_at = await _next_free(limit)
    if free_at is None:
        try:
            await take_slot(limit, timeout_seconds=_TAKING_SECONDS)
        except TimeoutError:
            # Another run took it between the look and the request.
            free_at = await _next_free(limit) or utc_now()
        else:
            return None
    return Completed(
        name=SKIPPED,
        message=(
            f"Nothing was done: the limit {limit} has no slot left. "
            f"It can run again at {free_at:%Y-%m-%d %H:%M:%S} UTC."
        ),
    )


async def _next_free(name: str) -> datetime | None:
    """When the limit has its next slot; None where one is free, or where there is no such limit."""
    async with get_client() as client:
        try:
            limit = await client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            return None
    if not limit.active or limit.active_slots < limit.limit or limit.slot_decay_per_second <= 0:
        return None
    # `active_slots` is what the decay has left; one more goes with each full wait since the last change.
    now = utc_now()
    # Prefect's datetimes are of a class that does not divide by Python's timedelta.
    changed = datetime.fromtimestamp((limit.updated or now).timestamp(), UTC)
    wait = timedelta(seconds=1 / limit.slot_decay_per_second)
    return changed + wait * ((now - changed) // wait + 1 + limit.active_slots - limit.limit)
