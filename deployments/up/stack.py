"""The whole of quintet on one machine: started in order, kept alive, ended in order."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from blocks.settings import Settings, settings
from deployments.errors import ExpectedError
from deployments.pins import check_installed_prefect
from deployments.up.child import Child, ChildSpec
from deployments.up.ports import free_port, require_free
from deployments.up.server import DEFAULT_PORT, HOST, api_url_of, server_spec, ui_url_of
from deployments.up.supervisor import Supervisor
from deployments.work_pools import WORK_POOL, critical_queues

#: What clients say while they wait for the outside world belongs to the run that waits. A background task has no flow
#: run to send its lines to; they are in its process's own log.
_LOGGING = {
    "PREFECT_LOGGING_EXTRA_LOGGERS": "blocks",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}
READY_SECONDS = 60.0
# A first start on a slow or busy machine takes a while; nobody should think that it hangs.
STILL_SECONDS = 5


class StackError(ExpectedError):
    """Something that has to run does not start; the text says what it said."""


@dataclass(frozen=True)
class StackOptions:
    """What to start.

    Attributes:
        port: port of Prefect's server; 0 takes a free one. Unused where `PREFECT_API_URL` names a server.
        queues: serve these queues with one worker; by default all with one and the critical ones with another.
        workers: whether workers are started.
        critical_worker: whether the critical queues have a worker of their own.
        task_worker: whether background tasks are served.
        listener: whether DICOM is received.
        listener_port: port of the listener instead of the setting's; 0 takes a free one.
        drain_seconds: time that runs get to finish at the end.
        prefect_blocks: whether the server registers Prefect's own block types, which takes it two seconds.
        recreate_work_pool: whether a work pool of another type than the setting's is deleted and made anew.
    """

    port: int = DEFAULT_PORT
    queues: tuple[str, ...] = ()
    workers: bool = True
    critical_worker: bool = True
    task_worker: bool = True
    listener: bool = True
    listener_port: int | None = None
    drain_seconds: float = 60.0
    prefect_blocks: bool = True
    recreate_work_pool: bool = False


class Service(NamedTuple):
    """A line of the table that `quintet up` prints."""

    name: str
    where: str
    pid: int | None
    log: str


class Stack:
    """Everything, for as long as the `with` block lasts.

    Args:
        options: what to start.
        on_step: told what is being started.
        on_event: told what happens to children afterwards.

    Raises:
        ExpectedError: (on entering) a port in use, a home that cannot be written, another `quintet up`, something that
            does not start.
    """

    def __init__(
        self,
        options: StackOptions = StackOptions(),
        *,
        on_step: Callable[[str], None] = lambda step: None,
        on_event: Callable[[str], None] = lambda event: None,
    ) -> None:
        self.options = options
        self._on_step = on_step
        self._on_event = on_event
        self._exits = contextlib.ExitStack()
        self._hurry = threading.Event()
        self._stop = threading.Event()
        self._listener: tuple[str, int] | None = None

    @classmethod
    def for_demo(cls, *, listener: bool = True, on_step: Callable[[str], None] = lambda step: None) -> "Stack":
        """One on free ports, beside whatever else runs here."""
        return cls(
            StackOptions(
                port=0,
                listener=listener,
                listener_port=0,
                task_worker=False,
                critical_worker=False,
                drain_seconds=10,
                prefect_blocks=False,
            ),
            on_step=on_step,
        )

    @property
    def api_url(self) -> str:
        """Prefect's API."""
        return self._api_url

    @property
    def ui_url(self) -> str:
        """Prefect's UI."""
        return ui_url_of(self._api_url)

    @property
    def listener(self) -> tuple[str, int]:
        """Host and port that receive DICOM.

        Raises:
            StackError: it was not started.
        """
        if self._listener is None:
            raise StackError("the DICOM listener was not started")
        return self._listener

    @property
    def services(self) -> list[Service]:
        """What runs, for people."""
        places = {"prefect-server": self.ui_url}
        if self._listener is not None:
            places["dicom-listener"] = f"{settings().dicom.receive.ae_title}@{self._listener[0]}:{self._listener[1]}"
        children = self._supervisor.children
        return [
            Service(child.spec.name, places.get(child.spec.name, ""), child.pid, str(child.log)) for child in children
        ]

    def wait(self) -> None:
        """Until `stop` is called, from a signal handler or another thread."""
        self._stop.wait()

    def stop(self) -> None:
        """Have `wait` return; when already stopping, have nobody waited for."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def __enter__(self) -> Self:
        try:
            self._start(settings())
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._exits.close()

    def _start(self, config: Settings) -> None:
        options, root = self.options, config.root
        # Before anything is written: Prefect's server would migrate its database.
        check_installed_prefect()
        given = os.environ.get("PREFECT_API_URL")
        port = options.port or free_port()
        receive = config.dicom.receive
        listener_port = receive.port if options.listener_port is None else options.listener_port

        def check_ports() -> None:
            if not given:
                require_free(HOST, port, purpose="Prefect's server", setting="`--port`")
            if options.listener:
                setting = "QUINTET_DICOM__RECEIVE__PORT"
                require_free(receive.host, listener_port, purpose="the DICOM listener", setting=setting)

        if not (root / "run").exists():
            # A first start that is not to be leaves nothing behind.
            check_ports()
        # Ends what a killed `quintet up` of this home left behind, which may hold the ports.
        self._supervisor = Supervisor(root, self._on_event)
        self._exits.callback(self._supervisor.stop, self._hurry)
        check_ports()
        self._api_url = given or api_url_of(port)
        # A server of somebody else's may need the key that is in the user's own Prefect profile.
        own_home = {} if given or os.environ.get("PREFECT_HOME") else _own_prefect_home(root)
        logging = {name: os.environ.get(name, value) for name, value in _LOGGING.items()}
        self._exits.enter_context(_environment(PREFECT_API_URL=self._api_url, **logging, **own_home))
        server = None
        if not given:
            self._on_step("start Prefect's server")
            server = self._supervisor.start(server_spec(root, port, prefect_blocks=options.prefect_blocks))
        # They import while the server starts, and wait for what `apply` makes.
        for spec in self._worker_specs(config):
            self._supervisor.start(spec)
        self._apply(server)
        self._on_step("start workers")
        if options.task_worker:
            self._supervisor.start(ChildSpec("task-worker", "deployments.services.task_worker", stage=2))
        if options.listener:
            self._on_step("start the DICOM listener")
            self._listener = self._start_listener(listener_port, root / "dicom" / "listener.json")

    def _apply(self, server: Child | None) -> None:
        """Migrations, limits, queues, deployments. A process of its own: it imports while the server starts."""
        self._on_step("wait for Prefect's server and apply")
        options = ("--recreate-work-pool",) if self.options.recreate_work_pool else ()
        applying = subprocess.Popen(
            [sys.executable, "-m", "deployments.up.bring_up", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        began, told = time.monotonic(), 0
        try:
            while applying.poll() is None:
                waited = int(time.monotonic() - began) // STILL_SECONDS * STILL_SECONDS
                if waited > told:
                    told = waited
                    self._on_step(f"still waiting after {waited} s")
                if server is not None and (server.restarts or server.exit_code is not None):
                    raise StackError(f"Prefect's server does not start:\n{server.tail()}")
                if self._stop.wait(0.05):
                    raise StackError("stopped while starting")
            said = applying.communicate()[0].strip()
        finally:
            if applying.poll() is None:
                applying.kill()
            applying.wait()
            assert applying.stdout is not None  # noqa: S101 - asked for above
            applying.stdout.close()
        if applying.returncode != 0:
            raise StackError(f"the project could not be applied:\n{said}")
        for line in said.splitlines():
            self._on_event(line)

    def _worker_specs(self, config: Settings) -> Iterator[ChildSpec]:
        if not self.options.workers:
            return
        critical = critical_queues()
        if self.options.queues:
            yield self._worker_spec(config, "worker", self.options.queues)
            return
        if not self.options.critical_worker:
            yield self._worker_spec(config, "worker", ())
            return
        yield self._worker_spec(config, "worker", (), standby=critical)
        if critical:
            yield self._worker_spec(config, "worker-critical", critical)

    def _worker_spec(
        self, config: Settings, name: str, queues: "tuple[str, ...] | list[str]", standby: "list[str] | None" = None
    ) -> ChildSpec:
        who = ("--pool", WORK_POOL, "--name", f"{socket.gethostname()}-{name}")
        only = tuple(part for queue in queues for part in ("--work-queue", queue))
        drain = self.options.drain_seconds
        if config.work_pool_type == "warm":
            after = tuple(part for queue in standby or () for part in ("--standby-queue", queue))
            arguments = (*who, *only, *after, "--await-pool", "--drain-seconds", str(drain))
            return ChildSpec(name, "deployments.services.warm_worker", arguments, stop_seconds=drain + 20, stage=1)
        arguments = ("worker", "start", "--type", config.work_pool_type, *who, *only)
        return ChildSpec(name, "prefect", arguments, stop_seconds=drain + 20, stage=1)

    def _start_listener(self, port: int, ready_file: Path) -> tuple[str, int]:
        spec = ChildSpec(
            "dicom-listener",
            "deployments.services.dicom_listener",
            environment={"QUINTET_DICOM__RECEIVE__PORT": str(port)},
            stop_seconds=30,
            stage=3,
        )
        ready_file.unlink(missing_ok=True)
        child = self._supervisor.start(spec)
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError):
                ready = json.loads(ready_file.read_text())
                return ready["host"], ready["port"]
            if child.restarts or self._stop.wait(0.05):
                break
        raise StackError(f"the DICOM listener does not start:\n{child.tail()}")


def _own_prefect_home(root: Path) -> dict[str, str]:
    """Prefect's settings of a stack that keeps to itself."""
    home = {"PREFECT_HOME": str(root / "prefect")}
    if any(os.environ.get(name) for name in ("PREFECT_RESULTS_LOCAL_STORAGE_PATH", "PREFECT_LOCAL_STORAGE_PATH")):
        return home
    # `task.delay(...)` leaves the parameters in a file where the terminal's own Prefect home is, and a task worker that
    # looks for them elsewhere forgets the task without a word to anybody.
    return {**home, "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(Path.home() / ".prefect" / "storage")}


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set variables of this process and of what it starts, for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
