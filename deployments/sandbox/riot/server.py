"""The sandbox as a server: in a process of its own, or in a thread of a test's."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from deployments.sandbox.riot.application import Sandbox
from deployments.sandbox.riot.options import SandboxOptions
from deployments.sandbox.serving import LocalServer, in_thread


def sandbox_app(options: SandboxOptions, clock: Callable[[], float] = time.monotonic) -> Sandbox:
    """The ASGI application, with a clock of its own if wanted."""
    return Sandbox(options, clock)


def serve(options: SandboxOptions, port: int, ready: Callable[[dict[str, Any]], None]) -> LocalServer:
    """A server that is not running yet: `run()` it; `should_exit = True` ends it."""
    app = Sandbox(options)
    return LocalServer(app, port, lambda actual: ready(app.ready(actual)))


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
    with in_thread(LocalServer(app, 0, lambda _: None), "riot-sandbox") as port:
        told = app.ready(port)
        url = f"http://127.0.0.1:{port}"
        yield RunningSandbox(url, told["base_url"], told["key"], told["player"], told["accounts"], app)
