"""The rates at which flows may be started: a slot of a global concurrency limit is taken first of all."""

from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError, rate_limit


class MissingLimitError(Exception):
    """The Prefect server has no limit of this name."""


async def take_slot(limit: str, timeout_seconds: float | None = None) -> None:
    """Wait for a slot of a rate.

    Args:
        limit: the name of a global concurrency limit with slot decay, of `deployments/limits.py`.
        timeout_seconds: the longest wait; None waits as long as it takes.

    Raises:
        TimeoutError: there was none in that time.
        MissingLimitError: `quintet apply` has not been run on this Prefect server.
        ConcurrencySlotAcquisitionError: the server cannot be asked.
    """
    try:
        await rate_limit(limit, strict=True, timeout_seconds=timeout_seconds)
    except ConcurrencySlotAcquisitionError as error:
        if "must be created" not in str(error):
            raise
        raise MissingLimitError(f"this Prefect server has no limit {limit}: run `quintet apply`") from error
