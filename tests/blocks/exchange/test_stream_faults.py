"""The trade stream against a real WebSocket server: how it survives what goes wrong."""

import asyncio
import socket
import time

import pytest

from blocks.exchange.items import (
    Closed,
    Control,
    ErrorFrame,
    Failed,
    Item,
    Refused,
    Subscribed,
    Trades,
    Unreadable,
)
from tests.blocks.exchange.scripted_exchange import (
    Peer,
    accept_and_stay,
    address,
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


async def test_after_a_close_it_connects_and_subscribes_again() -> None:
    async def tired(peer: Peer) -> None:
        await peer.accept(2)
        await peer.trades(peer.number)
        await peer.socket.close(1001, "going away\n")

    async with exchange(tired) as server, open_stream(server.url, "BTC", "ETH") as stream:
        for number in (1, 2, 3):
            items, closed = await until_closed(stream)
            assert (tids(items), closed.connection) == ([number], number)
            assert closed.reason == "closed by the exchange (1001: going away�)"
            assert {item.coin for item in of(Subscribed, items)} == {"BTC", "ETH"}


async def test_a_lost_connection_is_told_and_made_again() -> None:
    async def lost(peer: Peer) -> None:
        await peer.accept()
        await peer.trades(1)
        await soon(lambda: peer.socket.transport.get_write_buffer_size() == 0)
        peer.socket.transport.abort()

    async with exchange(lost, accept_and_stay) as server, open_stream(server.url) as stream:
        assert (await until_closed(stream))[1].reason == "connection lost (1006)"
        await until(stream, lambda item: isinstance(item, Subscribed) and item.connection == 2)


async def test_a_half_open_connection_is_given_up() -> None:
    async def silent(peer: Peer) -> None:
        await peer.accept()
        await peer.stay(answer=False)

    async with (
        exchange(silent, accept_and_stay) as server,
        open_stream(server.url, silence_seconds=0.2, ping_seconds=0.05) as stream,
    ):
        items, closed = await until_closed(stream)
        assert closed.reason == "silent for 0.2 s"
        assert tids(items) == []
        await until(stream, lambda item: isinstance(item, Subscribed) and item.connection == 2)


async def test_pongs_keep_a_quiet_connection_alive() -> None:
    async def quiet(peer: Peer) -> None:
        await peer.accept()
        # More than fit into the time that silence may last.
        while len(peer.requests) < 30:
            assert await peer.request() == {"method": "ping"}
            await peer.pong()
        await peer.trades(1)
        await peer.stay()

    async with (
        exchange(quiet) as server,
        open_stream(server.url, silence_seconds=1.0, ping_seconds=0.05) as stream,
    ):
        items = await until(stream, lambda item: isinstance(item, Trades))
        assert of(Closed, items) == []
        assert [item.channel for item in of(Control, items)] == ["subscriptionResponse"] + ["pong"] * 29


async def test_without_any_pong_a_busy_connection_is_given_up_too() -> None:
    async def deaf(peer: Peer) -> None:
        await peer.accept()
        for tid in range(10_000):
            await peer.trades(tid)
            await asyncio.sleep(0.01)

    async with (
        exchange(deaf) as server,
        open_stream(server.url, silence_seconds=0.3, ping_seconds=0.05) as stream,
    ):
        items, closed = await until_closed(stream)
        assert closed.reason == "no pong for 0.3 s"
        assert tids(items) == list(range(len(tids(items)))) != []


async def test_a_busy_process_is_not_taken_for_a_silent_exchange() -> None:
    async with (
        exchange(accept_and_stay) as server,
        open_stream(server.url, silence_seconds=0.5, ping_seconds=60) as stream,
    ):
        await until(stream, lambda item: isinstance(item, Subscribed))
        # It is the loop itself that has to stand still, with the server's that runs in it.
        time.sleep(1.0)
        # The watchdog looks before anything comes.
        await asyncio.sleep(0.05)
        await server.peers[0].trades(1)
        items = await until(stream, lambda item: isinstance(item, Trades | Closed))
        assert tids(items) == [1]


async def test_a_slow_reader_slows_the_exchange_down_and_loses_nothing() -> None:
    """Nothing is read for longer than silence may last: pings go on, the connection stays, and memory is bounded."""
    frames, size, limit = 150, 1000, 5000
    sent = 0

    async def flood(peer: Peer) -> None:
        nonlocal sent
        await peer.accept()
        listening = asyncio.create_task(peer.stay(answer=False))
        answered = len(peer.requests)
        while not listening.done():
            if sent < frames:
                await peer.socket.send(trades_frame(trade(sent * size + place) for place in range(size)))
                sent += 1
            else:
                await asyncio.sleep(0.01)
            # What was asked while nothing went out is answered when something does again.
            while answered < len(peer.requests):
                await peer.pong()
                answered += 1
        await listening

    async with (
        exchange(flood) as server,
        open_stream(server.url, silence_seconds=0.6, ping_seconds=0.05, queue_trades=limit) as stream,
    ):
        await soon(lambda: stream.held > limit - size)
        pings = len(server.peers[0].requests)
        await soon(lambda: len(server.peers[0].requests) >= pings + 20)
        assert stream.held <= limit
        assert sent < frames
        items: list[Item] = []
        while sum(len(frame.trades) for frame in of(Trades, items)) < frames * size:
            items += await stream.take(trades=2000, seconds=60)
            assert stream.held <= limit
        assert tids(items) == list(range(frames * size))
        assert of(Closed, items) == []


async def test_a_slow_reader_does_not_make_acknowledgements_late() -> None:
    """The exchange takes its time, but most of it is ours: nothing was read."""

    async def busy(peer: Peer) -> None:
        await peer.accept()
        assert await peer.subscription() == "ETH"
        await peer.trades(1, 2, 3)
        await peer.trades(4, 5, 6)
        while not reading.is_set():
            await peer.request()
        await peer.request()
        await peer.acknowledge("ETH")
        await peer.stay()

    reading = asyncio.Event()
    async with (
        exchange(busy) as server,
        open_stream(server.url, "BTC", "ETH", ack_seconds=0.6, ping_seconds=0.05, queue_trades=3) as stream,
    ):
        await soon(lambda: stream.held == 3 and len(server.peers[0].requests) >= 16)
        reading.set()
        items = await until(stream, lambda item: isinstance(item, Subscribed) and item.coin == "ETH")
        assert of(Refused, items) == []
        assert tids(items) == [1, 2, 3, 4, 5, 6]


async def test_a_coin_that_is_not_acknowledged_is_told_and_asked_for_again_alone() -> None:
    async def forgetful(peer: Peer) -> None:
        assert await peer.subscription() == "LOST"
        await peer.error("Too many things at once.")
        await peer.accept()
        assert await peer.accept() == ["LOST"]
        await peer.stay()

    async with (
        exchange(forgetful) as server,
        open_stream(server.url, "LOST", "ETH", ack_seconds=0.3, retry_seconds=0.05) as stream,
    ):
        items = await until(stream, lambda item: isinstance(item, Subscribed) and item.coin == "LOST")
        (refused,) = of(Refused, items)
        assert (refused.coin, refused.connection, refused.retry_seconds) == ("LOST", 1, 0.05)
        assert refused.reason == "not acknowledged within 0.3 s; the exchange said: Too many things at once."
        assert [item.coin for item in of(Subscribed, items)] == ["ETH", "LOST"]


@pytest.mark.parametrize(
    ("text", "coins"),
    [
        ('Invalid subscription {"type":"trades","coin":"NOPE"}', ("NOPE", "ETH")),
        # Only one was asked for, so that it can be about no other.
        ("Invalid subscription", ("NOPE",)),
    ],
)
async def test_a_coin_that_the_exchange_refuses_fails_alone(text: str, coins: tuple[str, ...]) -> None:
    async def strict(peer: Peer) -> None:
        while True:
            coin = await peer.subscription()
            if coin == "NOPE":
                await peer.error(text)
            else:
                await peer.acknowledge(coin)
                await peer.trades(1, coin=coin)

    async with exchange(strict) as server, open_stream(server.url, *coins, retry_seconds=0.02) as stream:
        items = await until(stream, lambda item: isinstance(item, Refused) and item.retry_seconds > 0.02)
        refusals = of(Refused, items)
        assert [(item.coin, item.reason, item.retry_seconds) for item in refusals] == [
            ("NOPE", text, 0.02),
            ("NOPE", text, 0.04),
        ]
        assert len(of(ErrorFrame, items)) == 2
        assert of(Closed, items) == []
        assert {item.coin for item in of(Subscribed, items)} == set(coins) - {"NOPE"}


async def test_already_subscribed_is_as_good_as_acknowledged() -> None:
    async def script(peer: Peer) -> None:
        coin = await peer.subscription()
        await peer.error(f'Already subscribed: {{"type":"trades","coin":"{coin}"}}')
        await peer.stay()

    async with exchange(script) as server, open_stream(server.url) as stream:
        items = await until(stream, lambda item: isinstance(item, Subscribed))
        assert of(Refused, items) == []


async def test_a_frame_that_is_too_large_is_counted_and_not_taken() -> None:
    async def huge(peer: Peer) -> None:
        await peer.accept()
        await peer.trades(1)
        await peer.socket.send("[" + " " * 5000 + "]")
        await peer.stay()

    async with exchange(huge, accept_and_stay) as server, open_stream(server.url, maximum_frame_bytes=4096) as stream:
        items, closed = await until_closed(stream)
        (unreadable,) = of(Unreadable, items)
        assert (unreadable.reason, unreadable.excerpt) == ("a frame of more than 4096 bytes", "")
        assert closed.reason == unreadable.reason
        assert tids(items) == [1]
        await until(stream, lambda item: isinstance(item, Subscribed) and item.connection == 2)


async def test_what_is_no_websocket_ends_the_connection_alone() -> None:
    async def broken(peer: Peer) -> None:
        await peer.accept()
        # Reserved bits that nothing has been agreed for.
        peer.socket.transport.write(b"\xf1\x00")
        await peer.stay()

    async with exchange(broken, accept_and_stay) as server, open_stream(server.url) as stream:
        assert (await until_closed(stream))[1].reason.startswith("not understood (1002)")
        await until(stream, lambda item: isinstance(item, Subscribed) and item.connection == 2)


async def test_a_refused_handshake_is_told_and_tried_again() -> None:
    async with exchange(accept_and_stay, refusals=2) as server, open_stream(server.url) as stream:
        items = await until(stream, lambda item: isinstance(item, Subscribed))
        assert [(item.attempt, item.reason, item.coins) for item in of(Failed, items)] == [
            (1, "the exchange answered HTTP 502", ("BTC",)),
            (2, "the exchange answered HTTP 502", ("BTC",)),
        ]


async def test_where_nobody_listens_waits_grow_up_to_the_cap() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{taken.getsockname()[1]}/ws"
        options = {"reconnect_base_seconds": 0.01, "reconnect_cap_seconds": 0.03}
        async with open_stream(url, jitter=1.0, **options) as stream:
            items = await until(stream, lambda item: isinstance(item, Failed) and item.attempt == 4)
    assert [item.retry_seconds for item in of(Failed, items)] == [0.01, 0.02, 0.03, 0.03]
    assert all("ConnectionRefusedError" in item.reason for item in of(Failed, items))


@pytest.mark.parametrize(("stable", "attempt"), [(60.0, 3), (0.0, 2)])
async def test_waits_begin_anew_only_after_a_stable_while(stable: float, attempt: int) -> None:
    """A connection that is closed at once has not gone well: what comes after it counts on."""

    async def brief(peer: Peer) -> None:
        await peer.accept()
        server.refusals = peer.number - 1

    async with exchange(brief) as server, open_stream(server.url, stable_seconds=stable) as stream:
        items = await until(stream, lambda item: isinstance(item, Failed))
        assert [item.attempt for item in of(Failed, items)] == [attempt]


async def test_hostile_trades_of_a_real_connection_are_rejected_alone() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        bad: list[object] = [trade(2, users=["0x5a", address(1)]), trade(3, time=2**62), [], None, trade(4, sz=1)]
        await peer.socket.send(trades_frame([trade(1), *bad, trade(5)]))
        await peer.stay()

    async with exchange(script) as server, open_stream(server.url) as stream:
        items = await until(stream, lambda item: isinstance(item, Trades))
        assert tids(items) == [1, 5]
        assert [(item.rejected, len(item.rejections)) for item in of(Trades, items)] == [(5, 5)]
