"""Discovery against the sandbox: every trade of the exchange's truth, whatever happens to the connection."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import structlog
from sqlmodel import Session, select

from blocks.engine import LedgerUnreadableError, session
from blocks.exchange.items import Item, Refused, Subscribed
from blocks.settings import settings
from tasks.foundation import ending
from tasks.traders import discovery
from tasks.traders.core.leases import DISCOVERY, take
from tasks.traders.core.tables import Coin, Cursor, Gap, GapState, Lease, Rejection, Stream, StreamKind, Trader
from tasks.traders.discovery import manage_discovery_stream
from tasks.traders.discovery_run import CoinsRefusedError, DiscoveryRun
from tasks.traders.leasing import Hold
from tests.traders.core.trades import NOW
from tests.traders.discovering import (
    COINS,
    PATIENCE,
    QUICK,
    check_accounts,
    discovering,
    ledger,
    open_gaps,
    stored_trades,
    truth,
    until,
)
from tests.traders.exchanges import exchange_in_use

pytestmark = pytest.mark.usefixtures("traders_databases")

NO_BTC, NO_ETH = (Refused(1, 0.0, coin, "Invalid subscription", 30.0, named=True) for coin in ("BTC", "ETH"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield
    settings.cache_clear()


def subscribed() -> bool:
    with session("traders", read_only=True) as opened:
        return sum(coin.subscribed for coin in opened.exec(select(Coin))) == len(COINS)


async def test_every_trade_is_stored_counted_and_applied_however_the_stream_looks() -> None:
    faults = {"empty_rate": 0.2, "error_frame_rate": 0.1, "malformed_frame_rate": 0.1, "malformed_trade_rate": 0.2}
    with exchange_in_use(coins=tuple(COINS), replay=5, **faults) as exchange:
        async with discovering() as running:
            await until(subscribed)
            await asyncio.to_thread(exchange.tell, "play", n=400)
            await until(lambda: stored_trades() == 400)
            await asyncio.to_thread(exchange.tell, "finish")
            await until(lambda: stored_trades() == len(truth(exchange)))
            # Nothing more comes: what was last is whole, and applied.
            last = max(row[0] for row in truth(exchange))
            await until(lambda: applied() == last)
            assert not running.done()
        assert running.cancelled()
        assert ledger() == truth(exchange)
        sent = exchange.truth("connections")["connections"]["sent"]
    check_accounts()
    with session("traders", read_only=True) as opened:
        (row,) = opened.exec(select(Stream)).all()
        assert opened.exec(select(Lease)).all() == [] and opened.exec(select(Gap)).all() == []
        assert {reject.reason for reject in opened.exec(select(Rejection))}
        seen = {trader.address for trader in opened.exec(select(Trader))}
    assert seen == {party for trade in ledger() for party in trade[6:]}
    assert (row.kind, row.ended_for, row.late) == (StreamKind.STREAM, "stopped", 0)
    assert row.trades == sent["trades"] + row.rejected and row.rejected == sent["malformed_trade"]
    assert (row.empty_frames, row.error_frames, row.unreadable_frames) == (
        sent["empty"],
        sent["error"],
        sent["malformed"],
    )
    kinds = ("frames", "malformed_trade", "replay", "empty", "error", "malformed", "ack", "pong", "greeting")
    assert row.frames == sum(sent.get(kind, 0) for kind in kinds)


def applied() -> int | None:
    with session("traders", read_only=True) as opened:
        cursor = opened.get(Cursor, "positions")
        return cursor.time if cursor else None


async def test_what_was_missed_while_the_connection_was_away_is_fetched() -> None:
    with exchange_in_use(coins=tuple(COINS), recent=50) as exchange:
        async with discovering():
            await until(subscribed)
            await asyncio.to_thread(exchange.tell, "play", n=60)
            await until(lambda: stored_trades() == 60)
            # The next connections are refused: trades are missed for sure.
            await asyncio.to_thread(exchange.tell, "set", connections=0)
            await asyncio.to_thread(exchange.tell, "fault", kind="close", code=1006)
            await until(lambda: open_gaps() == len(COINS))
            await asyncio.to_thread(exchange.tell, "play", n=30)
            assert stored_trades() == 60
            await asyncio.to_thread(exchange.tell, "set", connections=10)
            await until(lambda: open_gaps() == 0)
            await asyncio.to_thread(exchange.tell, "finish")
            await until(lambda: stored_trades() == len(truth(exchange)))
            last = max(row[0] for row in truth(exchange))
            await until(lambda: applied() == last)
        assert ledger() == truth(exchange)
    check_accounts()
    with session("traders", read_only=True) as opened:
        assert {gap.state for gap in opened.exec(select(Gap))} == {GapState.FILLED}
        kinds = [row.kind for row in opened.exec(select(Stream))]
        assert opened.exec(select(Stream.late)).all() == [0] * len(kinds)
    assert sorted(kinds) == [StreamKind.RECENT_TRADES, StreamKind.STREAM, StreamKind.STREAM]


async def test_what_recent_trades_do_not_show_is_found_in_the_fills_of_traders() -> None:
    with exchange_in_use(coins=tuple(COINS), recent=2) as exchange:
        async with discovering():
            await until(subscribed)
            await asyncio.to_thread(exchange.tell, "play", n=200)
            await until(lambda: stored_trades() == 200)
            await asyncio.to_thread(exchange.tell, "set", connections=0)
            await asyncio.to_thread(exchange.tell, "fault", kind="close", code=1000)
            await until(lambda: open_gaps() == len(COINS))
            await asyncio.to_thread(exchange.tell, "play", n=40)
            await asyncio.to_thread(exchange.tell, "set", connections=10)
            await until(lambda: open_gaps() == 0)
            await until(lambda: stored_trades() == 240)
        # All twelve traders of this exchange were asked, so each missed trade has both its parties.
        assert ledger() == truth(exchange)
    check_accounts()
    with session("traders", read_only=True) as opened:
        gaps = opened.exec(select(Gap)).all()
    assert GapState.PARTIAL in {gap.state for gap in gaps} and sum(gap.recovered for gap in gaps) > 0


async def test_it_ends_when_its_time_is_over_with_everything_stored_and_applied() -> None:
    with exchange_in_use(coins=tuple(COINS), paused=False, rate=400, await_subscriptions=3) as exchange:
        result = await manage_discovery_stream.fn(seconds=1.5)
        ledger_now = ledger()
        assert ledger_now == truth(exchange)[: len(ledger_now)]
    check_accounts()
    assert result.ended_for == discovery.TIME_IS_OVER and result.running is None
    assert result.trades == result.stored + result.duplicates + result.rejected and result.stored == len(ledger_now) > 0
    assert result.new_traders == len({party for trade in ledger_now for party in trade[6:]})
    assert (result.connections, result.gaps, result.coins) == (1, 0, tuple(COINS))
    with session("traders", read_only=True) as opened:
        assert opened.exec(select(Lease)).all() == []
    assert applied() is not None


async def test_a_second_run_does_nothing_and_says_who_runs() -> None:
    with session("traders") as opened:
        take(opened, DISCOVERY, "somebody else", NOW, 10**9)
    result = await manage_discovery_stream.fn(["BTC"])
    assert result.running == "another process" and result.stored == 0
    with session("traders", read_only=True) as opened:
        assert opened.exec(select(Stream)).all() == [] and opened.exec(select(Coin)).all() == []


async def test_a_run_whose_lease_was_taken_stops_and_leaves_it_to_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.traders.leasing.RENEW_SECONDS", 0.05)
    with exchange_in_use(coins=tuple(COINS)) as exchange:
        running = asyncio.create_task(manage_discovery_stream.fn())
        await until(subscribed)
        with session("traders") as opened:
            take(opened, DISCOVERY, "somebody else", NOW, 10**9, dead=lambda _owner: True)
        await asyncio.to_thread(exchange.tell, "play", n=50)
        result = await running
    assert result.ended_for == "another run has taken over"
    with session("traders", read_only=True) as opened:
        assert opened.exec(select(Lease.owner)).all() == ["somebody else"]
    check_accounts()


async def test_what_advances_positions_and_fails_does_not_stop_the_stream_and_is_told_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_arguments: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("tasks.traders.discovery_run.FOLD_SECONDS", 0.01)
    monkeypatch.setattr("tasks.traders.discovery_run.advance_positions", fail)
    market = exchange_in_use(coins=tuple(COINS), paused=False, rate=400, await_subscriptions=3)
    with market, pytest.raises(ZeroDivisionError):
        await manage_discovery_stream.fn(seconds=1)
    assert stored_trades() > 0
    check_accounts()


async def test_while_the_database_takes_nothing_trades_wait_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_TRADERS__QUEUE_TRADES", "50")
    settings.cache_clear()
    away = False
    refused = 0

    @contextmanager
    def session_that_may_fail(domain: str) -> Iterator[Session]:
        nonlocal refused
        if away:
            refused += 1
            raise LedgerUnreadableError("the traders database cannot be written: its disk is full")
        with session(domain) as opened:
            yield opened

    monkeypatch.setattr("tasks.traders.discovery_writing.session", session_that_may_fail)
    with exchange_in_use(coins=tuple(COINS)) as exchange:
        async with discovering():
            await until(subscribed)
            away = True
            await asyncio.to_thread(exchange.tell, "play", n=700)
            await until(lambda: refused >= 3)
            assert stored_trades() == 0
            away = False
            await until(lambda: stored_trades() == 700)
        assert ledger() == truth(exchange)
    check_accounts()
    with session("traders", read_only=True) as opened:
        assert opened.exec(select(Gap)).all() == [] and len(opened.exec(select(Stream)).all()) == 1


async def test_where_the_exchange_knows_no_coin_the_run_fails_at_once_and_says_what_to_do() -> None:
    with exchange_in_use(coins=tuple(COINS)), pytest.raises(CoinsRefusedError) as raised:
        await manage_discovery_stream.fn(["btc", "NADA"])
    said = str(raised.value)
    assert "btc, NADA" in said and "Invalid subscription" in said and "QUINTET_TRADERS__COINS" in said
    check_accounts()
    with session("traders", read_only=True) as opened:
        (row,) = opened.exec(select(Stream)).all()
        assert opened.exec(select(Lease)).all() == [] and opened.exec(select(Gap)).all() == []
    assert row.ended_for == "the exchange refused every coin" and row.ended_at is not None


async def test_one_coin_that_is_refused_does_not_keep_the_others_from_being_followed() -> None:
    with exchange_in_use(coins=tuple(COINS)) as exchange:
        async with discovering(coins=["NADA", *COINS]) as running:
            await until(subscribed)
            await asyncio.to_thread(exchange.tell, "play", n=50)
            await until(lambda: stored_trades() == 50)
            assert not running.done()
    check_accounts()


@pytest.mark.parametrize(
    ("happened", "stopped_for"),
    [
        ([NO_BTC, NO_ETH], "the exchange refused every coin"),
        ([NO_BTC, NO_BTC], None),
        # An exchange that is out of order says no to no coin, and one that took a coin once knows it.
        ([NO_BTC, Refused(1, 0.0, "ETH", "not acknowledged within 10 s", 30.0)], None),
        ([Subscribed(1, 0.0, "ETH"), NO_BTC, NO_ETH], None),
    ],
)
def test_a_run_ends_only_where_no_coin_is_left_to_wait_for(happened: list[Item], stopped_for: str | None) -> None:
    run = DiscoveryRun(Hold("we", "we"), structlog.stdlib.get_logger())
    run.look_for_refusals(["BTC", "ETH"], happened)
    assert run.stopped_for == stopped_for


def test_of_many_refused_coins_the_first_are_named() -> None:
    assert "C9 and 990 more. Of C0 it says" in str(CoinsRefusedError([f"C{n}" for n in range(1000)], "no"))


async def test_asked_to_end_it_stores_what_has_come_and_says_why() -> None:
    with exchange_in_use(coins=tuple(COINS), paused=False, rate=300, await_subscriptions=3) as exchange:
        running = asyncio.create_task(manage_discovery_stream.fn())
        await until(lambda: stored_trades() >= 20)
        ending.ask_to_end()
        try:
            result = await asyncio.wait_for(running, PATIENCE)
        finally:
            ending._Wish.asked = False
        kept = ledger()
        assert kept == truth(exchange)[: len(kept)]
    check_accounts()
    assert result.ended_for == discovery.ASKED_TO_END and result.stored == len(kept) >= 20
    with session("traders", read_only=True) as opened:
        assert opened.exec(select(Lease)).all() == [] and opened.exec(select(Gap)).all() == []
        assert opened.exec(select(Stream.ended_for)).all() == [discovery.ASKED_TO_END]


async def test_no_coin_is_an_error() -> None:
    with exchange_in_use(), pytest.raises(ValueError, match="needs a coin"):
        await manage_discovery_stream.fn([])
    with session("traders", read_only=True) as opened:
        assert opened.exec(select(Lease)).all() == []
