"""Rows of the traders ledger that tests begin with."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from sqlmodel import col, select

from blocks.engine import session
from tasks.traders.core.tables import DOMAIN, Change, PositionEvent, Source, Trader

#: Our own clock, and the exchange's at the same moment.
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TIME = int(NOW.timestamp() * 1000)


def address(number: int) -> str:
    """An address that differs from those of other numbers in its last digits."""
    return f"0x{number:040x}"


def add_traders(*seen: int | None, ignored: bool = False) -> list[int]:
    """Traders with the addresses 1, 2, ..., seen at these times; gives their ids."""
    with session(DOMAIN) as opened:
        first = len(opened.exec(select(Trader.id)).all()) + 1
        rows = [
            Trader(address=address(number), seen_time=time, first_time=time, discovered_at=NOW, ignored=ignored)
            for number, time in enumerate(seen, first)
        ]
        opened.add_all(rows)
        opened.flush()
        return [row.id for row in rows if row.id is not None]


def add_events(trader_id: int, number: int, **fields: Any) -> list[str]:
    """So many unpublished events of one trader, a second apart; gives their ids in their order."""
    with session(DOMAIN) as opened:
        known = len(opened.exec(select(PositionEvent.number)).all())
        ids = [str(uuid5(NAMESPACE_OID, str(index))) for index in range(known, known + number)]
        for index, id_ in enumerate(ids):
            values: dict[str, Any] = {
                "id": id_,
                "trader_id": trader_id,
                "coin": "BTC",
                "change": Change.OPEN,
                "source": Source.STREAM,
                "time": TIME + 1000 * index,
                "size_before": Decimal(0),
                "size_after": Decimal("1.5"),
                "found_at": NOW + timedelta(seconds=index),
                **fields,
            }
            opened.add(PositionEvent(**values))
            opened.flush()
    return ids


def unpublished_ids() -> list[str]:
    """The ids of the events that wait."""
    with session(DOMAIN, read_only=True) as opened:
        waiting = select(PositionEvent.id).where(col(PositionEvent.published_at).is_(None))
        return list(opened.exec(waiting.order_by(col(PositionEvent.number))))
