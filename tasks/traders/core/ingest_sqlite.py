"""Trades into SQLite: few statements for any number of rows, each of which takes its rows from one JSON text.

With a statement for every row, Python's driver would give up the interpreter's lock and ask for it again with each;
beside a thread that reads the stream it would wait milliseconds every time. What a statement does by itself, it does
beside that thread.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Text, bindparam, text

from tasks.traders.core.tables import Trader
from tasks.traders.core.trade_rows import TradeRow, Written

_rows = bindparam("rows", type_=Text())
_now = bindparam("now", type_=Trader.__table__.c.discovered_at.type)  # type: ignore[attr-defined]

#: Of `{address: [first time, last time]}`.
_SEE = text("""
INSERT INTO traders_trader (address, first_time, seen_time, discovered_at, ignored)
SELECT each.key, json_extract(each.value, '$[0]'), json_extract(each.value, '$[1]'), :now, 0
FROM json_each(:rows) AS each
WHERE true
ON CONFLICT (address) DO UPDATE SET
    first_time = min(coalesce(first_time, excluded.first_time), excluded.first_time),
    seen_time = max(coalesce(seen_time, excluded.seen_time), excluded.seen_time)
""").bindparams(_rows, _now)

#: Of a list of `TradeRow`s.
_INSERT = text("""
INSERT OR IGNORE INTO traders_trade (time, coin, tid, side, px, sz, buyer_id, seller_id)
SELECT json_extract(each.value, '$[0]'), json_extract(each.value, '$[1]'), json_extract(each.value, '$[2]'),
    json_extract(each.value, '$[3]'), json_extract(each.value, '$[4]'), json_extract(each.value, '$[5]'),
    buyer.id, seller.id
FROM json_each(:rows) AS each
LEFT JOIN traders_trader AS buyer ON buyer.address = json_extract(each.value, '$[6]')
LEFT JOIN traders_trader AS seller ON seller.address = json_extract(each.value, '$[7]')
""").bindparams(_rows)

_COMPLETE = text("""
UPDATE traders_trade SET
    buyer_id = coalesce(traders_trade.buyer_id, known.buyer_id),
    seller_id = coalesce(traders_trade.seller_id, known.seller_id)
FROM (
    SELECT json_extract(each.value, '$[0]') AS time, json_extract(each.value, '$[1]') AS coin,
        json_extract(each.value, '$[2]') AS tid, buyer.id AS buyer_id, seller.id AS seller_id
    FROM json_each(:rows) AS each
    LEFT JOIN traders_trader AS buyer ON buyer.address = json_extract(each.value, '$[6]')
    LEFT JOIN traders_trader AS seller ON seller.address = json_extract(each.value, '$[7]')
) AS known
WHERE traders_trade.time = known.time AND traders_trade.coin = known.coin AND traders_trade.tid = known.tid
    AND (
        traders_trade.buyer_id IS NULL AND known.buyer_id IS NOT NULL
        OR traders_trade.seller_id IS NULL AND known.seller_id IS NOT NULL
    )
""").bindparams(_rows)


def write(connection: Connection, rows: Sequence[TradeRow], *, applied: int | None, now: datetime) -> Written:
    """Write traders and trades.

    Args:
        connection: the transaction.
        rows: each trade once, in the order of their keys.
        applied: a trade up to here is late; None: none is.
        now: our own clock.
    """
    connection.execute(_SEE, {"rows": _json(_times(rows)), "now": now})
    split = 0 if applied is None else sum(row.time <= applied for row in rows)
    new, _ = _write(connection, rows[split:])
    late_new, late_completed = _write(connection, rows[:split])
    return Written(new + late_new, late_new + late_completed)


def _write(connection: Connection, rows: Sequence[TradeRow]) -> tuple[int, int]:
    """How many were inserted, and how many completed."""
    if not rows:
        return 0, 0
    packed = {"rows": _json(rows)}
    new = connection.execute(_INSERT, packed).rowcount
    # Those that were there may be known by halves.
    return new, connection.execute(_COMPLETE, packed).rowcount if new < len(rows) else 0


def _times(rows: Sequence[TradeRow]) -> dict[str, tuple[int, int]]:
    """The first and the last time of each trader."""
    # In the order of time: of several values of a key the last one stays.
    last = {address: row.time for row in rows for address in row[6:] if address is not None}
    first = {address: row.time for row in reversed(rows) for address in row[6:] if address is not None}
    return {address: (first[address], last[address]) for address in sorted(last)}


def _json(rows: Any) -> str:
    return msgspec.json.encode(rows).decode()
