"""Gaps of coins that were followed for moments only: killed before it was known up to when they are whole."""

from datetime import UTC, datetime

import pytest
from sqlmodel import select

from blocks.engine import session
from tasks.traders.core.coverage import choose_coins, raise_whole, set_subscribed
from tasks.traders.core.gaps import open_gaps
from tasks.traders.core.ingest import Batch, open_stream, store
from tasks.traders.core.tables import DOMAIN, Gap, GapState, StreamKind
from tasks.traders.core.trade_rows import TradeRow

NOW = datetime(2026, 3, 1, tzinfo=UTC)
BUYER, SELLER = "0x" + "a" * 40, "0x" + "b" * 40
COINS = ("BTC", "ETH", "SOL", "SUI")


def beginnings() -> dict[str, int]:
    with session(DOMAIN, read_only=True) as opened:
        return {gap.coin: gap.from_time for gap in opened.exec(select(Gap)).all() if gap.state is GapState.OPEN}


def store_trades(*trades: tuple[int, str]) -> None:
    with session(DOMAIN) as opened:
        stream = open_stream(opened, StreamKind.STREAM, COINS, NOW)
        rows = [TradeRow(time, coin, tid, "B", "1", "2", BUYER, SELLER) for tid, (time, coin) in enumerate(trades)]
        store(opened, Batch(stream, rows), NOW)


@pytest.mark.usefixtures("traders_ledger")
def test_what_came_before_anything_was_whole_is_not_forgotten() -> None:
    with session(DOMAIN) as opened:
        choose_coins(opened, COINS)
        # SUI was asked for, and the answer never came.
        set_subscribed(opened, ("BTC", "ETH", "SOL"), True)
    store_trades((1_000, "BTC"), (2_000, "BTC"), (3_000, "ETH"), (4_000, "ETH"))
    with session(DOMAIN) as opened:
        raise_whole(opened, {"ETH": 3_500})
    with session(DOMAIN) as opened:
        assert open_gaps(opened, COINS, NOW) == 3
    assert beginnings() == {"BTC": 2_000, "ETH": 3_500, "SOL": 4_000}


@pytest.mark.usefixtures("traders_ledger")
def test_where_nothing_is_stored_there_is_no_gap() -> None:
    with session(DOMAIN) as opened:
        choose_coins(opened, COINS)
        set_subscribed(opened, COINS, True)
        assert open_gaps(opened, COINS, NOW) == 0
    assert beginnings() == {}
