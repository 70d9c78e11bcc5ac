"""Polls the positions of those who traded, fetches histories, and shows what that cost and brought.

Needs the exchange, the traders ledger and the rate limiter's; one run at a time, as the deployment and a lease say.
"""

from prefect import flow
from prefect.states import Completed

from flows.skipping import SKIPPED
from tasks.traders.tracking import TrackingResult, track_traders_batch
from tasks.traders.tracking_card import show_tracking


@flow(name="traders-track")
async def track(
    batch_size: int | None = None, seconds: float | None = None, full: bool = False
) -> TrackingResult | None:
    """Poll the positions of those who traded since their last poll, and fetch histories; publish what changed.

    Args:
        batch_size: polls at most, and histories at most; empty: as many as the exchange permits in the time.
        seconds: time after which nothing new is begun; empty: as the settings say.
        full: poll everybody, whether seen trading or not.

    Returns:
        What was done, what it weighed, and how far positions had drifted; None where another run is at it.

    Raises:
        TrackingError: the exchange answered nothing in all the time.
        ExchangeUnavailableError: it gave no answer for longer than the patience.
    """
    result = await track_traders_batch(batch_size, seconds, full)
    if result.held_by is not None:
        message = f"Nothing was done: {result.held_by} is tracking."
        return Completed(name=SKIPPED, message=message)  # type: ignore[return-value]  # Prefect makes it the run's state
    await show_tracking(result)
    return result
