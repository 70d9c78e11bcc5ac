"""A stand-in as a uvicorn server on 127.0.0.1: in a process of its own, or in a thread of a test's."""

import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any

import uvicorn


class LocalServer(uvicorn.Server):
    """Tells when it listens, and leaves signals alone.

    Args:
        app: the ASGI application.
        port: 0 takes a free one.
        ready: told the port.
        options: further ones of uvicorn's.
    """

    def __init__(self, app: Any, port: int, ready: Callable[[int], None], **options: Any) -> None:
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
                **options,
            )
        )
        self.ready = ready

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Listen, and tell the port."""
        await super().startup(sockets)
        if self.started:
            self.ready(self.servers[0].sockets[0].getsockname()[1])

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's own business."""
        yield


def announce(told: Mapping[str, Any]) -> None:
    """Tell who started this process where it listens: one line of JSON."""
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def run_until_signalled(server: LocalServer) -> None:
    """Run a server in this process until SIGTERM or SIGINT."""

    def stop(*_: object) -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server.run()


@contextmanager
def in_thread(server: LocalServer, name: str) -> Iterator[int]:
    """Run a server in a thread until the block ends; gives its port.

    Raises:
        RuntimeError: it did not start.
    """
    listening = Event()
    ports: list[int] = []

    def ready(port: int) -> None:
        ports.append(port)
        listening.set()

    def run() -> None:
        try:
            with suppress(SystemExit):
                server.run()
        finally:
            listening.set()

    server.ready = ready
    thread = Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        listening.wait()
        if not ports:
            raise RuntimeError("the sandbox did not start")
        yield ports[0]
    finally:
        server.should_exit = True
        thread.join()
