"""The WebSocket over real connections: what is subscribed and sent, and the limits of one address."""

import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from deployments.sandbox.exchange.options import ExchangeOptions
from deployments.sandbox.exchange.server import RunningExchange, running_exchange
from tests.sandbox.exchange.calls import listening


def exchange_with(**options: Any) -> Any:
    return running_exchange(ExchangeOptions(**{"paused": True, "days": 0, **options}))


@pytest.fixture(scope="module")
def exchange() -> Iterator[RunningExchange]:
    """Its market stands still unless a test plays."""
    with exchange_with(new_connections=1000) as running:
        yield running


def in_truth(exchange: RunningExchange, since: int, *coins: str) -> list[dict[str, Any]]:
    """Trades as frames have them."""
    return [
        {
            **{name: trade[name] for name in ("coin", "side", "px", "sz", "time", "tid")},
            "users": [trade["buyer"], trade["seller"]],
        }
        for trade in exchange.truth("trades", since=since)["trades"]
        if not coins or trade["coin"] in coins
    ]


def without_hash(trades: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in trade.items() if name != "hash"} for trade in trades]


def by_number(trades: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(trades, key=lambda trade: (trade["time"], trade["coin"], trade["tid"]))


async def test_every_trade_is_sent_as_it_happened(exchange: RunningExchange) -> None:
    async with listening(exchange.ws_url) as listener:
        await listener.subscribe(*exchange.told["coins"])
        since = exchange.truth("market")["market"]["time"] + 1
        exchange.tell("play", n=200)
        heard = await listener.trades(200)
    assert by_number(without_hash(heard)) == by_number(in_truth(exchange, since))
    assert all(trade["sent"] for trade in exchange.truth("trades", since=since)["trades"])


async def test_a_frame_holds_one_coin_and_one_time(exchange: RunningExchange) -> None:
    async with listening(exchange.ws_url) as listener:
        await listener.subscribe("BTC", "ETH")
        since = exchange.truth("market")["market"]["time"] + 1
        exchange.tell("play", n=120, block=12)
        expected = in_truth(exchange, since, "BTC", "ETH")
        left, frames = len(expected), set()
        while left:
            heard = (await listener.hear())["data"]
            ((coin, time),) = {(trade["coin"], trade["time"]) for trade in heard}
            assert (coin, time) not in frames
            frames.add((coin, time))
            left -= len(heard)
    assert len(frames) < len(expected)


async def test_nothing_is_sent_that_is_not_subscribed(exchange: RunningExchange) -> None:
    async with listening(exchange.ws_url) as listener:
        await listener.subscribe("SOL", "ETH")
        await listener.say(method="unsubscribe", subscription={"type": "trades", "coin": "ETH"})
        assert (await listener.hear())["data"]["method"] == "unsubscribe"
        since = exchange.truth("market")["market"]["time"] + 1
        exchange.tell("play", n=100)
        await listener.say(method="ping")
        heard: list[str] = []
        while (told := await listener.hear())["channel"] != "pong":
            heard += [trade["coin"] for trade in told["data"]]
    trades = exchange.truth("trades", since=since)["trades"]
    assert heard == ["SOL"] * sum(trade["coin"] == "SOL" for trade in trades)
    assert {trade["coin"] for trade in trades if trade["sent"]} == {"SOL"}


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("nonsense", "Error parsing JSON into valid websocket request: nonsense"),
        ('{"method":"shout"}', 'Error parsing JSON into valid websocket request: {"method":"shout"}'),
        ('{"method":"subscribe"}', 'Error parsing JSON into valid websocket request: {"method":"subscribe"}'),
        (
            '{"method":"subscribe","subscription":{"type":"trades","coin":"NONE"}}',
            'Invalid subscription {"type":"trades","coin":"NONE"}',
        ),
        ('{"method":"subscribe","subscription":{"type":"moods"}}', 'Invalid subscription {"type":"moods"}'),
        (
            '{"method":"subscribe","subscription":{"type":"trades","coin":"BTC"}}',
            'Already subscribed: {"type":"trades","coin":"BTC"}',
        ),
        (
            '{"method":"unsubscribe","subscription":{"type":"trades","coin":"ETH"}}',
            'Already unsubscribed: {"type":"trades","coin":"ETH"}',
        ),
    ],
)
async def test_errors_are_frames_and_the_connection_goes_on(exchange: RunningExchange, said: str, error: str) -> None:
    async with listening(exchange.ws_url) as listener:
        await listener.subscribe("BTC")
        await listener.socket.send(said)
        assert await listener.hear() == {"channel": "error", "data": error}
        await listener.say(method="ping")
        assert await listener.hear() == {"channel": "pong"}


async def test_subscriptions_are_counted_over_all_connections() -> None:
    with exchange_with(subscriptions=3) as exchange:
        async with listening(exchange.ws_url) as one, listening(exchange.ws_url) as other:
            await one.subscribe("BTC", "ETH")
            await other.subscribe("BTC")
            await other.say(method="subscribe", subscription={"type": "trades", "coin": "ETH"})
            assert await other.hear() == {"channel": "error", "data": "Cannot subscribe to more than 3 channels."}
            await one.say(method="unsubscribe", subscription={"type": "trades", "coin": "ETH"})
            await one.hear()
            await other.subscribe("ETH")
        assert exchange.truth()["connections"]["refused"] == {"subscriptions": 1}


async def test_connections_are_limited_and_a_closed_one_makes_room() -> None:
    with exchange_with(connections=2) as exchange:
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(listening(exchange.ws_url))
            await stack.enter_async_context(listening(exchange.ws_url))
            with pytest.raises(InvalidStatus) as refused:
                await stack.enter_async_context(listening(exchange.ws_url))
            assert refused.value.response.status_code == 429
            await first.socket.close()
            await stack.enter_async_context(listening(exchange.ws_url))
        assert exchange.truth()["connections"]["refused"] == {"connections": 1}


async def test_new_connections_are_limited() -> None:
    with exchange_with(new_connections=2, ws_window=3600) as exchange:
        for _ in range(2):
            async with listening(exchange.ws_url):
                pass
        with pytest.raises(InvalidStatus):
            async with listening(exchange.ws_url):
                pass
        assert exchange.truth()["connections"]["refused"] == {"new_connections": 1}


async def test_messages_are_limited() -> None:
    with exchange_with(messages=3, ws_window=3600) as exchange:
        async with listening(exchange.ws_url) as listener:
            for _ in range(4):
                await listener.say(method="ping")
            heard = [(await listener.hear())["channel"] for _ in range(4)]
        assert heard == ["pong", "pong", "pong", "error"]
        assert exchange.truth()["connections"]["refused"] == {"messages": 1}


async def test_users_are_limited_and_their_fills_come_with_a_snapshot() -> None:
    with exchange_with(users=1) as exchange:
        exchange.tell("play", n=50)
        users = exchange.app.world.addresses
        async with listening(exchange.ws_url) as listener:
            await listener.say(method="subscribe", subscription={"type": "userFills", "user": users[0]})
            assert (await listener.hear())["channel"] == "subscriptionResponse"
            snapshot = (await listener.hear())["data"]
            assert snapshot["isSnapshot"] is True
            assert snapshot["fills"] == exchange.truth("fills", user=users[0])["fills"][users[0]]
            await listener.say(method="subscribe", subscription={"type": "orderUpdates", "user": users[0]})
            assert (await listener.hear())["channel"] == "subscriptionResponse"
            await listener.say(method="subscribe", subscription={"type": "userFills", "user": users[1]})
            assert await listener.hear() == {"channel": "error", "data": "Cannot track more than 1 total users."}
            trade = {"coin": "BTC", "buyer": users[0], "seller": users[1], "px": "100.0", "sz": "1.0"}
            (tid,) = exchange.tell("trade", trades=[trade])["tids"]
            news = (await listener.hear())["data"]
            assert [fill["tid"] for fill in news["fills"]] == [tid]
            assert "isSnapshot" not in news


async def test_who_says_nothing_is_closed() -> None:
    with exchange_with(idle_seconds=0.2) as exchange:
        async with listening(exchange.ws_url) as listener:
            with pytest.raises(ConnectionClosed) as closed:
                await listener.text()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1000, "Inactive")
        (told,) = exchange.truth()["connections"]["list"]
        assert told["reason"] == "Inactive (1000)"


async def test_only_one_path_is_a_websocket(exchange: RunningExchange) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with listening(exchange.ws_url + "/other"):
            pass
    assert refused.value.response.status_code == 404


async def test_the_market_runs_waits_for_subscriptions_and_finishes_by_itself() -> None:
    with exchange_with(paused=False, rate=2000, trades=300, await_subscriptions=7) as exchange:
        assert exchange.truth("market")["market"]["trades"] == 0
        async with listening(exchange.ws_url) as listener:
            await listener.subscribe(*exchange.told["coins"][:-1])
            assert exchange.truth("market")["market"]["trades"] == 0
            await listener.say(method="subscribe", subscription={"type": "trades", "coin": exchange.told["coins"][-1]})
            assert (await listener.hear())["channel"] == "subscriptionResponse"
            # One trade of each coin comes after the last of those that were asked for.
            heard = await listener.trades(307)
        told = exchange.truth("market", coin="")["market"]
        assert (told["trades"], told["finished"]) == (307, True)
        assert by_number(without_hash(heard)) == by_number(in_truth(exchange, 0))
        assert {trade["coin"] for trade in heard[-7:]} == set(exchange.told["coins"])


async def test_it_can_be_paused_and_resumed() -> None:
    with exchange_with(paused=False, rate=500) as exchange:
        async with listening(exchange.ws_url) as listener:
            await listener.subscribe(*exchange.told["coins"])
            await listener.trades(20)
            exchange.tell("pause")
            before = exchange.truth("market")["market"]["trades"]
            exchange.tell("play", n=5)
            assert exchange.truth("market")["market"]["trades"] == before + 5
            exchange.tell("resume")
            await listener.trades(100)
        stopped = exchange.tell("finish")
        assert exchange.truth("market")["market"]["time"] == stopped["time"]


@pytest.mark.parametrize("rate", [50_000.0, float("inf")])
async def test_a_prepared_market_is_sent_whole(rate: float) -> None:
    with exchange_with(
        paused=False, rate=rate, prepare=20_000, trades=20_000, await_subscriptions=7, traders=500
    ) as exchange:
        async with listening(exchange.ws_url) as listener:
            for coin in exchange.told["coins"]:
                await listener.say(method="subscribe", subscription={"type": "trades", "coin": coin})
            tids: list[int] = []
            while len(tids) < 20_007:
                heard = await listener.hear()
                tids += [trade["tid"] for trade in heard["data"]] if heard["channel"] == "trades" else []
        assert len(set(tids)) == len(tids) == 20_007
        told = exchange.truth("market,connections")
        assert told["market"]["trades"] == told["connections"]["sent"]["trades"] == 20_007
        assert told["market"]["finished"] is True


def a_narrow_socket(exchange: RunningExchange) -> socket.socket:
    """A connection whose client's side holds little."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    narrow.connect((exchange.told["host"], exchange.told["port"]))
    return narrow


SLOW = {"rate": float("inf"), "prepare": 40_000, "await_subscriptions": 1, "traders": 2000, "coins": ("BTC",)}


async def test_a_slow_client_is_waited_for() -> None:
    """Nothing is lost, however late it reads."""
    with exchange_with(paused=False, buffer_bytes=10_000, **SLOW) as exchange:
        async with listening(exchange.ws_url, max_queue=1, sock=a_narrow_socket(exchange)) as listener:
            await listener.say(method="subscribe", subscription={"type": "trades", "coin": "BTC"})
            assert (await listener.hear())["channel"] == "subscriptionResponse"
            heard = len(await listener.trades(1))
            assert exchange.truth("market")["market"]["finished"] is False
            assert heard + len(await listener.trades(40_001 - heard)) == 40_001
        assert exchange.truth("market")["market"]["finished"] is True


async def test_a_slow_client_is_closed_where_it_is_not_waited_for() -> None:
    with exchange_with(paused=False, buffer_bytes=10_000, slow_client="close", **SLOW) as exchange:
        async with listening(exchange.ws_url, max_queue=1, sock=a_narrow_socket(exchange)) as listener:
            await listener.say(method="subscribe", subscription={"type": "trades", "coin": "BTC"})
            await listener.hear()
            while not (told := exchange.truth())["market"]["finished"] and told["connections"]["open"]:
                pass
            with pytest.raises(ConnectionClosed):
                await listener.trades(40_001)
        (told,) = exchange.truth()["connections"]["list"]
        assert told["reason"] == "too slow (1006)"
