"""Trades into PostgreSQL: copied into a temporary table, and from there into the ledger in two statements."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

import psycopg
from sqlalchemy import Connection, bindparam, text
from sqlalchemy.exc import DBAPIError

from tasks.traders.core.tables import Trader
from tasks.traders.core.trade_rows import TradeRow, Written

# Of the connection, and empty again after every transaction. Made anew in each: the connection may be another.
_TABLE = text(
    "CREATE TEMPORARY TABLE IF NOT EXISTS traders_incoming (time bigint, coin varchar, tid bigint, side varchar, "
    "px numeric, sz numeric, buyer varchar, seller varchar) ON COMMIT DELETE ROWS"
)
_EMPTY = text("DELETE FROM traders_incoming")
_COPY = "COPY traders_incoming (time, coin, tid, side, px, sz, buyer, seller) FROM STDIN"

# Rows are locked in the order in which they come.
_SEE = text(
    "INSERT INTO traders_trader (address, first_time, seen_time, discovered_at, ignored) "
    "SELECT address, min(time), max(time), CAST(:now AS timestamptz), false FROM ("
    "SELECT buyer AS address, time FROM traders_incoming WHERE buyer IS NOT NULL "
    "UNION ALL SELECT seller, time FROM traders_incoming WHERE seller IS NOT NULL) AS party "
    "GROUP BY address ORDER BY address "
    "ON CONFLICT (address) DO UPDATE SET "
    "first_time = least(traders_trader.first_time, excluded.first_time), "
    "seen_time = greatest(traders_trader.seen_time, excluded.seen_time)"
).bindparams(bindparam("now", type_=Trader.__table__.c.discovered_at.type))  # type: ignore[attr-defined]

# A row that this transaction inserted has no `xmax`. Rows are made one after the other, in order, by the time the
# traders of all of them are there: two writers cannot each hold what the other waits for.
_WRITE = text(
    "WITH written AS ("
    "INSERT INTO traders_trade (time, coin, tid, side, px, sz, buyer_id, seller_id) "
    "SELECT incoming.time, incoming.coin, incoming.tid, incoming.side, incoming.px, incoming.sz, buyer.id, seller.id "
    "FROM traders_incoming AS incoming "
    "LEFT JOIN traders_trader AS buyer ON buyer.address = incoming.buyer "
    "LEFT JOIN traders_trader AS seller ON seller.address = incoming.seller "
    "ORDER BY incoming.time, incoming.coin, incoming.tid "
    "ON CONFLICT (time, coin, tid) DO UPDATE SET "
    "buyer_id = coalesce(traders_trade.buyer_id, excluded.buyer_id), "
    "seller_id = coalesce(traders_trade.seller_id, excluded.seller_id) "
    "WHERE traders_trade.buyer_id IS NULL AND excluded.buyer_id IS NOT NULL "
    "OR traders_trade.seller_id IS NULL AND excluded.seller_id IS NOT NULL "
    "RETURNING time, xmax = 0 AS inserted) "
    "SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE time <= CAST(:applied AS bigint)) FROM written"
)


def write(connection: Connection, rows: Sequence[TradeRow], *, applied: int | None, now: datetime) -> Written:
    """Write traders and trades.

    Args:
        connection: the transaction.
        rows: each trade once, in the order of their keys.
        applied: a trade up to here is late; None: none is.
        now: our own clock.
    """
    connection.execute(_TABLE)
    connection.execute(_EMPTY)
    _copy(connection, rows)
    connection.execute(_SEE, {"now": now})
    stored, late = connection.execute(_WRITE, {"applied": applied}).one()
    return Written(stored, late)


def _copy(connection: Connection, rows: Sequence[TradeRow]) -> None:
    # Checked before: no field holds a tab, a line break or a backslash but a coin's name, which may hold that.
    lines = "".join([
        f"{time}\t{coin}\t{tid}\t{side}\t{px}\t{sz}\t{buyer or _NULL}\t{seller or _NULL}\n"
        for time, coin, tid, side, px, sz, buyer, seller in rows
    ])  # fmt: skip
    if "\\" in lines:
        lines = "".join("\t".join(_field(value) for value in row) + "\n" for row in rows)
    driver = cast(psycopg.Connection[Any], connection.connection.driver_connection)
    try:
        with driver.cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.write(lines)
    except psycopg.Error as error:
        # As SQLAlchemy raises it from its own statements.
        raise DBAPIError.instance(_COPY, None, error, psycopg.Error, dialect=connection.dialect) from error


_NULL = r"\N"


def _field(value: object) -> str:
    return _NULL if value is None else str(value).replace("\\", r"\\")
