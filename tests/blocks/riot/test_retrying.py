"""What is tried again, who waits for it, and when patience is at its end."""

import logging
from types import SimpleNamespace

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks import patience
from blocks.patience import LONGEST_BACKOFF, MOST_TRIES, Patience
from blocks.riot import RiotAnswerError, RiotUnavailableError
from tests.blocks.riot.stand_ins import PUUID, FreeLimiter, Permit, account, match_body, refused, scripted


def _limited(scope: str | None = None, retry_after: str | None = None) -> httpx.Response:
    headers = {"X-Rate-Limit-Type": scope, "Retry-After": retry_after}
    return refused(429, "Rate limit exceeded", **{name: text for name, text in headers.items() if text is not None})


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 520, 599])
async def test_faults_of_the_server_are_tried_again(status: int) -> None:
    async with scripted(refused(status), refused(status), account()) as (client, script, limiter):
        assert (await client.account_by_puuid(PUUID, regional="asia")).puuid == PUUID
        assert len(script.requests) == len(limiter.limits) == 3
        assert (client.counts.requests, client.counts.retries) == (3, 2)
        assert client.counts.by_status == {status: 2, 200: 1}
        assert client.counts.http_5xx == (2 if status >= 500 else 0)
        assert client.counts.http_429 == client.counts.connection_errors == 0


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.ReadTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("peer closed connection without sending complete message body"),
        httpx.PoolTimeout("full"),
        httpx.ProxyError("bad gateway"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_lost_connections_are_tried_again(error: Exception) -> None:
    async with scripted(error, error, account()) as (client, _, limiter):
        await client.account_by_puuid(PUUID, regional="asia")
        assert (client.counts.connection_errors, client.counts.retries) == (2, 2)
        # Without headers nothing is known of the limits, but the requests may have been counted.
        assert [limits is None for limits in limiter.limits] == [True, True, False]


@pytest.mark.parametrize("scope", ["application", "method"])
async def test_a_limit_of_the_keys_own_is_waited_for_in_the_limiter(scope: str) -> None:
    async with scripted(_limited(scope, "2"), account()) as (client, _, limiter):
        await client.account_by_puuid(PUUID, regional="asia")
        blocked = limiter.limits[0]
        assert blocked is not None
        assert (blocked.blocked_seconds, blocked.blocked_scope) == (2, scope)
        assert client.counts.rate_limited == {scope: 1}
        assert (client.counts.http_429, client.counts.retries) == (1, 1)


async def test_without_retry_after_the_wait_grows() -> None:
    waits = [_limited("application")] * 7
    async with scripted(*waits, account(), patience_seconds=1000) as (client, _, limiter):
        await client.account_by_puuid(PUUID, regional="asia")
        assert [limits and limits.blocked_seconds for limits in limiter.limits] == [5, 10, 20, 40, 80, 120, 120, None]


async def test_a_server_that_says_now_again_and_again_is_asked_ever_less() -> None:
    waits = [_limited("method", "0")] * 7
    async with scripted(*waits, account(), patience_seconds=1000) as (client, _, limiter):
        await client.account_by_puuid(PUUID, regional="asia")
        assert [limits and limits.blocked_seconds for limits in limiter.limits] == [1, 2, 4, 8, 16, 32, 60, None]


@pytest.mark.parametrize("told", ["-5", "nan", "soon", ""])
async def test_a_retry_after_of_no_sense_is_as_none(told: str) -> None:
    async with scripted(_limited("application", told), account()) as (client, _, limiter):
        await client.account_by_puuid(PUUID, regional="asia")
        assert limiter.limits[0] is not None and limiter.limits[0].blocked_seconds == 5


@pytest.mark.parametrize("told", ["61", "99999999999999", "1e400", "inf"])
@pytest.mark.parametrize("scope", ["application", "service", None])
async def test_a_retry_after_beyond_patience_ends_at_once(told: str, scope: str | None) -> None:
    async with scripted(_limited(scope, told), account()) as (client, script, limiter):
        with pytest.raises(RiotUnavailableError, match="tried once"):
            await client.account_by_puuid(PUUID, regional="asia")
        assert len(script.requests) == 1
        # Others are not held back for longer than anybody would wait.
        assert limiter.limits[0] is not None and limiter.limits[0].blocked_seconds == 60


async def test_a_server_that_is_away_for_longer_than_patience_says_so() -> None:
    async with scripted(refused(503, **{"Retry-After": "61"}), account()) as (client, script, _):
        with pytest.raises(RiotUnavailableError, match="503 Service Unavailable"):
            await client.account_by_puuid(PUUID, regional="asia")
        assert len(script.requests) == 1


async def test_a_service_that_says_how_long_holds_everybody_back() -> None:
    async with scripted(_limited("service", "3"), account()) as (client, _, limiter):
        await client.account_by_puuid(PUUID, regional="asia")
        assert limiter.limits[0] is not None
        assert (limiter.limits[0].blocked_seconds, limiter.limits[0].blocked_scope) == (3, "service")


async def test_one_429_without_type_holds_nobody_else_back_but_a_second_does() -> None:
    async with scripted(_limited(), account(), _limited(), _limited(), account()) as (client, _, limiter):
        await client.account_by_puuid(PUUID, regional="asia")
        await client.account_by_puuid(PUUID, regional="asia")
        blocked = [limits is not None and limits.blocked_seconds is not None for limits in limiter.limits]
        assert blocked == [False, False, False, True, False]
        assert client.counts.rate_limited == {"service": 3}


async def test_patience_ends_in_an_error_that_is_a_connection_error() -> None:
    async with scripted(_limited("application", "20")) as (client, script, _):
        with pytest.raises(RiotUnavailableError, match=r"tried 3 times.*60 s.*429 Too Many Requests") as caught:
            await client.account_by_puuid(PUUID, regional="asia")
        assert isinstance(caught.value, ConnectionError)
        assert (caught.value.status, caught.value.method) == (429, "account-v1.getByPuuid")
        assert len(script.requests) == 3
        assert caught.value.__cause__ is None


async def test_patience_ends_with_lost_connections_too() -> None:
    async with scripted(httpx.ConnectError("refused"), patience_seconds=1e-5) as (client, _, _):
        with pytest.raises(RiotUnavailableError, match="ConnectError refused") as caught:
            await client.account_by_puuid(PUUID, regional="asia")
        assert caught.value.status is None


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=lambda: self.now))


async def test_waiting_for_ones_turn_costs_no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A development key may need an hour for what is asked of it."""
    clock = Clock(monkeypatch)

    class Busy(FreeLimiter):
        async def acquire(self, *, route: str, method: str) -> Permit:
            clock.now += 3600
            return await super().acquire(route=route, method=method)

    async with scripted(refused(500), refused(500), account(), patience_seconds=5, limiter=Busy()) as (client, _, _):
        assert (await client.account_by_puuid(PUUID, regional="asia")).puuid == PUUID


async def test_attempts_that_fail_cost_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    def slow(request: httpx.Request) -> httpx.Response:
        clock.now += 20
        return refused(504)

    async with scripted(slow, patience_seconds=50) as (client, _, _):
        with pytest.raises(RiotUnavailableError, match="tried 3 times"):
            await client.account_by_puuid(PUUID, regional="asia")


async def test_a_body_that_ends_early_is_tried_again_a_few_times() -> None:
    cut = httpx.Response(200, content=b'{"metadata": {"matchId": "NA1_1"')
    async with scripted(cut, httpx.Response(200, json=match_body())) as (client, script, _):
        assert (await client.match("NA1_1")).value.metadata.match_id == "NA1_1"
        assert len(script.requests) == 2
    async with scripted(cut) as (client, script, _):
        with pytest.raises(RiotAnswerError, match="ends early"):
            await client.match("NA1_1")
        assert len(script.requests) == MOST_TRIES


async def test_what_goes_on_is_told_as_a_warning_and_names_nobody(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with scripted(*[refused(503, f"for {PUUID}")] * 4, account()) as (client, _, _):
            await client.account_by_puuid(PUUID, regional="asia")
    told = [record for record in caplog.records if record.name == patience.__name__]
    assert [record.levelno for record in told] == [logging.INFO, logging.INFO, logging.WARNING, logging.WARNING]
    assert all("503 Service Unavailable" in record.getMessage() for record in told)
    assert PUUID not in caplog.text


@given(st.integers(1, 10_000), st.none() | st.floats(min_value=0))
def test_waits_are_never_beyond_patience(attempts: int, told: float | None) -> None:
    waiting = Patience("x", 900, 0.5)
    waiting.attempts = attempts
    assert 1 <= waiting.block_seconds(told) <= 900
    assert 0 < waiting.backoff_bound() <= LONGEST_BACKOFF
