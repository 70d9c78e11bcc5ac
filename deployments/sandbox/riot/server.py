"""The sandbox as a server: in a process of its own, or in a thread of a test's."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

import uvicorn

from deployments.sandbox.riot.application import Sandbox
from deployments.sandbox.riot.options import SandboxOptions


def sandbox_app(options: SandboxOptions, clock: Callable[[], float] = time.monotonic) -> Sandbox:
    """The ASGI application, with a clock of its own if wanted."""
    return Sandbox(options, clock)


class _Server(uvicorn.Server):
    """Tells when it listens, and leaves signals alone."""

    def __init__(self, app: Sandbox, port: int, ready: Callable[[int], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host="127.0.0.1",
                port=port,
                http="h11",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                # Longer than any pause in a test: a connection must not end just as it is used again.
                timeout_keep_alive=600,
                timeout_graceful_shutdown=1,
            )
        )
        self._ready = ready

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready(self.servers[0].sockets[0].getsockname()[1])

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(options: SandboxOptions, port: int, ready: Callable[[dict[str, Any]], None]) -> uvicorn.Server:
    """A server that is not running yet: `run()` it; `should_exit = True` ends it."""
    app = Sandbox(options)
    return _Server(app, port, lambda actual: ready(app.ready(actual)))


@dataclass(frozen=True)
class RunningSandbox:
    """A sandbox in a thread of this process."""

    url: str
    base_url: str
    key: str
    player: dict[str, str]
    accounts: dict[str, Any]
    app: Sandbox


@contextmanager
def running_sandbox(options: SandboxOptions | None = None) -> Iterator[RunningSandbox]:
    """Run a sandbox on a free port, in a thread, until the block ends.

    Raises:
        RuntimeError: it did not start.
    """
    app = Sandbox(options or SandboxOptions())
    listening = Event()
    ports: list[int] = []

    def ready(port: int) -> None:
        ports.append(port)
        listening.set()

    server = _Server(app, 0, ready)

    def run() -> None:
        try:
            with suppress(SystemExit):
                server.run()
        finally:
            listening.set()

    thread = Thread(target=run, name="riot-sandbox", daemon=True)
    thread.start()
    try:
        listening.wait()
        if not ports:
            raise RuntimeError("the sandbox did not start")
        told = app.ready(ports[0])
        url = f"http://127.0.0.1:{ports[0]}"
        yield RunningSandbox(url, told["base_url"], told["key"], told["player"], told["accounts"], app)
    finally:
        server.should_exit = True
        thread.join()
