"""Later snapshots are compared, and what differs is put right once."""

from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import delete
from sqlmodel import select

from blocks.engine import session
from tasks.traders.core.cursors import lock_cursor
from tasks.traders.core.fold import POSITIONS, fold
from tasks.traders.core.reconcile import RESTART, reconcile
from tasks.traders.core.tables import Poll, Position, Snapshot
from tests.traders.core.tape_rows import (
    NOW,
    poll,
    position,
    settle,
    shown,
    snapshot,
    store,
    stream,
    swap,
    told,
    values,
    whole_up_to,
)


def test_a_snapshot_that_agrees_changes_nothing(followed: None) -> None:
    with session("traders") as opened:
        snapshot(opened, 1, 5)
        store(opened, [swap(10, 1, 2, "3", "100"), swap(20, 2, 1, "1", "110")])
        snapshot(opened, 1, 40, shown("BTC", "2", "100.02", leverage=10, liquidation_px="80"))
    assert settle() == (1, 0)
    assert [line.split()[0] for line in told(1)] == ["OPEN", "DECREASE"]
    held = position(1)
    assert values(held.entry_px, held.realised, held.leverage, held.liquidation_px) == (100, 10, 10, 80)
    assert (poll(1).baseline_time, poll(1).reconciled_time, poll(1).compared, poll(1).drifted) == (5, 40, 1, 0)


def test_drift_is_found_and_corrected_once(followed: None) -> None:
    with session("traders") as opened:
        snapshot(opened, 1, 5)
        store(opened, [swap(10, 1, 2, "3", "100"), swap(60, 2, 1, "1", "120")])
        # It bought another 2 that nobody told us of.
        snapshot(opened, 1, 40, shown("BTC", "5", "106"))
        snapshot(opened, 1, 70, shown("BTC", "4", "106"))
    assert settle() == (2, 1)
    assert told(1) == [
        "OPEN 0>3 BTC 10 entry=100",
        "INCREASE 3>5 BTC 40 SNAPSHOT entry=106",
        "DECREASE 5>4 BTC 60 entry=106 exit=120 realised=14",
    ]
    held = position(1)
    assert values(held.szi, held.entry_px, held.realised, held.opened_time) == (4, 106, None, 10)
    assert (poll(1).compared, poll(1).drifted) == (2, 1)


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("3", "0", "CLOSE 3>0 BTC 40 SNAPSHOT entry=100"),
        ("3", "1", "DECREASE 3>1 BTC 40 SNAPSHOT entry=100"),
        ("3", "-2", "FLIP 3>-2 BTC 40 SNAPSHOT entry=90"),
        ("0", "-2", "OPEN 0>-2 BTC 40 SNAPSHOT entry=90"),
    ],
)
def test_drift_of_each_kind(followed: None, before: str, after: str, line: str) -> None:
    entry = "100" if after == "1" else "90"
    with session("traders") as opened:
        snapshot(opened, 1, 5)
        store(opened, [swap(10, 1, 2, before, "100")] if before != "0" else [])
        snapshot(opened, 1, 40, *([shown("BTC", after, entry)] if after != "0" else []))
    assert settle() == (1, 1)
    assert told(1)[-1] == line
    assert (position(1).szi, position(1).entry_px) == (Decimal(after), Decimal(entry) if after != "0" else None)


def test_a_late_snapshot_is_compared_with_what_was_then(followed: None) -> None:
    with session("traders") as opened:
        snapshot(opened, 1, 5)
        store(opened, [swap(10, 1, 2, "3", "100"), swap(60, 2, 1, "1", "120"), swap(70, 1, 2, "2", "130")])
    settle()
    with session("traders") as opened:
        snapshot(opened, 1, 40, shown("BTC", "3", "100", leverage=4, liquidation_px="70"))
    assert settle() == (1, 0)
    assert len(told(1)) == 3
    assert values(position(1).szi, position(1).leverage, position(1).liquidation_px) == (4, 4, None)


def test_a_late_snapshot_that_shows_drift_moves_what_came_after(followed: None) -> None:
    with session("traders") as opened:
        snapshot(opened, 1, 5)
        store(opened, [swap(60, 1, 2, "1", "130")])
    settle()
    with session("traders") as opened:
        snapshot(opened, 1, 40, shown("BTC", "3", "100"))
    assert settle() == (1, 1)
    assert told(1) == ["OPEN 0>3 BTC 40 SNAPSHOT entry=100", "OPEN 0>1 BTC 60 entry=130"]
    held = position(1)
    assert values(held.szi, held.entry_px, held.opened_time, held.changed_time) == (4, Decimal("107.5"), 40, 60)


def test_a_late_snapshot_tells_the_entry_of_what_was_there_before(followed: None) -> None:
    with session("traders") as opened:
        snapshot(opened, 1, 5, shown("BTC", "3"))
        store(opened, [swap(60, 1, 2, "1", "140")])
    settle()
    assert position(1).entry_px is None
    with session("traders") as opened:
        snapshot(opened, 1, 40, shown("BTC", "3", "100"))
    settle()
    assert position(1).entry_px == 110


def test_an_older_snapshot_than_the_newest_tells_nothing(followed: None) -> None:
    with session("traders") as opened:
        snapshot(opened, 1, 50, shown("BTC", "3", "100", leverage=5))
    settle()
    with session("traders") as opened:
        snapshot(opened, 1, 40, shown("BTC", "9", "90", leverage=6))
        snapshot(opened, 1, 50, shown("BTC", "8", "90", leverage=7))
    assert settle() == (0, 0)
    assert told() == []
    assert values(position(1).szi, position(1).leverage, poll(1).reconciled_time) == (3, 5, 50)
    with session("traders", read_only=True) as opened:
        assert opened.exec(select(Snapshot)).all() == []


def test_trades_missed_that_cancel_out_show_in_the_entry(followed: None) -> None:
    with session("traders") as opened:
        snapshot(opened, 1, 5)
        store(opened, [swap(10, 1, 2, "3", "100")])
        snapshot(opened, 1, 40, shown("BTC", "3", "104"))
    assert settle() == (1, 0)
    assert position(1).entry_px == 104


def test_coins_that_are_not_followed_change_by_snapshots(followed: None) -> None:
    with session("traders") as opened:
        snapshot(opened, 1, 5, shown("SOL", "3", "20", leverage=5))
        snapshot(opened, 1, 40, shown("SOL", "4", "21", leverage=5))
        snapshot(opened, 1, 50)
        snapshot(opened, 1, 60, shown("SOL", "-1", "30", leverage=2))
    assert settle() == (0, 0)
    assert told(1) == [
        "INCREASE 3>4 SOL 40 SNAPSHOT entry=21 cross 5>cross 5",
        "CLOSE 4>0 SOL 50 SNAPSHOT entry=21 cross 5>None None",
        "OPEN 0>-1 SOL 60 SNAPSHOT entry=30 None None>cross 2",
    ]


# Leverage.


def test_another_leverage_of_the_same_position(followed: None) -> None:
    with session("traders") as opened:
        snapshot(opened, 1, 5, shown("BTC", "1", "100", leverage=5))
        store(opened, [swap(10, 1, 2, "1", "100")])
        snapshot(opened, 1, 20, shown("BTC", "2", "100", leverage=10))
        snapshot(opened, 1, 30, shown("BTC", "2", "100", leverage=10, kind="isolated"))
        snapshot(opened, 1, 40, shown("BTC", "2", "100", leverage=10, kind="isolated"))
    assert settle() == (3, 0)
    assert told(1) == [
        "INCREASE 1>2 BTC 10 entry=100",
        "LEVERAGE 2>2 BTC 20 SNAPSHOT entry=100 cross 5>cross 10",
        "LEVERAGE 2>2 BTC 30 SNAPSHOT entry=100 cross 10>isolated 10",
    ]


@pytest.mark.parametrize("late", [False, True])
def test_another_position_has_a_leverage_of_its_own(followed: None, late: bool) -> None:
    with session("traders") as opened:
        snapshot(opened, 1, 5, shown("BTC", "1", "100", leverage=5))
        store(opened, [swap(10, 2, 1, "1", "100"), swap(15, 1, 2, "1", "100")])
    if late:
        settle()
    with session("traders") as opened:
        snapshot(opened, 1, 20, shown("BTC", "1", "100", leverage=10))
    settle()
    assert [line.split()[0] for line in told(1)] == ["CLOSE", "OPEN"]
    assert position(1).leverage == 10


# When.


def test_a_snapshot_waits_for_the_trades_before_it(followed: None) -> None:
    with session("traders") as opened:
        snapshot(opened, 1, 150, shown("BTC", "2", "100"))
    settle()
    with session("traders", read_only=True) as opened:
        assert len(opened.exec(select(Snapshot)).all()) == 1
    assert poll(1).baseline_time is None and poll(1).snapshot_time == 150
    with session("traders") as opened:
        store(opened, [swap(140, 1, 2, "2", "100")])
        whole_up_to(opened, 149)
    settle()
    assert told() == []
    with session("traders") as opened:
        whole_up_to(opened, 150)
    settle()
    assert told() == ["OPEN 0>2 BTC 140 entry=100"]


def test_on_a_dex_that_is_not_followed_nothing_is_waited_for(followed: None) -> None:
    with session("traders") as opened:
        snapshot(opened, 1, 150, shown("xyz:AAPL", "2", "200"), dex="xyz")
    settle()
    assert position(1, "xyz:AAPL").szi == 2


def test_without_a_stream_what_is_stored_comes_first(followed: None) -> None:
    with session("traders") as opened:
        stream(opened, "BTC", "ETH", whole=100, alive=False)
        snapshot(opened, 1, 90)
    settle()
    with session("traders") as opened:
        # Stored before the stream ended, but not known to be all.
        store(opened, [swap(105, 1, 2, "2", "100"), swap(106, 1, 2, "1", "103")])
        snapshot(opened, 1, 150, shown("BTC", "5", "101"))
        snapshot(opened, 2, 150, shown("BTC", "-3", "101"))
    assert settle() == (0, 0)
    assert told(1) == [
        "OPEN 0>2 BTC 105 entry=100",
        "INCREASE 2>3 BTC 106 entry=101",
        "INCREASE 3>5 BTC 150 SNAPSHOT entry=101",
    ]
    assert told(2) == ["OPEN 0>-2 BTC 105 entry=100", "INCREASE -2>-3 BTC 106 entry=101"]
    with session("traders") as opened:
        stream(opened, "BTC", "ETH", whole=200)
        store(opened, [swap(120, 1, 2, "2", "101"), swap(160, 2, 1, "5", "111")])
        snapshot(opened, 1, 180)
    assert settle() == (0, 0)
    assert told(1)[3:] == ["CLOSE 5>0 BTC 160 entry=101 exit=111 realised=50"]
    assert position(1).szi == 0


def test_without_a_stream_a_first_snapshot_that_does_not_come_out_even_is_the_beginning(followed: None) -> None:
    with session("traders") as opened:
        stream(opened, "BTC", "ETH", whole=100, alive=False)
        store(opened, [swap(10, 1, 2, "2", "100")])
        snapshot(opened, 1, 150, shown("BTC", "5", "101"))
    settle()
    assert told() == []
    assert values(position(1).szi, position(1).entry_px) == (5, 101)


def test_a_discovery_that_was_killed_is_waited_for(followed: None) -> None:
    settle()
    with session("traders") as opened:
        snapshot(opened, 1, 150)
    died = NOW + timedelta(seconds=30)
    for now, expected in ((died + RESTART - timedelta(seconds=1), 0), (died + RESTART, 1)):
        with session("traders") as opened:
            assert reconcile(opened, now=now, limit=10).snapshots == expected


def test_a_step_takes_a_bounded_number_and_one_of_each_trader(followed: None) -> None:
    with session("traders") as opened:
        lock_cursor(opened, POSITIONS).time = 100
        for time in (10, 20):
            snapshot(opened, 1, time)
            snapshot(opened, 2, time)
    steps = []
    for _ in range(4):
        with session("traders") as opened:
            step = reconcile(opened, now=NOW, limit=3)
            steps.append((step.snapshots, step.more))
    assert steps == [(2, True), (2, False), (0, False), (0, False)]


def test_a_trade_that_came_too_late_is_in_the_next_snapshot(followed: None) -> None:
    with session("traders") as opened:
        snapshot(opened, 1, 5)
    settle()
    with session("traders") as opened:
        store(opened, [swap(50, 1, 2, "2", "100")])
        assert fold(opened, now=NOW, limit=10).trades == 0
        whole_up_to(opened, 200)
        snapshot(opened, 1, 150, shown("BTC", "2", "100"))
        snapshot(opened, 1, 160, shown("BTC", "2", "100"))
    assert settle() == (2, 1)
    assert told(1) == ["OPEN 0>2 BTC 150 SNAPSHOT entry=100"]
    with session("traders", read_only=True) as opened:
        assert len(opened.exec(select(Position)).all()) == 1


def test_a_baseline_after_its_poll_was_cleaned_away(followed: None) -> None:
    with session("traders") as opened:
        store(opened, [swap(10, 1, 2, "2", "100")])
        snapshot(opened, 1, 50, shown("BTC", "2", "100"), shown("ETH", "1", "3"))
    settle()
    with session("traders") as opened:
        whole_up_to(opened, 200)
        snapshot(opened, 1, 150, shown("BTC", "2", "100"))
        opened.connection().execute(delete(Poll))
    settle()
    assert told(1) == ["OPEN 0>2 BTC 10 entry=100"]
    assert values(position(1).szi, position(1, "ETH").szi) == (2, 0)
