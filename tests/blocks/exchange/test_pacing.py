"""Waits between attempts, and the limits on connections and messages, in one process and among several."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.exchange.block import Exchange
from blocks.exchange.items import Subscribed
from blocks.exchange.limits import CONNECTIONS_ROUTE, MESSAGES_ROUTE
from blocks.exchange.pacing import Backoff, LocalLimiter
from blocks.exchange.stream_options import StreamOptions
from blocks.rate_ledger import RateLedger, read_rates
from blocks.rate_window import Window
from blocks.settings import TradersSettings, settings
from tests.blocks.exchange.scripted_exchange import Peer, exchange, open_stream, until


@given(st.lists(st.floats(0, 1), max_size=100))
def test_a_wait_is_between_none_and_a_bound_that_doubles(shares: list[float]) -> None:
    given_shares = iter(shares)
    backoff = Backoff(0.5, 60, lambda: next(given_shares))
    for attempt, share in enumerate(shares):
        assert backoff.next() == share * min(60, 0.5 * 2**attempt)
        assert backoff.attempts == attempt + 1


def test_it_begins_anew_after_a_reset_and_bears_any_number_of_attempts() -> None:
    backoff = Backoff(0.5, 60, lambda: 1.0)
    assert [backoff.next() for _ in range(5000)][-1] == 60
    backoff.reset()
    assert (backoff.next(), backoff.attempts) == (0.5, 1)


async def test_in_one_process_no_window_has_more_than_permitted() -> None:
    limiter, given_at = LocalLimiter({CONNECTIONS_ROUTE: (3, 0.2)}), []

    async def one() -> None:
        (await limiter.acquire(route=CONNECTIONS_ROUTE, method="connect")).finished()
        given_at.append(time.monotonic())

    await asyncio.gather(*(one() for _ in range(7)))
    # What they wrote down came a little after what the limiter counts: the least distance may be that much less.
    assert all(later - earlier > 0.15 for earlier, later in zip(given_at, given_at[3:], strict=False))


async def test_a_route_without_limit_is_free() -> None:
    limiter = LocalLimiter({CONNECTIONS_ROUTE: (1, 3600)})
    for _ in range(100):
        await limiter.acquire(route=MESSAGES_ROUTE, method="send")


async def test_processes_of_one_address_share_the_limits(rates: str) -> None:
    """Two streams stand for two processes: what one has used up, the other waits for."""
    windows = {CONNECTIONS_ROUTE: (Window(2, 0.3),), MESSAGES_ROUTE: (Window(100, 60.0),)}

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.stay()

    began = time.monotonic()
    async with exchange(script) as server:
        for _ in range(3):
            async with (
                RateLedger("address", fixed=windows) as limiter,
                open_stream(server.url, limiter=limiter) as stream,
            ):
                await until(stream, lambda item: isinstance(item, Subscribed))
        assert time.monotonic() - began >= 0.3
    used = {use.route: use.used[0][1] for use in read_rates("address", windows)}
    assert used[MESSAGES_ROUTE] == 3


async def test_the_block_opens_a_stream_as_the_settings_say(rates: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(2)
        await peer.stay()

    monkeypatch.setenv("QUINTET_TRADERS__SUBSCRIBE_INTERVAL_SECONDS", "0")
    settings.cache_clear()
    async with exchange(script) as server, Exchange(ws_url=server.url).stream(["BTC", "ETH"]) as stream:
        for _ in range(2):
            await until(stream, lambda item: isinstance(item, Subscribed))
    block = Exchange(ws_url=server.url)
    used = {use.route: use.used[0][1] for use in read_rates(block.key_name, block.limits)}
    assert (used[CONNECTIONS_ROUTE], used[MESSAGES_ROUTE]) == (1, 2)


def test_options_are_those_of_the_settings() -> None:
    """Every option that an operator can set has the default that the settings document."""
    traders, options = TradersSettings(), StreamOptions.from_settings()
    shared = {name for name in StreamOptions.__dataclass_fields__ if name in TradersSettings.model_fields}
    assert {"ping_seconds", "silence_seconds", "queue_trades", "subscriptions", "connections"} <= shared
    for name in shared:
        assert getattr(options, name) == getattr(traders, name) == getattr(StreamOptions(), name)
    assert options.limits == {CONNECTIONS_ROUTE: (30, 60.0), MESSAGES_ROUTE: (2000, 60.0)}
