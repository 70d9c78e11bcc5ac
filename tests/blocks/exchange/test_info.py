"""What is asked, what it weighs, what is tried again, and what the errors say."""

import asyncio
import logging
from types import SimpleNamespace

import httpx
import pytest

from blocks import patience
from blocks.exchange import (
    ExchangeAnswerError,
    ExchangeClient,
    ExchangeError,
    ExchangeRequestError,
    ExchangeUnavailableError,
)
from blocks.exchange.address import shown
from blocks.patience import MOST_TRIES
from blocks.rate_ledger import RateLedger, read_rates
from blocks.rate_window import Window
from tests.blocks.exchange.stand_ins import URL, USER, FreeLimiter, Permit, Script, answered, fill, scripted

EMPTY = answered({"assetPositions": [], "time": 1})


async def test_every_question_is_asked_as_the_exchange_documents() -> None:
    answers = [
        {"assetPositions": [], "time": 1},
        {"assetPositions": [], "time": 1},
        [],
        [],
        [],
        [],
        [],
        [],
        {"BTC": "1.5"},
        {"universe": [{"name": "xyz:AAPL", "szDecimals": 3}]},
        {"time": 5, "specialStatuses": None},
    ]
    async with scripted(*map(answered, answers)) as (client, script, limiter):
        await client.clearinghouse_state(USER.upper().replace("X", "x"))
        await client.clearinghouse_state(USER, "xyz")
        assert await client.user_fills_by_time(USER, 1) == []
        assert await client.user_funding(USER, 1, 2) == []
        assert await client.user_ledger_updates(USER, 1) == []
        assert (await client.portfolio(USER)).periods == {}
        assert await client.recent_trades("@107") == []
        assert await client.candles("BTC", "1h", 1, 2) == []
        assert (await client.all_mids())["BTC"] == 1.5
        assert (await client.meta("xyz")).universe[0].name == "xyz:AAPL"
        assert (await client.exchange_status()).time == 5
        assert client.counts.weight == 2 + 2 + 6 * 20 + 2 + 20 + 2
    assert script.bodies == [
        {"type": "clearinghouseState", "user": USER},
        {"type": "clearinghouseState", "user": USER, "dex": "xyz"},
        {"type": "userFillsByTime", "user": USER, "startTime": 1},
        {"type": "userFunding", "user": USER, "startTime": 1, "endTime": 2},
        {"type": "userNonFundingLedgerUpdates", "user": USER, "startTime": 1},
        {"type": "portfolio", "user": USER},
        {"type": "recentTrades", "coin": "@107"},
        {"type": "candleSnapshot", "req": {"coin": "BTC", "interval": "1h", "startTime": 1, "endTime": 2}},
        {"type": "allMids"},
        {"type": "meta", "dex": "xyz"},
        {"type": "exchangeStatus"},
    ]
    assert {str(request.url) for request in script.requests} == {f"{URL}/info"}
    assert {request.headers["Content-Type"] for request in script.requests} == {"application/json"}
    assert [permit.reserved for permit in limiter.permits] == [2, 2, 120, 45, 45, 20, 45, 104, 2, 20, 2]
    assert {permit.route for permit in limiter.permits} == {"info"}
    assert (limiter.entered, limiter.left) == (1, 1)


async def test_what_was_reserved_for_items_is_given_back() -> None:
    async with scripted(answered([fill(tid=number) for number in range(41)])) as (client, _, limiter):
        assert len(await client.user_fills_by_time(USER, 0)) == 41
        assert client.counts.weight == 23
    assert [(permit.reserved, permit.weight) for permit in limiter.permits] == [(120, 23)]


@pytest.mark.parametrize("user", ["", "0x12", USER + "0", "0x" + "g" * 40, USER[2:]])
async def test_what_is_no_address_is_not_even_asked_for(user: str) -> None:
    async with scripted(EMPTY) as (client, script, limiter):
        with pytest.raises(ExchangeRequestError, match="no address of a trader") as caught:
            await client.clearinghouse_state(user)
        assert caught.value.status is None
        assert not script.requests and not limiter.permits


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 520])
async def test_faults_of_the_server_are_tried_again_and_weigh_no_items(status: int) -> None:
    page = httpx.Response(status, html="<html><h1>Bad Gateway</h1></html>")
    async with scripted(page, page, answered([])) as (client, script, limiter):
        await client.user_fills_by_time(USER, 0)
        assert (client.counts.requests, client.counts.retries, client.counts.weight) == (3, 2, 60)
        assert client.counts.by_status == {status: 2, 200: 1}
        assert client.counts.http_5xx == (2 if status >= 500 else 0)
        assert len(script.requests) == 3
    assert [permit.weight for permit in limiter.permits] == [20, 20, 20]


async def test_a_storm_of_minutes_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten minutes of 502 by a clock that goes on only while somebody waits."""
    now, waits = [0.0], []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    def storm(request: httpx.Request) -> httpx.Response:
        now[0] += 0.05
        return httpx.Response(502, html="<html>") if now[0] < 600 else EMPTY

    monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(asyncio, "sleep", sleep)
    transport = httpx.MockTransport(storm)
    async with ExchangeClient(URL, FreeLimiter(), patience_seconds=900, transport=transport) as client:
        await client.clearinghouse_state(USER)
        assert client.counts.http_5xx == client.counts.retries > 5
        # Each wait is drawn below a bound that doubles up to a minute.
        assert all(wait <= min(0.5 * 2**number, 60) for number, wait in enumerate(waits))
        assert len(set(waits)) > 3


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("closed")]
)
async def test_lost_connections_are_tried_again_and_count_in_full(error: Exception) -> None:
    async with scripted(error, answered([])) as (client, _, limiter):
        await client.user_fills_by_time(USER, 0)
        assert (client.counts.connection_errors, client.counts.retries) == (1, 1)
    # Nobody knows whether it was answered, and with how many items.
    assert [(permit.limits is None, permit.weight) for permit in limiter.permits] == [(True, 120), (False, 20)]


@pytest.mark.parametrize(("told", "held"), [("7", 7), (None, 60), ("soon", 60), ("-1", 60), ("nan", 60)])
async def test_after_a_429_everybody_of_the_address_waits(told: str | None, held: float) -> None:
    limited = httpx.Response(429, headers={} if told is None else {"Retry-After": told}, content=b"null")
    async with scripted(limited, EMPTY) as (client, _, limiter):
        await client.clearinghouse_state(USER)
        assert (client.counts.http_429, client.counts.retries) == (1, 1)
    refused = limiter.permits[0].limits
    assert refused is not None
    assert (refused.blocked_seconds, refused.blocked_scope) == (held, "application")
    answer = limiter.permits[1].limits
    assert answer is not None and answer.blocked_seconds is None


async def test_patience_ends_in_an_error_that_names_the_item() -> None:
    limited = httpx.Response(429, headers={"Retry-After": "40"})
    async with scripted(limited, patience_seconds=100) as (client, script, _):
        with pytest.raises(ExchangeUnavailableError, match=r"clearinghouseState of 0xab12…ab12 on xyz was") as caught:
            await client.clearinghouse_state(USER, "xyz")
        assert isinstance(caught.value, ConnectionError)
        assert (caught.value.status, caught.value.item) == (429, "clearinghouseState of 0xab12…ab12 on xyz")
        assert len(script.requests) == 3


async def test_what_the_exchange_cannot_read_is_refused_at_once() -> None:
    said = "Failed to deserialize the JSON body into the target type"
    async with scripted(httpx.Response(422, text=said)) as (client, script, limiter):
        with pytest.raises(ExchangeRequestError, match=f"recentTrades of NOPE was answered 422 .*: {said}") as caught:
            await client.recent_trades("NOPE")
        assert (caught.value.status, len(script.requests)) == (422, 1)
        assert [permit.weight for permit in limiter.permits] == [20]


async def test_what_the_exchange_does_not_know_is_not_asked_for_minutes() -> None:
    unknown = httpx.Response(500, content=b"null")
    async with scripted(unknown) as (client, script, _):
        with pytest.raises(ExchangeRequestError, match=r"candleSnapshot of NOPE.*does not know"):
            await client.candles("NOPE", "1h", 0)
        assert len(script.requests) == MOST_TRIES
    # Once is chance.
    async with scripted(unknown, answered([])) as (client, _, _):
        assert await client.recent_trades("BTC") == []


async def test_an_undocumented_status_is_an_error_of_the_answer() -> None:
    async with scripted(httpx.Response(301, headers={"Location": "https://elsewhere.test"})) as (client, script, _):
        with pytest.raises(ExchangeAnswerError, match="301"):
            await client.exchange_status()
        assert len(script.requests) == 1


async def test_an_answer_of_another_shape_is_not_asked_for_again_and_counts_in_full() -> None:
    async with scripted(answered([{"coin": "BTC"}])) as (client, script, limiter):
        with pytest.raises(ExchangeAnswerError, match=r"userFillsByTime of 0xab12…ab12.*\$\[0\]"):
            await client.user_fills_by_time(USER, 0)
        assert len(script.requests) == 1
        assert [permit.weight for permit in limiter.permits] == [120]


async def test_an_answer_that_ends_early_is_asked_for_again() -> None:
    async with scripted(httpx.Response(200, content=b'[{"coin": "BTC"'), answered([])) as (client, script, _):
        assert await client.user_fills_by_time(USER, 0) == []
        assert len(script.requests) == 2


async def test_no_error_and_no_log_holds_a_whole_address(caplog: pytest.LogCaptureFixture) -> None:
    said = f"no such user {USER}\nnor anybody"
    with caplog.at_level(logging.DEBUG):
        async with scripted(httpx.Response(500, text=said), httpx.Response(422, text=said)) as (client, _, _):
            with pytest.raises(ExchangeError) as caught:
                await client.portfolio(USER)
    assert "no such user 0xab12…ab12 nor anybody" in str(caught.value)
    assert USER not in str(caught.value) + repr(caught.value) + caplog.text
    assert caught.value.__cause__ is None and shown(USER) in caplog.text


async def test_no_more_requests_are_in_flight_than_allowed_and_none_holds_weight_while_it_waits() -> None:
    arrived, going = asyncio.Event(), asyncio.Event()
    flying = [0, 0]

    async def answer(request: httpx.Request) -> httpx.Response:
        flying[0] += 1
        flying[1] = max(flying)
        if flying[0] == 3:
            arrived.set()
        await going.wait()
        flying[0] -= 1
        return EMPTY

    limiter = FreeLimiter()
    transport = httpx.MockTransport(answer)
    async with ExchangeClient(URL, limiter, requests_at_once=3, transport=transport) as client:
        asked = [asyncio.create_task(client.clearinghouse_state(USER)) for _ in range(9)]
        await arrived.wait()
        assert len(limiter.permits) == 3
        going.set()
        await asyncio.gather(*asked)
    assert flying[1] == 3


async def test_a_request_that_is_cancelled_counts_in_full() -> None:
    arrived = asyncio.Event()

    async def never(request: httpx.Request) -> httpx.Response:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    limiter = FreeLimiter()
    async with ExchangeClient(URL, limiter, transport=httpx.MockTransport(never)) as client:
        asked = asyncio.create_task(client.user_fills_by_time(USER, 0))
        await arrived.wait()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert [permit.weight for permit in limiter.permits] == [120]


async def test_an_answer_that_does_not_end_is_given_up() -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    transport = httpx.MockTransport(never)
    client = ExchangeClient(
        URL, FreeLimiter(), request_seconds=0.01, patience_seconds=1e-6, backoff_seconds=1e-6, transport=transport
    )
    async with client:
        with pytest.raises(ExchangeUnavailableError, match=r"no complete answer within 0\.01 s"):
            await client.exchange_status()


async def test_a_client_is_opened_once_and_before_it_is_used() -> None:
    client = ExchangeClient(URL, FreeLimiter(), transport=httpx.MockTransport(lambda request: EMPTY))
    with pytest.raises(RuntimeError, match="not open"):
        await client.exchange_status()
    async with client:
        with pytest.raises(RuntimeError, match="open already"):
            await client.__aenter__()


async def test_waiting_for_ones_turn_costs_no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=lambda: now[0]))

    class Busy(FreeLimiter):
        async def acquire(self, *, route: str, method: str, weight: int = 1) -> Permit:
            now[0] += 3600
            return await super().acquire(route=route, method=method, weight=weight)

    page = httpx.Response(502)
    async with scripted(page, page, EMPTY, patience_seconds=5, limiter=Busy()) as (client, _, _):
        await client.clearinghouse_state(USER)


async def test_with_the_real_ledger_the_weight_is_what_the_answers_weighed(rates: str) -> None:
    fixed = {"info": (Window(1200, 60),)}
    fills = [fill(tid=number) for number in range(41)]
    transport = httpx.MockTransport(Script([answered(fills), EMPTY, httpx.Response(429, headers={"Retry-After": "0"})]))
    client = ExchangeClient(URL, RateLedger("address", fixed=fixed), patience_seconds=1, transport=transport)
    async with client:
        await client.user_fills_by_time(USER, 0)
        await client.clearinghouse_state(USER)
        assert client.counts.weight == 25
        with pytest.raises(ExchangeUnavailableError, match="429 Too Many Requests"):
            await client.exchange_status()
    (bucket,) = read_rates("address", fixed)
    assert (bucket.route, bucket.used[0][1], bucket.in_flight) == ("info", 27, 0)
