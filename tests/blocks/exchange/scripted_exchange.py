"""A real WebSocket server that does with each connection what a test says, and trades to send."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from blocks.exchange.items import Closed, Control, Empty, ErrorFrame, Item, Trades, Unreadable
from blocks.exchange.stream import TradeStream
from blocks.exchange.stream_options import StreamOptions

TIME = 1_700_000_000_000
FRAMES = (Trades, Empty, Control, ErrorFrame, Unreadable)


def address(number: int) -> str:
    return f"0x{number:040x}"


def trade(number: int, **fields: object) -> dict[str, object]:
    good = {
        "coin": "BTC",
        "side": "A",
        "px": "31248.0",
        "sz": "0.0009",
        "time": TIME + number,
        "hash": "0x" + "0" * 64,
        "tid": number,
        "users": [address(number), address(number + 1)],
    }
    return good | fields


def trades_frame(trades: Iterable[object]) -> str:
    return json.dumps({"channel": "trades", "data": list(trades)})


@dataclass
class Peer:
    """The exchange's side of one connection."""

    socket: ServerConnection
    number: int
    #: Everything that the client has sent, in order.
    requests: list[dict[str, Any]] = field(default_factory=list)

    async def request(self) -> dict[str, Any]:
        """The next thing that the client sends."""
        self.requests.append(json.loads(await self.socket.recv()))
        return self.requests[-1]

    async def subscription(self) -> str:
        """The coin that the client wants next; pings in between are answered."""
        while (request := await self.request())["method"] == "ping":
            await self.pong()
        assert request["method"] == "subscribe" and request["subscription"]["type"] == "trades"
        return str(request["subscription"]["coin"])

    async def accept(self, coins: int = 1) -> list[str]:
        """Acknowledge the next so many subscriptions."""
        accepted = []
        for _ in range(coins):
            accepted.append(await self.subscription())
            await self.acknowledge(accepted[-1])
        return accepted

    async def acknowledge(self, coin: str) -> None:
        subscription = {"method": "subscribe", "subscription": {"type": "trades", "coin": coin}}
        await self.say({"channel": "subscriptionResponse", "data": subscription})

    async def pong(self) -> None:
        await self.say({"channel": "pong"})

    async def error(self, text: str) -> None:
        await self.say({"channel": "error", "data": text})

    async def say(self, frame: object) -> None:
        await self.socket.send(json.dumps(frame))

    async def trades(self, *tids: int, coin: str = "BTC") -> None:
        await self.socket.send(trades_frame(trade(tid, coin=coin) for tid in tids))

    async def stay(self, *, answer: bool = True) -> None:
        """Answer pings until the connection ends."""
        while True:
            request = await self.request()
            if answer and request["method"] == "ping":
                await self.pong()


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class Server:
    """Where it listens, the connections that it had, and how many of the next handshakes it answers with 502."""

    url: str = ""
    peers: list[Peer] = field(default_factory=list)
    refusals: int = 0


@asynccontextmanager
async def exchange(*scripts: Script, refusals: int = 0) -> AsyncIterator[Server]:
    """A server whose connections are served by the scripts in turn, all later ones by the last.

    Args:
        scripts: what is done with a connection; it is closed with 1000 afterwards.
        refusals: how many handshakes are answered with 502 first.
    """
    server, failures = Server(refusals=refusals), []

    def refuse(connection: ServerConnection, request: Request) -> Response | None:
        if server.refusals == 0:
            return None
        server.refusals -= 1
        return connection.respond(HTTPStatus.BAD_GATEWAY, "")

    async def connected(socket: ServerConnection) -> None:
        server.peers.append(Peer(socket, len(server.peers) + 1))
        peer = server.peers[-1]
        try:
            await scripts[min(peer.number, len(scripts)) - 1](peer)
        except ConnectionClosed:
            return
        except AssertionError as error:
            failures.append(error)

    async with serve(
        connected, "127.0.0.1", 0, compression=None, ping_interval=None, close_timeout=1, process_request=refuse
    ) as listening:
        server.url = f"ws://127.0.0.1:{next(iter(listening.sockets)).getsockname()[1]}/ws"
        yield server
    assert not failures, failures


def open_stream(url: str, *coins: str, jitter: float = 0.0, limiter: Any = None, **options: Any) -> TradeStream:
    """A stream that waits for nothing; a test sets the times that it is about."""
    quick: dict[str, Any] = {
        "subscribe_interval_seconds": 0.0,
        "new_connections_per_minute": 1000,
        "close_seconds": 1.0,
    }
    return TradeStream(
        url, coins or ("BTC",), StreamOptions(**(quick | options)), limiter=limiter, jitter=lambda: jitter
    )


async def until(stream: TradeStream, enough: Callable[[Item], bool]) -> list[Item]:
    """Everything up to the first item that is enough; waits for ever, which the test's timeout ends."""
    items: list[Item] = []
    async for item in stream:
        items.append(item)
        if enough(item):
            return items
    raise AssertionError(f"the stream ended before: {items}")


async def until_closed(stream: TradeStream) -> tuple[list[Item], Closed]:
    """Everything of one connection, and how it ended."""
    items = await until(stream, lambda item: type(item) is Closed)
    closed = items[-1]
    assert isinstance(closed, Closed)
    return items, closed


def tids(items: Iterable[Item]) -> list[int]:
    return [trade.tid for item in items if isinstance(item, Trades) for trade in item.trades]


def of(kind: type[Any], items: Iterable[Item]) -> list[Any]:
    return [item for item in items if type(item) is kind]


async def soon(happened: Callable[[], bool]) -> None:
    """Wait until something is so; the test's timeout ends it."""
    while not happened():
        await asyncio.sleep(0.005)


async def accept_and_stay(peer: Peer) -> None:
    """Take every subscription, and go on until the client leaves."""
    await peer.accept()
    await peer.stay()
