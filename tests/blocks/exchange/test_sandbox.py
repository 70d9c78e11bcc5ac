"""The client with the real limiter against the sandbox: everything is answered, whatever goes wrong on the way."""

import asyncio
from collections.abc import Iterator

import pytest

from blocks.exchange import Exchange, ExchangeClient, ExchangeRequestError
from deployments.sandbox.exchange.options import ExchangeOptions
from deployments.sandbox.exchange.server import RunningExchange, running_exchange

# The minute's 1,200, scaled.
_WEIGHT, _SECONDS = 600, 1.0


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningExchange]:
    options = ExchangeOptions(
        traders=5,
        days=20,
        paused=True,
        weight=_WEIGHT,
        weight_window=_SECONDS,
        count_rejected=True,
        latency=(0.0, 0.03),
        error_rate=0.05,
        broken_rate=0.05,
        truncated_rate=0.05,
    )
    with running_exchange(options) as running:
        running.tell("play", n=200)
        yield running


def _client(sandbox: RunningExchange) -> ExchangeClient:
    """One of several that share an address, each with a ledger of its own as other processes have."""
    exchange = Exchange(url=sandbox.url, weight_per_minute=_WEIGHT, weight_window_seconds=_SECONDS)
    return ExchangeClient(
        exchange.url, exchange.limiter(), patience_seconds=60, window_seconds=_SECONDS, backoff_seconds=0.01
    )


async def _everything(client: ExchangeClient, user: str) -> int:
    """How many fills a trader has, after everything else was asked as well."""
    state, fills, funding, updates, portfolio = await asyncio.gather(
        client.clearinghouse_state(user),
        client.user_fills_by_time(user, 0),
        client.user_funding(user, 0),
        client.user_ledger_updates(user, 0),
        client.portfolio(user),
    )
    assert state.account_value is not None
    assert all(one.delta.usdc for one in funding) and all(one.delta.type for one in updates)
    assert {"day", "allTime"} <= set(portfolio.periods)
    return len(fills)


async def test_several_clients_of_one_address_are_answered_in_full_and_never_refused(
    rates: str, sandbox: RunningExchange
) -> None:
    sandbox.tell("reset")
    users = [trader["address"] for trader in sandbox.truth("traders")["traders"]]
    async with _client(sandbox) as one, _client(sandbox) as other:
        found = await asyncio.gather(
            *(_everything(one, user) for user in users[::2]), *(_everything(other, user) for user in users[1::2])
        )
        prices, meta, status = await asyncio.gather(one.all_mids(), other.meta(), one.exchange_status())
        trades = await other.recent_trades("BTC")
        counts = [one.counts, other.counts]
    assert sum(found) > 0 and trades and trades.rejected == 0 and status.time
    assert {asset.name for asset in meta.universe} <= set(prices)
    told = sandbox.truth("requests")["requests"]
    assert told["http_429"] == {"weight": 0, "fault": 0}
    (host,) = told["hosts"].values()
    assert host["peak"] <= _WEIGHT
    # What is reckoned here is never less than what the exchange reckons.
    assert sum(count.weight for count in counts) >= host["weight"]
    assert sum(count.requests for count in counts) == told["requests"]


async def test_a_storm_passes(rates: str, sandbox: RunningExchange) -> None:
    async with _client(sandbox) as client:
        sandbox.tell("fault", kind="storm", seconds=0.3)
        assert (await client.exchange_status()).time
        assert client.counts.http_5xx >= 1


async def test_what_the_exchange_has_not_is_refused(rates: str, sandbox: RunningExchange) -> None:
    async with _client(sandbox) as client:
        with pytest.raises(ExchangeRequestError, match="recentTrades of NOPE"):
            await client.recent_trades("NOPE")
