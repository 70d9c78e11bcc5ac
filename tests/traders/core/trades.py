"""Trades for tests of the ledger, and what is stored of them."""

from datetime import UTC, datetime
from typing import Any

from sqlmodel import select

from blocks.engine import session
from tasks.traders.core.ingest import Batch, Stored, open_stream, store
from tasks.traders.core.schema import TradersTable
from tasks.traders.core.tables import Stream, StreamKind, Trade, Trader
from tasks.traders.core.trade_rows import TradeRow

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def address(number: int) -> str:
    """The address of a trader of a test."""
    return f"0x{number:040x}"


def trade(time: int, tid: int = 1, coin: str = "BTC", **parts: Any) -> TradeRow:
    """A trade from trader 1 to trader 2, or as told."""
    told = {"side": "B", "px": "100.5", "sz": "0.25", "buyer": address(1), "seller": address(2), **parts}
    return TradeRow(time=time, coin=coin, tid=tid, **told)


def new_stream(kind: StreamKind = StreamKind.STREAM) -> int:
    """The account of a new stream."""
    with session("traders") as opened:
        return open_stream(opened, kind, ["BTC"], NOW)


def stored(stream_id: int, trades: list[TradeRow], **counts: Any) -> Stored:
    """Store trades in a transaction of their own."""
    with session("traders") as opened:
        return store(opened, Batch(stream_id, trades, **counts), NOW)


def rows() -> list[tuple[Any, ...]]:
    """All trades, with addresses in place of ids."""
    with session("traders", read_only=True) as opened:
        known: dict[int | None, str] = {each.id: each.address for each in opened.exec(select(Trader))}
        return sorted(
            (
                each.time,
                each.coin,
                each.tid,
                each.side,
                each.px,
                each.sz,
                known.get(each.buyer_id) if each.buyer_id else None,
                known.get(each.seller_id) if each.seller_id else None,
            )
            for each in opened.exec(select(Trade))
        )


def traders() -> dict[str, tuple[int | None, int | None]]:
    """First and last time of every trader."""
    with session("traders", read_only=True) as opened:
        return {each.address: (each.first_time, each.seen_time) for each in opened.exec(select(Trader))}


def account(stream_id: int) -> Stream:
    """A stream's row."""
    with session("traders", read_only=True) as opened:
        row = opened.get(Stream, stream_id)
    assert row is not None
    return row


def empty_ledger() -> None:
    """Delete every row, for the next example of a law."""
    with session("traders") as opened:
        for table in reversed(TradersTable.metadata.sorted_tables):
            opened.connection().execute(table.delete())
