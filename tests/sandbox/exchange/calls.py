"""Calls to the exchange's ASGI application without a server, and a WebSocket client that knows its words."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from deployments.sandbox.exchange.application import Exchange
from deployments.sandbox.exchange.options import ExchangeOptions

#: Noon of a Sunday; every time of these tests hangs on it.
NOON = 1_795_348_800_000


class Clock:
    """Two clocks that move when told: the server's in seconds, the market's in milliseconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def market(self) -> int:
        return NOON + round((self.now - 1000.0) * 1000)


class Caller:
    """Asks an exchange whose market stands still unless it is told to play."""

    def __init__(self, host: str = "10.0.0.1", **options: Any) -> None:
        self.clock = Clock()
        self.exchange = Exchange(ExchangeOptions(**{"paused": True, **options}), self.clock, self.clock.market)
        self.addresses = self.exchange.world.addresses
        self._client = self.from_host(host)

    def from_host(self, host: str) -> httpx.AsyncClient:
        """A client at another address."""
        transport = httpx.ASGITransport(self.exchange, client=(host, 1))
        return httpx.AsyncClient(transport=transport, base_url="http://exchange")

    async def post(self, kind: str, **told: Any) -> httpx.Response:
        return await self._client.post("/info", json={"type": kind, **told})

    async def info(self, kind: str, **told: Any) -> Any:
        return (await self.post(kind, **told)).raise_for_status().json()

    async def raw(self, body: bytes, content_type: str = "application/json") -> httpx.Response:
        return await self._client.post("/info", content=body, headers={"Content-Type": content_type})

    async def command(self, name: str, **told: Any) -> httpx.Response:
        return await self._client.post(f"/__{name}", json=told)

    async def tell(self, name: str, **told: Any) -> Any:
        return (await self.command(name, **told)).raise_for_status().json()

    async def truth(self, parts: str = "", **query: Any) -> Any:
        answer = await self._client.get("/__truth", params={"parts": parts, **query})
        return answer.raise_for_status().json()


class Listener:
    """A WebSocket client."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def say(self, **told: Any) -> None:
        await self.socket.send(json.dumps(told))

    async def subscribe(self, *coins: str) -> None:
        """Subscribe and wait for the acknowledgements; whatever comes between is lost."""
        for coin in coins:
            await self.say(method="subscribe", subscription={"type": "trades", "coin": coin})
            while (await self.hear())["channel"] != "subscriptionResponse":
                pass

    async def text(self) -> str:
        async with asyncio.timeout(20):
            heard = await self.socket.recv()
        assert isinstance(heard, str)
        return heard

    async def hear(self) -> Any:
        return json.loads(await self.text())

    async def trades(self, count: int) -> list[dict[str, Any]]:
        """At least so many trades."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            heard = await self.hear()
            assert heard["channel"] == "trades"
            found += heard["data"]
        return found


@asynccontextmanager
async def listening(ws_url: str, **options: Any) -> AsyncIterator[Listener]:
    """A connection, its greeting heard."""
    async with connect(ws_url, compression=None, max_size=None, ping_interval=None, **options) as socket:
        listener = Listener(socket)
        assert await listener.text() == "Websocket connection established."
        yield listener
