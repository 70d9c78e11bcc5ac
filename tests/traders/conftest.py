"""The traders ledger together with the rate limiter's database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.engine import engine
from tasks.traders.core.schema import TradersTable
from tests.traders.exchanges import make_rates


@pytest.fixture
def traders_databases(traders_ledger: str) -> Iterator[str]:
    """The traders ledger and the rate limiter's tables, on SQLite and on PostgreSQL; gives the dialect's name."""
    make_rates(traders_ledger)
    yield traders_ledger
    engine("rates").dispose()


@pytest.fixture
def traders_files(home: Path) -> Path:
    """The same on SQLite only; gives the home."""
    TradersTable.metadata.create_all(engine("traders"))
    make_rates("sqlite")
    return home
