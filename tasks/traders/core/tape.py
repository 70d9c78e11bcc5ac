"""The stored trades in their order, as positions are made of them."""

import json
from collections.abc import Collection
from typing import Any

from sqlalchemy import BigInteger, Select, cast, func, literal, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Session, col

from tasks.traders.core.positions import PublicTrade
from tasks.traders.core.tables import Trade

_TRADE: tuple[Any, ...] = (Trade.time, Trade.coin, Trade.tid, Trade.px, Trade.sz, Trade.buyer_id, Trade.seller_id)


def among(session: Session, ids: Collection[int]) -> Any:
    """Ids for `column.in_(...)` as one parameter, however many there are: both databases limit parameters."""
    if session.get_bind().dialect.name == "postgresql":
        return select(func.unnest(cast(literal(sorted(ids), ARRAY(BigInteger)), ARRAY(BigInteger))))
    return select(func.json_each(json.dumps(sorted(ids))).table_valued("value").c.value)


def _read(session: Session, wanted: Select[Any]) -> list[PublicTrade]:
    ordered = wanted.order_by(col(Trade.time), col(Trade.coin), col(Trade.tid))
    return [PublicTrade._make(row) for row in session.connection().execute(ordered)]


def next_trades(session: Session, *, after: int | None, until: int, limit: int) -> tuple[list[PublicTrade], int]:
    """The next trades, whole blocks of them.

    Args:
        session: a transaction; nothing is changed.
        after: a time that they are later than; None for all there are.
        until: the latest time they may have.
        limit: at most so many, unless the first block alone has more.

    Returns:
        The trades, and the time up to which there are no others.
    """
    wanted = select(*_TRADE).where(col(Trade.time) <= until)
    if after is not None:
        wanted = wanted.where(col(Trade.time) > after)
    trades = _read(session, wanted.limit(limit + 1))
    if len(trades) <= limit:
        return trades, until
    cut = trades[-1].time
    if trades[0].time == cut:
        return _read(session, select(*_TRADE).where(col(Trade.time) == cut)), cut
    trades = [trade for trade in trades if trade.time < cut]
    return trades, trades[-1].time


def trades_of(session: Session, trader_ids: Collection[int], *, since: int, until: int) -> list[PublicTrade]:
    """All trades that some traders had a part in, by one walk over that time.

    Args:
        session: a transaction; nothing is changed.
        trader_ids: whose.
        since: the earliest time.
        until: the latest time.
    """
    if not trader_ids or since > until:
        return []
    ids = among(session, trader_ids)
    had_part = or_(col(Trade.buyer_id).in_(ids), col(Trade.seller_id).in_(ids))
    return _read(session, select(*_TRADE).where(col(Trade.time) >= since, col(Trade.time) <= until, had_part))
