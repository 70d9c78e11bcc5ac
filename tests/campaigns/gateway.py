"""A whole gateway for tests that are rough with it: `quintet up`, a sandbox peer, and rules that send everything there.

Everything runs in processes of its own; the test sees what an operator sees: the ledger, the files and Prefect's API.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import httpx
import psutil

from deployments.demo.processes import running
from deployments.processes import ProcessIdentity
from deployments.sandbox.dicom_store import PeerStore
from deployments.services.warm_worker.records import RunRecords
from deployments.work_pools import WORK_POOL
from tests.campaigns.store_senders import StoreSender
from tests.servers import free_port

RULES = """\
destinations:
  - name: archive
    dimse: {{host: 127.0.0.1, port: {port}, called_ae: SANDBOX, timeout_seconds: 10}}
    verify: {verify}
    maximum_attempts: 1000
rulesets:
  - name: routing
    rules:
      - name: everything
        destinations: [archive]
"""
#: Recovery in seconds instead of minutes. A lease must outlast the longest moment that a busy machine stops a process.
HASTE = {
    "QUINTET_DICOM__DELIVERY__LEASE_SECONDS": "10",
    "QUINTET_DICOM__DELIVERY__BACKOFF_BASE_SECONDS": "0.5",
    "QUINTET_DICOM__DELIVERY__BACKOFF_CAP_SECONDS": "5",
    "QUINTET_DICOM__DELIVERY__BREAKER_SECONDS": "2",
}
SWEEP = "dicom-sweep-associations/every-minute"
SWEEP_SECONDS = 3.0
#: `-m` arguments by which the children of `quintet up` are told apart.
SERVICES = {
    "listener": "deployments.services.dicom_listener",
    "worker": "deployments.services.warm_worker",
    "server": "uvicorn",
}
UNFINISHED = ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING", "PAUSED"]


class RoughGateway:
    """The gateway, for as long as the `with` block lasts.

    Args:
        home: its `QUINTET_HOME`, already set for this process.
        prefect_template: an SQLite file with Prefect's schema.
        verify: how the peer's deliveries are verified.
        prefect_api: a server of the test's own; by default `quintet up` starts and looks after one.
    """

    def __init__(self, home: Path, prefect_template: Path, *, verify: str, prefect_api: str | None = None) -> None:
        self.home = home
        self.port = free_port()
        self.senders: list[StoreSender] = []
        self._store = home.parent / "peer"
        self._verify = verify
        self._exits = ExitStack()
        self._up: subprocess.Popen[str] | None = None
        self._environment = self._make_environment(prefect_api)
        if prefect_api is None:
            (home / "prefect").mkdir()
            for file in prefect_template.parent.glob(f"{prefect_template.name}*"):
                shutil.copy(file, home / "prefect" / file.name)

    def _make_environment(self, prefect_api: str | None) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        environment |= HASTE | {
            "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
            "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
            "PREFECT_SERVER_UI_ENABLED": "false",
            "QUINTET_DICOM__RECEIVE__PORT": str(self.port),
        }
        if prefect_api is not None:
            environment |= {"PREFECT_API_URL": prefect_api, "PREFECT_HOME": str(self.home / "prefect")}
        return environment

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            peer = exits.enter_context(
                running(
                    "deployments.sandbox.dicom_peer", "--store", str(self._store), log=self.home.parent / "peer.log"
                )
            )
            rules = self.home / "dicom" / "rules"
            rules.mkdir(parents=True)
            (rules / "all.yaml").write_text(RULES.format(port=peer["port"], verify=self._verify))
            exits.callback(self.stop)
            self.start()
            self._exits = exits.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exits.close()

    def start(self) -> None:
        """Start `quintet up` and wait until it is ready."""
        command = [sys.executable, "-m", "deployments.cli", "up", "--json", "--port", "0", "--no-task-worker"]
        with (self.home.parent / "up.log").open("a") as log:
            self._up = subprocess.Popen(
                [*command, "--drain-seconds", "5"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._up.stdout is not None
        line = self._up.stdout.readline()
        assert line, f"`quintet up` did not start:\n{self.said()}"
        self.api = str(json.loads(line)["api"])

    def stop(self) -> None:
        """Stop `quintet up` as Ctrl-C does."""
        if self._up is None:
            return
        if self._up.poll() is None:
            self._up.send_signal(signal.SIGTERM)
            self._up.wait(120)
        self._close()

    def kill(self) -> None:
        """SIGKILL `quintet up` itself; its children are left to themselves."""
        assert self._up is not None
        self._up.kill()
        self._up.wait()
        self._close()

    def _close(self) -> None:
        assert self._up is not None and self._up.stdout is not None
        self._up.stdout.close()
        self._up = None

    def said(self) -> str:
        """What `quintet up` said of its children, at the end."""
        return (self.home.parent / "up.log").read_text()[-3000:]

    @property
    def listener(self) -> tuple[str, int]:
        """Where DICOM is received."""
        return "127.0.0.1", self.port

    @property
    def peer(self) -> dict[str, Any]:
        """What arrived at the peer, by the peer's own store."""
        return PeerStore(self._store).report()

    # Its processes

    def service(self, kind: str) -> list[int]:
        """The living processes of a service, none while the supervisor waits with its restart."""
        assert self._up is not None
        found = []
        for child in psutil.Process(self._up.pid).children():
            with _may_be_gone():
                if SERVICES[kind] in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child.pid)
        return found

    def flow_runs_here(self) -> dict[UUID, ProcessIdentity]:
        """The flow runs whose processes live on this machine."""
        records = RunRecords(self.home / "run" / "warm-worker" / WORK_POOL)
        return {
            record.flow_run_id: record.child for record in records if record.child is not None and record.child.alive()
        }

    # Prefect

    def flow_runs(self, *, flow: str | None = None, states: list[str] | None = None) -> list[dict[str, Any]]:
        """Flow runs of a flow in some states.

        Raises:
            httpx.HTTPError: the API is away.
        """
        chosen: dict[str, Any] = {"sort": "ID_DESC", "limit": 200}
        if flow is not None:
            chosen["flows"] = {"name": {"any_": [flow]}}
        if states is not None:
            chosen["flow_runs"] = {"state": {"type": {"any_": states}}}
        found: list[dict[str, Any]] = []
        while True:
            answer = httpx.post(f"{self.api}/flow_runs/filter", json=chosen | {"offset": len(found)}, timeout=20)
            page = answer.raise_for_status().json()
            found += page
            if len(page) < 200:
                return found

    def flow_run(self, flow_run_id: UUID) -> dict[str, Any]:
        """One flow run.

        Raises:
            httpx.HTTPError: the API is away.
        """
        answer = httpx.get(f"{self.api}/flow_runs/{flow_run_id}", timeout=20).raise_for_status().json()
        assert isinstance(answer, dict)
        return answer

    @contextmanager
    def frozen_api(self) -> Iterator[None]:
        """Prefect's server takes connections and never answers: worse for its clients than one that is gone."""
        (server,) = self.service("server")
        os.kill(server, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(server, signal.SIGCONT)

    def sweep(self) -> bool:
        """Ask for a sweep now; False while the API is away."""
        try:
            deployment = httpx.get(f"{self.api}/deployments/name/{SWEEP}", timeout=10).raise_for_status().json()
            asked = httpx.post(f"{self.api}/deployments/{deployment['id']}/create_flow_run", json={}, timeout=10)
        except httpx.TransportError:
            return False
        return asked.is_success

    @contextmanager
    def sweeping(self) -> Iterator[Callable[[], int]]:
        """Sweep every few seconds instead of every minute; gives a function that says how often that was."""
        over, times = threading.Event(), [0]

        def run() -> None:
            while not over.wait(SWEEP_SECONDS):
                times[0] += self.sweep()

        thread = threading.Thread(target=run, name="sweeping", daemon=True)
        thread.start()
        try:
            yield lambda: times[0]
        finally:
            over.set()
            thread.join()


@contextmanager
def _may_be_gone() -> Iterator[None]:
    try:
        yield
    except psutil.NoSuchProcess:
        return
