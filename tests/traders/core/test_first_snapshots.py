"""The first snapshot of a trader: what was there before it is counted back."""

from decimal import Decimal

from blocks.engine import session
from tasks.traders.core.snapshots import positions_of
from tasks.traders.core.tables import Gap, GapState
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
)


def test_who_started_from_nothing_has_every_event(followed: None) -> None:
    with session("traders") as opened:
        store(opened, [swap(10, 1, 2, "2", "100"), swap(20, 2, 1, "2", "110"), swap(30, 1, 2, "1", "120")])
        store(opened, [swap(60, 2, 1, "3", "130")])
        snapshot(opened, 1, 50, shown("BTC", "1", "120", leverage=5, liquidation_px="60"))
    assert settle() == (0, 0)
    assert told(1) == [
        "OPEN 0>2 BTC 10 entry=100",
        "CLOSE 2>0 BTC 20 entry=100 exit=110 realised=20",
        "OPEN 0>1 BTC 30 entry=120",
        "FLIP 1>-2 BTC 60 entry=130 exit=130 realised=10",
    ]
    held = position(1)
    assert (held.leverage_type, held.leverage, held.liquidation_px) == ("cross", 5, None)
    assert (poll(1).baseline_time, poll(1).reconciled_time, poll(1).compared) == (50, 50, 0)
    assert told(2) == []


def test_sizes_of_any_number_of_digits_add_up(followed: None) -> None:
    many, more = (
        "123456789012345678901234.123456789012345678901234",
        "123456789012345678901235.123456789012345678901234",
    )
    with session("traders") as opened:
        store(opened, [swap(10, 1, 2, many, "100"), swap(60, 1, 2, "1", "100")])
        snapshot(opened, 1, 50, shown("BTC", many, "100"))
        snapshot(opened, 2, 50, shown("BTC", f"-{many}", "100"))
    assert settle() == (0, 0)
    with session("traders") as opened:
        snapshot(opened, 1, 55, shown("BTC", many, "100"))
        snapshot(opened, 2, 90, shown("BTC", f"-{more}", "100"))
    assert settle() == (2, 0)
    assert [values(position(trader).szi) for trader in (1, 2)] == [(Decimal(more),), (Decimal(f"-{more}"),)]


def test_a_leverage_type_of_any_length_stops_nobody(followed: None) -> None:
    with session("traders") as opened:
        told = positions_of([{"coin": "BTC", "szi": "1", "leverage": {"type": "x" * 150, "value": 3}}])
        snapshot(opened, 1, 50, *told)
    settle()
    assert (position(1).leverage_type, position(1).leverage) == ("x" * 16, 3)


def test_what_was_there_before_is_counted_back(followed: None) -> None:
    with session("traders") as opened:
        store(opened, [swap(10, 2, 1, "2", "100"), swap(20, 1, 2, "1", "110"), swap(30, 2, 1, "3", "120")])
        snapshot(opened, 1, 50, shown("BTC", "6", "90"), shown("ETH", "-7", "2000", leverage=3))
    settle()
    # Its average has been 90 since the last increase; before, it could have been anything.
    assert told(1) == [
        "DECREASE 10>8 BTC 10 exit=100",
        "INCREASE 8>9 BTC 20 entry=90",
        "DECREASE 9>6 BTC 30 entry=90 exit=120 realised=90",
    ]
    held, other = position(1), position(1, "ETH")
    assert values(held.szi, held.entry_px, held.realised, held.opened_time) == (6, 90, None, None)
    assert values(other.szi, other.entry_px, other.leverage, other.changed_time) == (-7, 2000, 3, 50)


def test_what_was_there_before_and_is_gone(followed: None) -> None:
    with session("traders") as opened:
        store(opened, [swap(10, 2, 1, "2", "100")])
        snapshot(opened, 1, 50)
        snapshot(opened, 2, 50, shown("BTC", "2", "100"))
    settle()
    assert told() == ["CLOSE 2>0 BTC 10 exit=100", "OPEN 0>2 BTC 10 entry=100"]
    assert position(1).szi == 0


def test_a_gap_that_could_not_be_filled_ends_the_counting_back(followed: None) -> None:
    with session("traders") as opened:
        store(opened, [swap(10, 1, 2, "2", "100"), swap(30, 1, 2, "1", "110")])
        opened.add(
            Gap(coin="BTC", from_time=12, to_time=25, state=GapState.PARTIAL, opened_at=NOW, reason="too long ago")
        )
        # In the gap it bought another 5; trader 2 had part in nothing there.
        snapshot(opened, 1, 50, shown("BTC", "8", "104"))
        snapshot(opened, 2, 50, shown("BTC", "-3", "103.3333"))
    settle()
    assert told(1) == ["INCREASE 7>8 BTC 30 entry=104"]
    assert [line.split()[:2] for line in told(2)] == [["OPEN", "0>-2"], ["INCREASE", "-2>-3"]]


def test_a_coin_that_is_not_followed_is_believed_where_it_comes_out_even(followed: None) -> None:
    with session("traders") as opened:
        store(opened, [swap(10, 1, 2, "2", "5", coin="SOL"), swap(20, 1, 2, "2", "7", coin="AVAX")])
        snapshot(opened, 1, 50, shown("SOL", "2", "5"), shown("AVAX", "3", "6"))
    settle()
    assert told(1) == ["OPEN 0>2 SOL 10 entry=5"]
    assert position(1, "AVAX").szi == 3


def test_a_builders_dex_is_by_itself(followed: None) -> None:
    with session("traders") as opened:
        stream(opened, "xyz:AAPL", whole=100)
        store(opened, [swap(10, 1, 2, "2", "200", coin="xyz:AAPL"), swap(20, 1, 2, "1", "100")])
        snapshot(opened, 1, 50, shown("BTC", "1", "100"))
    settle()
    assert told(1) == ["OPEN 0>1 BTC 20 entry=100"]
    with session("traders") as opened:
        snapshot(opened, 1, 60, shown("xyz:AAPL", "2", "200"), dex="xyz")
        snapshot(opened, 1, 60, shown("BTC", "1", "100"))
    assert settle() == (1, 0)
    assert told(1) == ["OPEN 0>2 xyz:AAPL 10 entry=200", "OPEN 0>1 BTC 20 entry=100"]


# Later ones.
