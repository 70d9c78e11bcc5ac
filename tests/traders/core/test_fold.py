"""Trades become changes of positions, each once, up to where they are whole."""

from decimal import Decimal

import pytest
from sqlalchemy import insert
from sqlmodel import Session, col, select

from blocks.engine import session
from tasks.traders.core.fold import POSITIONS, fold
from tasks.traders.core.tables import Change, Coin, Cursor, PositionEvent, Source, Trade
from tests.traders.core.tape_rows import (
    NOW,
    address,
    events,
    people,
    position,
    settle,
    snapshot,
    store,
    stream,
    swap,
    told,
    values,
    whole_up_to,
)


def _begin(opened: Session, *coins: str, traders: int = 2) -> None:
    """Traders with nothing at time 1."""
    people(opened, traders)
    stream(opened, *(coins or ("BTC",)), whole=1)
    for trader in range(1, traders + 1):
        snapshot(opened, trader, 1)


def _fold(limit: int = 100) -> tuple[int, int, bool]:
    with session("traders") as opened:
        return tuple(fold(opened, now=NOW, limit=limit))  # type: ignore[return-value]


def test_a_position_from_its_opening_to_its_end(book_ledger: str) -> None:
    with session("traders") as opened:
        _begin(opened)
    settle()
    with session("traders") as opened:
        store(opened, [swap(10, 1, 2, "2", "100"), swap(20, 1, 2, "1", "130"), swap(30, 2, 1, "1.5", "120")])
        store(opened, [swap(40, 2, 1, "4", "90"), swap(50, 1, 2, "2.5", "80")])
        whole_up_to(opened, 60)
    settle()
    assert told(1) == [
        "OPEN 0>2 BTC 10 entry=100",
        "INCREASE 2>3 BTC 20 entry=110",
        "DECREASE 3>1.5 BTC 30 entry=110 exit=120 realised=15",
        "FLIP 1.5>-2.5 BTC 40 entry=90 exit=90 realised=-30",
        "CLOSE -2.5>0 BTC 50 entry=90 exit=80 realised=25",
    ]
    assert [line.split()[:2] for line in told(2)] == [
        ["OPEN", "0>-2"],
        ["INCREASE", "-2>-3"],
        ["DECREASE", "-3>-1.5"],
        ["FLIP", "-1.5>2.5"],
        ["CLOSE", "2.5>0"],
    ]
    closed = position(1)
    assert values(closed.szi, closed.entry_px, closed.realised, closed.opened_time, closed.changed_time) == (
        0,
        None,
        None,
        None,
        50,
    )
    with session("traders", read_only=True) as opened:
        first = events(opened, 1)[0]
        assert (first.source, first.tid, first.px, first.found_at) == (Source.STREAM, 1001, Decimal(100), NOW)


def test_what_was_realised_since_it_was_opened(book_ledger: str) -> None:
    with session("traders") as opened:
        _begin(opened)
        store(opened, [swap(10, 1, 2, "3", "100"), swap(20, 2, 1, "1", "110"), swap(30, 2, 1, "1", "95")])
        whole_up_to(opened, 30)
    settle()
    held = position(1)
    assert values(held.szi, held.entry_px, held.realised, held.opened_time, held.changed_time) == (1, 100, 5, 10, 30)


def test_an_order_that_sweeps_the_book_is_one_change(book_ledger: str) -> None:
    sweep = [swap(10, 1, 2, "1", "100", tid=7), swap(10, 1, 3, "3", "104", tid=5), swap(10, 1, 1, "9", "1", tid=1)]
    with session("traders") as opened:
        _begin(opened, traders=3)
        store(opened, sweep)
        whole_up_to(opened, 10)
    settle()
    assert told() == [
        "OPEN 0>4 BTC 10 entry=103",
        "OPEN 0>-1 BTC 10 entry=100",
        "OPEN 0>-3 BTC 10 entry=104",
    ]
    with session("traders", read_only=True) as opened:
        assert events(opened, 1)[0].tid == 5


def test_what_is_not_whole_yet_waits(book_ledger: str) -> None:
    with session("traders") as opened:
        _begin(opened, "BTC", "ETH")
    settle()
    with session("traders") as opened:
        store(opened, [swap(10, 1, 2, "1", "100"), swap(20, 1, 2, "1", "100")])
        opened.get_one(Coin, "BTC").whole_time = 20
    assert _fold() == (0, 0, False)
    with session("traders") as opened:
        opened.get_one(Coin, "ETH").whole_time = 15
    assert _fold() == (1, 2, False)
    with session("traders") as opened:
        opened.get_one(Coin, "ETH").whole_time = 20
        opened.add(Coin(coin="SOL", subscribed=True))
    assert _fold() == (0, 0, False)
    with session("traders") as opened:
        opened.get_one(Coin, "SOL").subscribed = False
    assert _fold() == (1, 2, False)
    assert _fold() == (0, 0, False)


def test_nothing_is_followed_and_nothing_happens(book_ledger: str) -> None:
    assert _fold() == (0, 0, False)


def test_steps_are_bounded_and_never_split_a_block(book_ledger: str) -> None:
    block = [swap(20, 1, 2, "1", "100", tid=tid) for tid in range(5)]
    with session("traders") as opened:
        _begin(opened)
    settle()
    with session("traders") as opened:
        store(opened, [swap(10, 1, 2, "1", "100"), *block, swap(30, 1, 2, "1", "100")])
        whole_up_to(opened, 40)
    assert _fold(2) == (1, 2, True)
    assert _fold(2) == (5, 2, True)
    assert _fold(2) == (1, 2, False)
    with session("traders", read_only=True) as opened:
        assert opened.get_one(Cursor, POSITIONS).time == 40


def test_traders_without_a_baseline_have_no_position(book_ledger: str) -> None:
    with session("traders") as opened:
        _begin(opened)
        opened.connection().execute(insert(Coin), [{"coin": "xyz:AAPL", "subscribed": True, "whole_time": 1}])
    settle()
    with session("traders") as opened:
        store(opened, [swap(10, 1, 2, "1", "100", coin="xyz:AAPL"), swap(10, 1, 0, "1", "100", tid=3)])
        whole_up_to(opened, 10)
    assert _fold() == (2, 1, False)
    assert told() == ["OPEN 0>1 BTC 10 entry=100"]


def test_spot_has_no_positions(book_ledger: str) -> None:
    with session("traders") as opened:
        _begin(opened, "BTC", "@107", "PURR/USDC")
        store(opened, [swap(10, 1, 2, "1", "100", coin="@107"), swap(10, 1, 2, "1", "100", coin="PURR/USDC")])
        whole_up_to(opened, 10)
    settle()
    assert told() == []


def test_trades_that_a_snapshot_showed_are_not_applied_again(book_ledger: str) -> None:
    with session("traders") as opened:
        _begin(opened)
    settle()
    with session("traders") as opened:
        stream(opened, "BTC", whole=1, alive=False)
        store(opened, [swap(10, 1, 2, "1", "100")])
        snapshot(opened, 1, 15)
    settle()
    assert [line.split()[0] for line in told(1)] == ["OPEN", "CLOSE"]
    with session("traders") as opened:
        stream(opened, "BTC", whole=20)
    settle()
    assert [line.split()[0] for line in told(1)] == ["OPEN", "CLOSE"]
    assert position(1).szi == 0
    assert [line.split()[0] for line in told(2)] == ["OPEN"]


def test_a_trade_known_by_halves_changes_one_position(book_ledger: str) -> None:
    with session("traders") as opened:
        _begin(opened)
        store(opened, [swap(10, 1, 0, "1", "100"), swap(20, 0, 2, "1", "100")])
        whole_up_to(opened, 20)
    settle()
    assert values(position(1).szi, position(2).szi) == (1, -1)


def test_events_have_the_addresses_ids(book_ledger: str) -> None:
    from tasks.traders.core.events import event_id

    with session("traders") as opened:
        _begin(opened)
        store(opened, [swap(10, 1, 2, "1", "100")])
        whole_up_to(opened, 10)
    settle()
    with session("traders", read_only=True) as opened:
        ids = set(opened.exec(select(PositionEvent.id)).all())
    assert ids == {event_id(address(trader), "BTC", Change.OPEN, Source.STREAM, 10) for trader in (1, 2)}


@pytest.mark.parametrize("size", ["0.00000001", "123456789012.12345678"])
def test_sizes_are_exact(book_ledger: str, size: str) -> None:
    with session("traders") as opened:
        _begin(opened)
        store(opened, [swap(10, 1, 2, size, "0.0000001"), swap(20, 1, 2, "0.1", "99999.9")])
        whole_up_to(opened, 20)
    settle()
    assert position(1).szi == Decimal(size) + Decimal("0.1") == -position(2).szi
    with session("traders", read_only=True) as opened:
        assert len(opened.exec(select(Trade).where(col(Trade.time) <= 20)).all()) == 2
