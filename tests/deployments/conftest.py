"""A Prefect server that belongs to the tests of `apply` alone: they change and prune everything on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tests.conftest import drain_prefect
from tests.servers import PrefectServer


@pytest.fixture(scope="session")
def own_server(
    tmp_path_factory: pytest.TempPathFactory, prefect_template: Path, prefect_in_process: None
) -> Iterator[PrefectServer]:
    """The server; its scheduler looks every second, so that a cron shows quickly."""
    server = PrefectServer(
        tmp_path_factory.mktemp("own-prefect-server"),
        prefect_template,
        PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS="1",
    )
    server.start()
    yield server
    drain_prefect()
    server.stop()


@pytest.fixture
def own_api(own_server: PrefectServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """That server in use, with a home of this test's own."""
    monkeypatch.setenv("PREFECT_API_URL", own_server.url)
    with temporary_settings({PREFECT_API_URL: own_server.url}):
        yield own_server.url
