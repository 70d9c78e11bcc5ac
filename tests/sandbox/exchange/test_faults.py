"""What goes wrong with the exchange, and that the truth tells of it."""

import asyncio
import json
from collections import Counter
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from deployments.sandbox.exchange.options import ExchangeOptions
from deployments.sandbox.exchange.server import running_exchange
from tests.sandbox.exchange.calls import Caller, listening


def exchange_with(**options: Any) -> Any:
    return running_exchange(ExchangeOptions(**{"paused": True, "days": 0, **options}))


async def test_a_storm_is_502_for_so_long_and_weighs_nothing() -> None:
    caller = Caller(days=0)
    await caller.tell("fault", kind="storm", seconds=30)
    stormy = await caller.post("allMids")
    assert (stormy.status_code, stormy.headers["content-type"]) == (502, "text/html")
    assert "<h1>502 Bad Gateway</h1>" in stormy.text
    caller.clock.now += 30
    assert (await caller.post("allMids")).status_code == 200
    told = (await caller.truth("requests"))["requests"]
    assert (told["weight"], told["by_status"]) == (2, {"200": 1, "502": 1})


async def test_storms_come_by_themselves() -> None:
    caller = Caller(days=0, storm_every=100, storm_seconds=10)
    statuses = []
    for moment in (0, 99, 100, 109, 110, 209, 210, 219, 220):
        caller.clock.now = 1000.0 + moment
        statuses.append((await caller.post("allMids")).status_code)
    assert statuses == [200, 200, 502, 502, 200, 200, 502, 502, 200]


async def test_errors_and_429s_of_others_come_as_often_as_told() -> None:
    caller = Caller(days=0, error_rate=0.3, too_many_rate=0.2, weight=1_000_000)
    statuses = Counter([(await caller.post("allMids")).status_code for _ in range(400)])
    assert set(statuses) == {200, 429, 500, 502, 503}
    assert 50 < statuses[429] < 110
    assert 85 < statuses[500] + statuses[502] + statuses[503] < 155
    told = (await caller.truth("requests"))["requests"]
    assert told["http_429"] == {"weight": 0, "fault": statuses[429]}
    assert told["by_status"] == {str(status): count for status, count in sorted(statuses.items())}


async def test_the_same_seed_makes_the_same_faults() -> None:
    seen = []
    for _ in range(2):
        caller = Caller(days=0, error_rate=0.5)
        seen.append([(await caller.post("allMids")).status_code for _ in range(30)])
    assert seen[0] == seen[1]


async def test_answers_are_late(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = Caller(days=0, slow_rate=1, slow_seconds=7, latency=(0.25, 0.25))
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("deployments.sandbox.exchange.application.asyncio.sleep", sleep)
    assert (await caller.post("allMids")).status_code == 200
    assert waited == [0.25, 7, 0.25]


def test_connections_break_and_bodies_end_early() -> None:
    with exchange_with(broken_rate=1) as exchange, httpx.Client(base_url=exchange.url) as client:
        seen = set()
        for _ in range(20):
            with pytest.raises(httpx.TransportError) as broken:
                client.post("/info", json={"type": "allMids"})
            seen.add(type(broken.value))
        assert seen == {httpx.RemoteProtocolError, httpx.ReadError}
        exchange.tell("set", broken_rate=0, truncated_rate=1)
        with pytest.raises(httpx.RemoteProtocolError, match=r"without sending complete message body"):
            client.post("/info", json={"type": "allMids"})
        assert exchange.truth("requests")["requests"]["by_status"] == {"broken": 20, "truncated": 1}


@pytest.mark.parametrize("code", [1000, 1006])
async def test_a_connection_is_closed_on_command(code: int) -> None:
    with exchange_with() as exchange:
        async with listening(exchange.ws_url) as one, listening(exchange.ws_url) as other:
            assert exchange.tell("fault", kind="close", code=code, connection=1) == {"connections": [1]}
            with pytest.raises(ConnectionClosed) as closed:
                await one.text()
            # 1006 is no frame: the connection is gone without one.
            assert (closed.value.rcvd.code if closed.value.rcvd else 1006) == code
            await other.say(method="ping")
            assert await other.hear() == {"channel": "pong"}
        assert exchange.truth()["connections"]["list"][0]["reason"] == f"fault ({code})"


async def test_a_stalled_connection_is_open_and_dead() -> None:
    with exchange_with(connections=1) as exchange:
        async with listening(exchange.ws_url) as stalled:
            await stalled.subscribe("BTC")
            exchange.tell("fault", kind="stall")
            await stalled.say(method="ping")
            pong = asyncio.ensure_future(await stalled.socket.ping())
            exchange.tell("play", n=50)
            (told,) = exchange.truth()["connections"]["list"]
            assert (told["stalled"], told["closed"], told["messages"]) == (True, None, 1)
            # The exchange has forgotten it: another one may come, and hears what the stalled one does not.
            async with listening(exchange.ws_url) as other:
                await other.subscribe("BTC")
                exchange.tell("play", n=50)
                await other.trades(5)
            assert not pong.done()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await stalled.socket.recv()
            told = exchange.truth("coins")["coins"]["BTC"]
            assert 0 < told["unsent"] < told["trades"]
            stalled.socket.transport.abort()


async def test_connections_stall_and_are_closed_at_random() -> None:
    with exchange_with(drop_rate=1) as exchange:
        async with listening(exchange.ws_url) as listener:
            with pytest.raises(ConnectionClosed):
                await listener.text()
        exchange.tell("set", drop_rate=0, stall_rate=1)
        async with listening(exchange.ws_url) as listener:
            while not exchange.truth()["connections"]["list"][-1]["stalled"]:
                await asyncio.sleep(0.02)
            listener.socket.transport.abort()


async def test_newest_trades_are_sent_again_after_a_subscription() -> None:
    with exchange_with(replay=5) as exchange:
        exchange.tell("play", n=200)
        trades = exchange.truth("trades", coin="BTC")["trades"]
        for _ in range(2):
            async with listening(exchange.ws_url) as listener:
                await listener.subscribe("BTC")
                heard = await listener.trades(5)
                assert [trade["tid"] for trade in heard] == [trade["tid"] for trade in trades[-5:]]
        sent = exchange.truth()["connections"]["sent"]
        assert (sent["replay"], sent["trades"]) == (2, 10)


async def test_all_kinds_of_useless_frames_are_counted_and_nothing_is_lost() -> None:
    rates = dict.fromkeys(("empty_rate", "error_frame_rate", "malformed_frame_rate", "malformed_trade_rate"), 0.3)
    with exchange_with(**rates) as exchange:
        async with listening(exchange.ws_url) as listener:
            await listener.subscribe(*exchange.told["coins"])
            exchange.tell("play", n=400)
            await listener.say(method="ping")
            counts: Counter[str] = Counter()
            good: list[int] = []
            while (text := await listener.text()) != '{"channel":"pong"}':
                try:
                    told = json.loads(text)
                except ValueError:
                    counts["malformed"] += 1
                    continue
                if told["channel"] == "error":
                    counts["error"] += 1
                elif not told["data"]:
                    counts["empty"] += 1
                elif exchange.told["coins"] and len(told["data"]) == 2 and _is_bad(told["data"][1]):
                    counts["malformed_trade"] += 1
                    good.append(told["data"][0]["tid"])
                else:
                    counts["frames"] += 1
                    good += [trade["tid"] for trade in told["data"]]
        told = exchange.truth("trades,connections")
        sent = told["connections"]["sent"]
        assert dict(counts) == {name: sent[name] for name in counts}
        assert set(counts) == {"frames", "empty", "error", "malformed", "malformed_trade"}
        assert set(good) == {trade["tid"] for trade in told["trades"]}
        assert len(good) == sent["trades"] == 400 + counts["malformed_trade"]


def _is_bad(trade: Any) -> bool:
    return trade is None or trade["hash"] == "0x00"


async def test_the_stream_is_late_where_it_is_to_be() -> None:
    with exchange_with(stream_delay=0.2) as exchange:
        async with listening(exchange.ws_url) as listener:
            await listener.subscribe(*exchange.told["coins"])
            exchange.tell("play", n=20)
            # All of it is true before any of it is sent.
            assert exchange.truth("coins")["coins"]["BTC"]["unsent"] > 0
            await listener.trades(20)


async def test_a_told_frame_and_a_replay_go_out_at_once() -> None:
    with exchange_with() as exchange:
        async with listening(exchange.ws_url) as listener:
            await listener.subscribe("BTC")
            exchange.tell("play", n=30)
            exchange.tell("fault", kind="send", message='{"channel":"news","data":1}')
            while (await listener.hear())["channel"] != "news":
                pass
            exchange.tell("fault", kind="replay", n=2)
            assert len((await listener.hear())["data"]) == 2


async def test_commands_that_cannot_be_say_why() -> None:
    caller = Caller(days=0)
    for command, told, why in (
        ("fault", {"kind": "flood"}, "kind: storm, stall, close, replay or send"),
        ("fault", {}, "kind"),
        ("set", {"traders": 5}, "traders: cannot be set at run time"),
        ("set", {"drop_rate": 2}, "drop_rate: between 0 and 1"),
        ("set", {"windows": "round"}, "windows: fixed or sliding"),
        ("set", {"rate": "inf"}, "rate: inf is for a market that was prepared"),
        ("trade", {"trades": [{"coin": "NONE"}]}, "NONE: no such coin"),
        ("trade", {"trades": [{"coin": "BTC", "buyer": "0x1"}]}, "0x1: nobody has this address"),
        ("leverage", {"coin": "BTC", "value": 1000}, "value: 1 to 40"),
        ("transfer", {"usdc": "much"}, "usdc: an amount"),
    ):
        answer = await caller.command(command, **told)
        assert answer.status_code == 400
        assert why in answer.text
    assert (await caller.command("dance")).status_code == 404
    async with caller.from_host("10.0.0.1") as client:
        answer = await client.get("/__truth", params={"parts": "everything"})
        assert (answer.status_code, "parts: everything: there are market" in answer.text) == (400, True)
        assert (await client.post("/__set", content=b"[]")).status_code == 400
