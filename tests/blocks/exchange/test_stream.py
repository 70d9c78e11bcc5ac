"""The trade stream against a real WebSocket server: what it follows, in what order, and how it ends."""

import asyncio
from dataclasses import dataclass, field

import pytest

from blocks.exchange.items import (
    Closed,
    Failed,
    Item,
    Opened,
    Subscribed,
    Trades,
)
from blocks.exchange.limits import CONNECTIONS_ROUTE, MESSAGES_ROUTE
from blocks.exchange.stream import TradeStream, shards
from blocks.exchange.stream_options import StreamOptions
from tests.blocks.exchange.scripted_exchange import (
    FRAMES,
    Peer,
    accept_and_stay,
    exchange,
    of,
    open_stream,
    soon,
    tids,
    trade,
    trades_frame,
    until,
    until_closed,
)


async def test_every_frame_is_one_item_in_order() -> None:
    async def script(peer: Peer) -> None:
        await peer.socket.send("Websocket connection established.")
        await peer.accept()
        await peer.trades(1, 2)
        await peer.trades()
        await peer.error("Something else.")
        await peer.socket.send(b"\xff\xff")
        await peer.socket.send(trades_frame([trade(3), trade(4, px="NaN")]))
        await peer.trades(5)

    async with exchange(script, accept_and_stay) as server, open_stream(server.url) as stream:
        items, closed = await until_closed(stream)
        assert [type(item).__name__ for item in items] == [
            *("Opened", "Control", "Control", "Subscribed", "Trades", "Empty", "ErrorFrame", "Unreadable"),
            *("Trades", "Trades", "Closed"),
        ]
        assert items[0] == Opened(1, items[0].at, ("BTC",))
        assert items[3] == Subscribed(1, items[3].at, "BTC")
        assert tids(items) == [1, 2, 3, 5]
        assert [frame.rejected for frame in of(Trades, items)] == [0, 1, 0]
        assert [item.at for item in items] == sorted(item.at for item in items)
        assert closed == Closed(1, closed.at, ("BTC",), "closed by the exchange (1000)")
        assert server.peers[0].requests == [{"method": "subscribe", "subscription": {"type": "trades", "coin": "BTC"}}]


def test_coins_are_spread_evenly_over_as_few_connections_as_will_do() -> None:
    names = [f"C{number}" for number in range(250)]
    parts = shards([*names, "C0"], StreamOptions())
    assert [len(part) for part in parts] == [84, 83, 83]
    assert sorted(coin for part in parts for coin in part) == sorted(names)


@pytest.mark.parametrize(
    ("coins", "options"),
    [
        (0, StreamOptions()),
        (1001, StreamOptions(connections=11)),
        (1001, StreamOptions(subscriptions=2000)),
        (5, StreamOptions(subscriptions=4)),
        (5, StreamOptions(connections=2, subscriptions_per_connection=2)),
    ],
)
def test_more_coins_than_the_exchange_permits_are_refused(coins: int, options: StreamOptions) -> None:
    with pytest.raises(ValueError, match="coin"):
        TradeStream("ws://127.0.0.1:1/ws", [f"C{number}" for number in range(coins)], options)


@pytest.mark.parametrize("url", ["https://api.hyperliquid.xyz/ws", "api.hyperliquid.xyz", "ws://", "ws://u:p@host/ws"])
def test_what_is_no_address_of_a_websocket_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="address"):
        TradeStream(url, ["BTC"])


async def test_connections_go_on_beside_each_other() -> None:
    async def script(peer: Peer) -> None:
        for coin in await peer.accept(2):
            await peer.trades(peer.number, coin=coin)
        if peer.number == 2:
            await peer.socket.close()
        await peer.stay()

    coins = [f"C{number}" for number in range(6)]
    async with exchange(script) as server, open_stream(server.url, *coins, subscriptions_per_connection=2) as stream:
        assert sorted(stream.coins) == coins
        items = await until(stream, lambda item: isinstance(item, Trades) and item.connection == 4)
        items += await stream.take(seconds=0)
        opened = {item.connection: item.coins for item in of(Opened, items)}
        assert sorted(coin for number in (1, 2, 3) for coin in opened[number]) == coins
        # The one that was closed is the only one that was made again.
        (closed,) = of(Closed, items)
        assert (set(opened), opened[4]) == ({1, 2, 3, 4}, closed.coins)
        for number, names in opened.items():
            own = [item for item in items if not isinstance(item, Failed) and item.connection == number]
            assert isinstance(own[0], Opened)
            assert {trade.coin for item in of(Trades, own) for trade in item.trades} <= set(names)


@dataclass
class WritingLimiter:
    """Gives every permit at once and writes down; fails from some number of messages on."""

    fails_at: int = 1000
    asked: list[str] = field(default_factory=list)
    finished_count: int = 0

    async def acquire(self, *, route: str, method: str) -> "WritingLimiter":
        self.asked.append(route)
        if self.asked.count(MESSAGES_ROUTE) >= self.fails_at:
            raise LookupError("the limits cannot be read")
        return self

    def finished(self) -> None:
        self.finished_count += 1


async def test_each_connection_and_each_message_has_a_permit() -> None:
    async def pinged(peer: Peer) -> None:
        await peer.accept(2)
        await peer.request()
        server.refusals = 1

    limiter = WritingLimiter()
    async with (
        exchange(pinged, accept_and_stay) as server,
        open_stream(server.url, "BTC", "ETH", limiter=limiter, ping_seconds=0.05) as stream,
    ):
        await until(stream, lambda item: isinstance(item, Opened) and item.connection == 2)
    first = server.peers[0].requests
    assert [request["method"] for request in first] == ["subscribe", "subscribe", "ping"]
    # One connection was open, one refused, one open.
    assert limiter.asked.count(CONNECTIONS_ROUTE) == 3
    assert limiter.asked[:4] == [CONNECTIONS_ROUTE, MESSAGES_ROUTE, MESSAGES_ROUTE, MESSAGES_ROUTE]
    assert limiter.finished_count == len(limiter.asked)


async def test_an_error_of_the_limiter_ends_the_stream_after_all_that_came() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.trades(1)
        await peer.stay()

    async with (
        exchange(script) as server,
        open_stream(server.url, "BTC", limiter=WritingLimiter(fails_at=2), ping_seconds=0.2) as stream,
    ):
        items: list[Item] = []
        with pytest.raises(LookupError, match="the limits cannot be read"):
            while True:
                assert not stream.ended
                items += await stream.take(seconds=60)
        assert tids(items) == [1]
        assert stream.ended


async def test_stopped_it_closes_and_gives_what_had_come() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        for tid in range(100):
            await peer.trades(tid)
        await peer.stay()

    async with exchange(script) as server, open_stream(server.url) as stream:
        await soon(lambda: stream.held >= 100)
        stream.stop()
        items = [item async for item in stream]
        assert tids(items) == list(range(100))
        assert items[-1] == Closed(1, items[-1].at, ("BTC",), "stopped")
        assert stream.ended
        assert await stream.take() == []
        assert server.peers[0].socket.close_code == 1000


async def test_stopped_between_two_attempts_it_ends_at_once() -> None:
    async with (
        exchange(accept_and_stay, refusals=1000) as server,
        open_stream(server.url, jitter=1.0, reconnect_base_seconds=3600, reconnect_cap_seconds=3600) as stream,
    ):
        await until(stream, lambda item: isinstance(item, Failed))
        stream.stop()
        assert [item async for item in stream] == []


async def test_left_it_closes_even_when_nobody_reads() -> None:
    async def flood(peer: Peer) -> None:
        await peer.accept()
        while True:
            await peer.trades(*range(1000))

    async with exchange(flood) as server:
        async with open_stream(server.url, queue_trades=10) as stream:
            # The opening, the acknowledgement and its frame; the next frame does not fit.
            await soon(lambda: stream.held == 3)
        await soon(lambda: server.peers[0].socket.close_code is not None)
        assert len(server.peers) == 1


async def test_it_is_opened_once_and_read_by_one() -> None:
    async with exchange(accept_and_stay) as server, open_stream(server.url) as stream:
        await until(stream, lambda item: isinstance(item, Subscribed))
        with pytest.raises(RuntimeError, match="opened already"):
            await stream.__aenter__()
        reader = asyncio.create_task(stream.take(seconds=60))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="somebody else"):
            await stream.take(seconds=60)
        reader.cancel()
        await asyncio.wait([reader])
        await server.peers[0].trades(1)
        assert tids(await stream.take(trades=1, seconds=60)) == [1]


async def test_frames_and_happenings_are_told_apart() -> None:
    """Who counts frames counts these types, and gets what the server sent."""

    async def script(peer: Peer) -> None:
        await peer.accept(3)
        await peer.trades(1)
        await peer.socket.close()

    async with exchange(script) as server, open_stream(server.url, "A", "B", "C") as stream:
        items, _ = await until_closed(stream)
        assert sum(isinstance(item, FRAMES) for item in items) == 4
