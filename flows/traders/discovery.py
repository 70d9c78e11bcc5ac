"""Discovers traders: follows the exchange's public trades until it is stopped.

Needs the traders ledger, the rate limiter's database and the exchange. Runs as `traders-discover/every-half-hour`,
whose schedule starts it where it does not run, and which may be started by hand at any time.
"""

from typing import Any

from prefect import flow
from prefect.states import Completed

from flows.skipping import SKIPPED
from tasks.traders.discovery import TIME_IS_OVER, DiscoveryResult, manage_discovery_stream


@flow(name="traders-discover")
async def discover(coins: list[str] | None = None, seconds: float | None = None) -> DiscoveryResult | None:
    """Follow the trades of some coins and store them, and with them everybody who trades, until stopped.

    One run at a time: a second one ends at once, and its state says who runs.

    Args:
        coins: names as the exchange has them, such as BTC or xyz:AAPL; None: the settings'.
        seconds: how long; None: until it is stopped. With its worker, it ends as Completed and its state says so.

    Returns:
        What was received and stored; None where another run does that already.

    Raises:
        ValueError: no coin, or more than the exchange permits.
        CoinsRefusedError: the exchange knows none of the coins.
        LedgerError: the database cannot be used.
    """
    result = await manage_discovery_stream(coins, seconds)
    if result.running is not None:
        return _skipped(result.running)  # type: ignore[no-any-return]  # Prefect makes it the run's state
    if result.ended_for != TIME_IS_OVER:
        return _ended(result)  # type: ignore[no-any-return]  # as above
    return result


def _skipped(running: str) -> Any:
    return Completed(name=SKIPPED, message=f"Nothing was done: {running} follows the stream already.")


def _ended(result: DiscoveryResult) -> Any:
    message = f"Ended, because {result.ended_for}: {result.stored:,} trades were stored."
    return Completed(message=message, data=result)
