"""A market that is followed, tracked and ranked by processes that are killed all the time; then the truth is told."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from sqlmodel import delete

from blocks.engine import dispose_engines, engine, session
from blocks.settings import settings
from tasks.foundation.core.columns import utc_now
from tasks.traders.api import exchange_client
from tasks.traders.core.coverage import whole_time
from tasks.traders.core.cursors import lock_cursor
from tasks.traders.core.fold import POSITIONS
from tasks.traders.core.history_tables import Equity, History
from tasks.traders.core.outbox import CHANNEL
from tasks.traders.core.schema import TradersTable
from tasks.traders.core.tables import DOMAIN
from tasks.traders.histories import refresh_history
from tasks.traders.leaderboard import calculate_leaderboard
from tasks.traders.traders import get_or_create_trader
from tests.redis_server import RedisServer, Subscriber
from tests.traders import verdict
from tests.traders.exchange_process import ExchangeProcess, exchange_process
from tests.traders.exchanges import make_rates
from tests.traders.killed_work import AFTER_COMMIT, BEFORE_COMMIT, DISCOVERY, LEADERBOARD, STATEMENT, TRACKING, Moment
from tests.traders.killing import Killer

COINS = ("BTC", "ETH", "SOL", "xyz:AAPL", "@107")
#: Kinds of rows that a walk stores page by page; the others are made of them.
_FETCHED = ("Fill", "Funding", "LedgerUpdate")


def survive(
    folder: Path, *, seed: str, kills: Mapping[str, int], rate: float, traders: int, faults: Mapping[str, object] = {}
) -> str:
    """Kill each kind of work so often while the market goes on, let the last of each finish, and compare.

    Args:
        folder: for what everybody says.
        seed: draws the moments.
        kills: how many of each kind of work.
        rate: trades a second.
        traders: how many there are.
        faults: of the exchange, by the names of its options, until its market ends.

    Returns:
        What there was, for people.
    """
    options = {"traders": traders, "days": 8, "coins": ",".join(COINS), "rate": rate, "paused": "on"}
    with (
        RedisServer() as redis,
        Subscriber(redis, CHANNEL) as subscriber,
        pytest.MonkeyPatch.context() as patch,
        exchange_process(folder / "exchange.log", **options) as exchange,
        Killer(folder, seed) as killer,
    ):
        patch.setenv("QUINTET_TRADERS__REDIS_URL", redis.url)
        settings.cache_clear()
        _begin(killer, exchange)
        exchange.tell("set", **faults)
        exchange.tell("resume")
        killer.kill_all(kills)
        exchange.tell("set", **dict.fromkeys(faults, 0))
        _come_to_the_end(killer, exchange)
        trades, changes = verdict.check_trades(exchange), verdict.check_changes(exchange)
        verdict.check_positions(exchange)
        subscriber.wait_for(verdict.events())
        repeated = verdict.check_published(subscriber.messages)
        killer.run_to_end(LEADERBOARD)
        verdict.check_boards(killer.boards)
        _compare_with_a_clean_ledger(folder / "clean")
    return (
        f"{dict(killer.killed)} killed, {dict(killer.completed)} completed, {killer.boards} leaderboards, "
        f"{trades} trades, {changes} changes, {repeated} published again"
    )


def survive_fetching(folder: Path, *, seed: str, kills: int, traders: int) -> str:
    """Fetch everybody's past while the market stands still, killed so often after a few transactions, and compare.

    Returns:
        What there was, for people.
    """
    chance = Random(seed)
    options = {"traders": traders, "days": 60, "trips_a_day": 20, "coins": ",".join(COINS), "paused": "on"}
    with (
        exchange_process(folder / "exchange.log", **options) as exchange,
        pytest.MonkeyPatch.context() as patch,
        Killer(folder, seed) as killer,
    ):
        # Few at a time: a short life brings some of them to their end.
        patch.setenv("QUINTET_TRADERS__REQUESTS_AT_ONCE", "2")
        settings.cache_clear()
        asyncio.run(_make_known([each["address"] for each in exchange.truth("traders")]))
        done = []
        while killer.killed[TRACKING] < kills:
            what, most = chance.choice(((BEFORE_COMMIT, 25), (AFTER_COMMIT, 25), (STATEMENT, 250)))
            killer.kill_at(TRACKING, Moment(what, chance.randint(1, most)))
            done.append(sum(row.refreshed_at is not None for row in verdict.rows(History)))
        killer.run_to_end(TRACKING)
        _compare_with_a_clean_ledger(folder / "clean")
    # Kills met first fetches, one after the other.
    assert len(set(done)) > kills / 4, done
    return f"{killer.killed[TRACKING]} killed; pasts fetched by then: {done}"


async def _make_known(addresses: Iterable[str]) -> None:
    for address in addresses:
        await get_or_create_trader.fn(address)


def _begin(killer: Killer, exchange: ExchangeProcess) -> None:
    """The very first discovery is killed as soon as anything is stored, long before anything is known to be whole."""
    first = killer.start(DISCOVERY)
    killer.until(lambda: _subscriptions(exchange) == len(COINS), first)
    exchange.tell("play", n=60, block=60)
    killer.until(lambda: verdict.stored_trades() > 0, first)
    killer.kill(first)


def _come_to_the_end(killer: Killer, exchange: ExchangeProcess) -> None:
    """Nobody is killed any more: the market ends, and everything of it becomes known."""
    last = killer.start(DISCOVERY)
    killer.until(lambda: _subscriptions(exchange) == len(COINS), last)
    exchange.tell("finish")
    end = exchange.truth("market")["time"]
    killer.until(lambda: not verdict.open_gaps() and _whole() == end, last)
    killer.stop(last)
    killer.run_to_end(TRACKING, full=True)
    with session(DOMAIN) as opened:
        assert lock_cursor(opened, POSITIONS).time == end


def _subscriptions(exchange: ExchangeProcess) -> int:
    """How many there are; those of a process that was killed are gone."""
    return sum(len(each["coins"]) for each in exchange.truth("connections")["list"] if each["closed"] is None)


def _whole() -> int | None:
    with session(DOMAIN, read_only=True) as opened:
        return whole_time(opened)


@contextmanager
def _clean_ledger(home: Path) -> Iterator[None]:
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUINTET_HOME", str(home))
        patch.delenv("QUINTET_DATABASE_URL", raising=False)
        settings.cache_clear()
        TradersTable.metadata.create_all(engine(DOMAIN))
        make_rates("sqlite")
        yield
        dispose_engines()
    settings.cache_clear()


def _compare_with_a_clean_ledger(home: Path) -> None:
    """Pasts, metrics and ranks are those of a ledger that fetched everything once and calculated once."""
    everybody = sorted(verdict.addresses().values())
    fetched = {key: found for key, found in verdict.pasts().items() if key[1] in _FETCHED}
    asyncio.run(_refresh(everybody))
    killed, worths = verdict.pasts(), verdict.worths()
    with _clean_ledger(home):
        asyncio.run(_refresh(everybody))
        assert {key: found for key, found in verdict.pasts().items() if key[1] in _FETCHED} == fetched
        # What accounts were worth at moments that nobody can ask for again belongs to the inputs.
        for address, points in verdict.worths().items():
            assert points.keys() <= worths[address].keys()
        _take_over(worths)
        asyncio.run(_refresh(everybody))
        clean = verdict.pasts()
        assert killed.keys() == clean.keys()
        for key, found in clean.items():
            assert killed[key] == found, key
        asyncio.run(calculate_leaderboard.fn())
        once = verdict.board()
    asyncio.run(calculate_leaderboard.fn())
    again = verdict.board()
    assert again == once
    assert again["run"]["eligible"] > 0


async def _refresh(addresses: list[str]) -> None:
    async with exchange_client() as client:
        for address in addresses:
            known = await get_or_create_trader.fn(address)
            await refresh_history(client, known.id, address, now=utc_now())


def _take_over(worths: verdict.Worths) -> None:
    ids = {address: trader_id for trader_id, address in verdict.addresses().items()}
    with session(DOMAIN) as opened:
        opened.connection().execute(delete(Equity))
        for address, points in worths.items():
            opened.add_all(Equity(**{**point.model_dump(), "trader_id": ids[address]}) for point in points.values())
