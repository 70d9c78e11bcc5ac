"""A pool on the shared server, and warm workers for it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun

from deployments.services.warm_worker import WarmWorker

FLOWS = "tests.services.warm_flows"
# Long enough for a busy machine; nothing waits longer than it takes.
PATIENCE_SECONDS = 60.0


def eventually(what: Callable[[], Any]) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        answer = what()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"never true: {what}")


class Pool:
    """A work pool of type `warm` with deployments and worker processes."""

    def __init__(self, api_url: str, home: Path) -> None:
        self.name = f"warm-{uuid4().hex[:8]}"
        self.home = home
        self.log = home / "worker.log"
        self._environment = {**os.environ, "PREFECT_API_URL": api_url, "QUINTET_HOME": str(home)}
        self.workers: list[subprocess.Popen[bytes]] = []
        self._ask(lambda client: client.create_work_pool(WorkPoolCreate(name=self.name, type="warm")))

    def worker(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        command = [sys.executable, "-m", "deployments.services.warm_worker", "--pool", self.name, *arguments]
        with self.log.open("ab") as log:
            worker = subprocess.Popen(
                [*command, "--preload", FLOWS], env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        self.workers.append(worker)
        return worker

    def run(self, flow: str, parameters: dict[str, Any], **deployment: Any) -> UUID:
        """Deploy a flow of `warm_flows` and start a run of it."""
        deployment = {"entrypoint": f"{FLOWS}.{flow.replace('-', '_')}", "pull_steps": [], **deployment}

        async def start(client: Any) -> UUID:
            flow_id = await client.create_flow_from_name(flow)
            deployed = await client.create_deployment(
                flow_id=flow_id, name=uuid4().hex, work_pool_name=self.name, **deployment
            )
            run = await client.create_flow_run_from_deployment(deployed, parameters=parameters)
            return UUID(str(run.id))

        return UUID(str(self._ask(start)))

    def read(self, run: UUID) -> FlowRun:
        """A run as the API knows it."""
        flow_run: FlowRun = self._ask(lambda client: client.read_flow_run(run))
        return flow_run

    def state(self, run: UUID, *names: str) -> FlowRun:
        """Wait until the run has one of the states."""

        def look() -> FlowRun | None:
            flow_run = self.read(run)
            return flow_run if flow_run.state_name in names else None

        try:
            found: FlowRun = eventually(look)
        except AssertionError:
            said = self.log.read_text()[-4000:]
            raise AssertionError(f"{self.read(run).state!r} is none of {names}; the worker said:\n{said}") from None
        return found

    def ask(self, what: Callable[[Any], Any]) -> Any:
        """Ask the API something."""
        return self._ask(what)

    def _ask(self, what: Callable[[Any], Any]) -> Any:
        async def asking() -> Any:
            async with get_client() as client:
                return await what(client)

        return asyncio.run(asking())

    def close(self) -> None:
        """End the workers."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)
                worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            try:
                worker.wait(20)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


@pytest.fixture(scope="module")
def warm_template() -> dict[str, Any]:
    """The job template of a warm pool."""
    return WarmWorker.get_default_base_job_template()


@pytest.fixture
def pool(prefect_api: str, tmp_path: Path) -> Iterator[Pool]:
    """A pool of this test's own."""
    made = Pool(prefect_api, tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared_pool(prefect_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """A pool with one worker, for tests that do nothing to the worker itself."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_server.url}):
        made = Pool(prefect_server.url, tmp_path_factory.mktemp("warm"))
        made.worker()
        yield made
        made.close()
