"""A league ledger together with the rate limiter's database, and a Riot API in a thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from blocks.engine import dispose_engines, engine
from blocks.rate_tables import RateTable
from blocks.settings import settings
from deployments.sandbox.riot.options import SandboxOptions
from deployments.sandbox.riot.server import RunningSandbox, running_sandbox
from tasks.league.core.tables import LeagueTable

#: A key that never waits, and timelines of a few frames.
WIDE: dict[str, Any] = {
    "players": 40,
    "matches": 14,
    "timeline_frames": 3,
    "missing_match_rate": 0.1,
    "missing_timeline_rate": 0.1,
    # Late ones are asked for in tests of their own: how long they are missing depends on how often they were asked for.
    "late_match_rate": 0.0,
    "app": ((20_000, 1.0),),
    "method": dict.fromkeys(SandboxOptions().method, ((20_000, 1.0),)),
}


@pytest.fixture
def league_databases(league_ledger: str) -> Iterator[str]:
    """The league ledger and the rate limiter's tables, on SQLite and on PostgreSQL; gives the dialect's name."""
    with engine("rates").begin() as connection:
        if league_ledger == "postgresql":
            # Other tests of this process had them in the same database.
            connection.execute(text("DROP SCHEMA IF EXISTS rates CASCADE"))
            connection.execute(text("CREATE SCHEMA rates"))
        RateTable.metadata.create_all(connection)
    yield league_ledger
    engine("rates").dispose()


@pytest.fixture
def league_files(home: Path) -> Path:
    """The same on SQLite only; gives the home."""
    make_tables()
    return home


def make_tables() -> None:
    """The tables of a home whose settings are in force."""
    LeagueTable.metadata.create_all(engine("league"))
    RateTable.metadata.create_all(engine("rates"))


@contextmanager
def riot(**options: Any) -> Iterator[RunningSandbox]:
    """A Riot API in a thread, set as the one in use: by default one that never makes anybody wait."""
    with (
        running_sandbox(SandboxOptions(**{**WIDE, **options})) as sandbox,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("QUINTET_LEAGUE__RIOT_API_KEY", sandbox.key)
        patch.setenv("QUINTET_LEAGUE__RIOT_BASE_URL", sandbox.base_url)
        settings.cache_clear()
        try:
            yield sandbox
        finally:
            settings.cache_clear()


@contextmanager
def home_in(folder: Path) -> Iterator[Path]:
    """Another home with tables of its own, on SQLite, in force until the block ends."""
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUINTET_HOME", str(folder))
        patch.delenv("QUINTET_DATABASE_URL", raising=False)
        settings.cache_clear()
        make_tables()
        yield folder
        dispose_engines()
    settings.cache_clear()
