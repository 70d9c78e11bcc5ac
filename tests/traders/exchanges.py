"""The sandbox exchange set as the one in use, with ledgers on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text

from blocks.engine import engine
from blocks.rate_tables import RateTable
from blocks.settings import settings
from deployments.sandbox.exchange.options import ExchangeOptions
from deployments.sandbox.exchange.server import RunningExchange, running_exchange


def make_rates(dialect: str) -> None:
    """The rate limiter's tables beside those of the traders."""
    with engine("rates").begin() as connection:
        if dialect == "postgresql":
            # Other tests of this process had them in the same database.
            connection.execute(text("DROP SCHEMA IF EXISTS rates CASCADE"))
            connection.execute(text("CREATE SCHEMA rates"))
        RateTable.metadata.create_all(connection)


@contextmanager
def exchange_in_use(**options: Any) -> Iterator[RunningExchange]:
    """An exchange in a thread whose market stands still: a short past, and as much weight as a test needs."""
    wide = {"days": 3, "paused": True, "weight": 100_000, "traders": 12, "edge_cases": False}
    with (
        running_exchange(ExchangeOptions(**{**wide, **options})) as exchange,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("QUINTET_TRADERS__EXCHANGE_URL", exchange.url)
        patch.setenv("QUINTET_TRADERS__EXCHANGE_WS_URL", exchange.ws_url)
        permitted = exchange.app.options
        patch.setenv("QUINTET_TRADERS__WEIGHT_PER_MINUTE", str(permitted.weight))
        patch.setenv("QUINTET_TRADERS__WEIGHT_WINDOW_SECONDS", str(permitted.weight_window))
        settings.cache_clear()
        try:
            yield exchange
        finally:
            settings.cache_clear()
