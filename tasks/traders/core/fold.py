"""Applies stored trades to positions, once, in their order, as far as they are known to be whole."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func
from sqlmodel import Session, col, select

from tasks.traders.core.book import Book
from tasks.traders.core.coins import dex_of, is_spot
from tasks.traders.core.coverage import whole_time
from tasks.traders.core.cursors import lock_cursor
from tasks.traders.core.positions import Net, PublicTrade, netted
from tasks.traders.core.tables import Poll, Snapshot
from tasks.traders.core.tape import among, next_trades

#: The cursor's name: trades up to its time are applied to the positions of all traders with a baseline.
POSITIONS = "positions"


class Folded(NamedTuple):
    """What one step did."""

    trades: int
    events: int
    #: There are trades, or snapshots, to go on with.
    more: bool


def fold(session: Session, *, now: datetime, limit: int) -> Folded:
    """Apply the next trades to the positions of their buyers and sellers.

    Only traders with a baseline have positions, and their trades count from the newest reconciled snapshot on. A step
    ends where a snapshot waits, so that what the snapshot puts right is right before the next trade; it is then for
    `reconcile` to take it, and a next step goes on whether it did or not.

    Args:
        session: the transaction; nothing is committed. Others who fold or reconcile wait until it ends.
        now: the moment the events are found.
        limit: trades at most, unless one block has more.
    """
    cursor = lock_cursor(session, POSITIONS)
    whole = whole_time(session)
    if whole is None or (cursor.time is not None and whole <= cursor.time):
        return Folded(0, 0, False)
    stops = select(func.min(Snapshot.time))
    if cursor.time is not None:
        stops = stops.where(col(Snapshot.time) > cursor.time)
    stop = session.exec(stops).one()
    until = whole if stop is None else min(whole, stop)
    trades, reached = next_trades(session, after=cursor.time, until=until, limit=limit)
    events = _apply(session, trades, now)
    cursor.time = reached
    session.add(cursor)
    session.flush()
    return Folded(len(trades), events, reached < whole)


def _apply(session: Session, trades: list[PublicTrade], now: datetime) -> int:
    nets = _nets(session, trades)
    if not nets:
        return 0
    book = Book(session, {net.trader_id for net in nets})
    for net in nets:
        book.apply(net)
    return book.write(now)


def _nets(session: Session, trades: list[PublicTrade]) -> list[Net]:
    """What is to be applied: of traders who have a baseline, and not in a snapshot already."""
    parties = {trade.buyer_id for trade in trades} | {trade.seller_id for trade in trades}
    parties.discard(None)
    if not parties:
        return []
    wanted = select(Poll.trader_id, Poll.dex, Poll.reconciled_time).where(
        col(Poll.reconciled_time).is_not(None), col(Poll.trader_id).in_(among(session, {p for p in parties if p}))
    )
    known = {(trader_id, dex): time for trader_id, dex, time in session.connection().execute(wanted)}
    traders = {trader_id for trader_id, _ in known}
    dexes = {coin: dex_of(coin) for coin in {trade.coin for trade in trades} if not is_spot(coin)}
    concerned = (
        trade for trade in trades if (trade.buyer_id in traders or trade.seller_id in traders) and trade.coin in dexes
    )
    # A trader without a baseline is later than any trade.
    return [net for net in netted(concerned) if net.time > known.get((net.trader_id, dexes[net.coin]), net.time)]
