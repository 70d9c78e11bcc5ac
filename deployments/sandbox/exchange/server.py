"""The sandbox as a server: in a process of its own, or in a thread of a test's."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from deployments.sandbox.exchange.application import Exchange
from deployments.sandbox.exchange.connection import SilentProtocol
from deployments.sandbox.exchange.options import ExchangeOptions
from deployments.sandbox.serving import LocalServer, in_thread


class _Server(LocalServer):
    """Lets the market run while it listens."""

    def __init__(self, app: Exchange, port: int, ready: Callable[[int], None]) -> None:
        # Idle rules are the application's; compression would be most of the work.
        super().__init__(app, port, ready, ws=SilentProtocol, ws_ping_interval=None, ws_per_message_deflate=False)
        self._app = app
        self._market: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._market = asyncio.create_task(self._app.pace.run())
            self._market.add_done_callback(self._market_ended)

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        if self._market is not None:
            self._market.cancel()
        await super().shutdown(sockets)

    def _market_ended(self, market: asyncio.Task[None]) -> None:
        # A market that broke must not look like a quiet one.
        if not market.cancelled() and market.exception() is not None:
            self.should_exit = True

    @property
    def broken(self) -> BaseException | None:
        """What ended the market, if anything did."""
        done = self._market is not None and self._market.done() and not self._market.cancelled()
        return self._market.exception() if done and self._market is not None else None


def serve(options: ExchangeOptions, port: int, ready: Callable[[dict[str, Any]], None]) -> _Server:
    """A server that is not running yet: `run()` it; `should_exit = True` ends it."""
    app = Exchange(options)
    return _Server(app, port, lambda actual: ready(app.ready(actual)))


@dataclass(frozen=True)
class RunningExchange:
    """An exchange in a thread of this process; everything is asked over HTTP, as the market runs meanwhile."""

    url: str
    ws_url: str
    told: dict[str, Any]
    app: Exchange
    client: httpx.Client

    def truth(self, parts: str | None = None, **query: object) -> Any:
        """The ground truth, in parts; of one `user`, one `coin`, or `since` a time."""
        asked = {name: str(value) for name, value in query.items()} | ({"parts": parts} if parts else {})
        return self._checked(self.client.get("/__truth", params=asked))

    def info(self, kind: str, **told: object) -> Any:
        """What `/info` answers; it weighs as for everybody."""
        return self._checked(self.client.post("/info", json={"type": kind, **told}))

    def tell(self, command: str, **told: object) -> Any:
        """Command something: `set`, `pause`, `resume`, `play`, `trade`, `finish`, `fault`..."""
        return self._checked(self.client.post(f"/__{command}", json=told))

    def _checked(self, answer: httpx.Response) -> Any:
        if answer.is_error:
            raise ValueError(f"{answer.status_code}: {answer.text}")
        return answer.json()


@contextmanager
def running_exchange(options: ExchangeOptions | None = None) -> Iterator[RunningExchange]:
    """Run an exchange on a free port, in a thread, until the block ends.

    Raises:
        RuntimeError: it did not start, or its market broke.
    """
    app = Exchange(options or ExchangeOptions())
    server = _Server(app, 0, lambda _: None)
    with in_thread(server, "exchange-sandbox") as port:
        told = app.ready(port)
        with httpx.Client(base_url=told["url"], timeout=60) as client:
            yield RunningExchange(told["url"], told["ws_url"], told, app, client)
    if server.broken is not None:
        raise RuntimeError("the sandbox's market broke") from server.broken
