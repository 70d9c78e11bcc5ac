"""A ledger on both databases that is made once and emptied for each test: making it takes longer than most tests."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy

from blocks.engine import dispose_engines, engine, session
from blocks.settings import settings
from tasks.traders.core.schema import TradersTable
from tests.traders.core.tape_rows import empty_ledger, people, stream


@pytest.fixture(scope="session")
def _traders_postgresql(postgres_url: str) -> str:
    server = sqlalchemy.make_url(postgres_url).set(drivername="postgresql+psycopg")
    name = f"traders_core_{uuid4().hex}"
    admin = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name} STRATEGY FILE_COPY"))
    admin.dispose()
    return server.set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def _traders_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traders-core")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def book_ledger(request: pytest.FixtureRequest, _traders_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty traders ledger, on SQLite and on PostgreSQL; gives the dialect's name."""
    monkeypatch.setenv("QUINTET_HOME", str(_traders_home))
    if request.param == "postgresql":
        monkeypatch.setenv("QUINTET_DATABASE_URL", request.getfixturevalue("_traders_postgresql"))
    settings.cache_clear()
    with engine("traders").begin() as connection:
        if request.param == "postgresql":
            connection.execute(sqlalchemy.text("CREATE SCHEMA IF NOT EXISTS traders"))
        TradersTable.metadata.create_all(connection)
    empty_ledger()
    yield request.param
    dispose_engines()
    settings.cache_clear()


@pytest.fixture
def followed(book_ledger: str) -> None:
    """Two traders; BTC and ETH are followed and whole up to 100."""
    with session("traders") as opened:
        people(opened, 2)
        stream(opened, "BTC", "ETH", whole=100)
