"""Times in which trades of a coin may have been missed, from when nothing followed it until it was made good.

A gap begins where the ledger says that the coin is whole, not where a process thinks: what it had received and not
stored when it was killed is in the gap. Of one coin at most one gap is open; while it is, the coin is whole up to its
beginning and no further.
"""

from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import case, exists, func, update
from sqlmodel import Session, col, select

from tasks.foundation.core.escaping import printable
from tasks.traders.core.tables import Coin, Gap, GapState, Trade, Trader


def open_gaps(session: Session, coins: Iterable[str], now: datetime) -> int:
    """Open a gap of each coin that was followed before and has none open.

    In the first moments of a coin it is not known yet up to when it is whole. What the ledger has of it came on one
    connection, in its order: so the gap begins at its newest trade, or, before its first, at the newest of all coins.

    Args:
        session: the transaction; nothing is committed.
        coins: that nothing follows at the moment.
        now: our own clock.

    Returns:
        How many were opened.
    """
    has_one = exists().where(col(Gap.coin) == col(Coin.coin), col(Gap.state) == GapState.OPEN)
    newest = select(func.max(col(Coin.seen_time))).scalar_subquery()
    # One that was never acknowledged was never followed.
    known = func.coalesce(col(Coin.whole_time), col(Coin.seen_time), case((col(Coin.subscribed), newest)))
    followed = select(Coin.coin, known).where(col(Coin.coin).in_(sorted(set(coins))), ~has_one)
    beginnings = session.exec(followed.order_by(col(Coin.coin)).with_for_update()).all()
    begun = [
        Gap(coin=coin, from_time=begins, state=GapState.OPEN, opened_at=now)
        for coin, begins in beginnings
        if begins is not None
    ]
    session.add_all(begun)
    session.flush()
    return len(begun)


def gaps_of(session: Session, coins: Collection[str]) -> list[Gap]:
    """The open gaps of these coins, oldest first."""
    wanted = select(Gap).where(col(Gap.state) == GapState.OPEN, col(Gap.coin).in_(sorted(coins)))
    return list(session.exec(wanted.order_by(col(Gap.id))))


def add_recovered(session: Session, coin: str, recovered: int) -> None:
    """Count trades that were stored for the open gap of a coin."""
    wanted = update(Gap).where(col(Gap.coin) == coin, col(Gap.state) == GapState.OPEN)
    session.connection().execute(wanted.values(recovered=col(Gap.recovered) + recovered))


def close_gap(
    session: Session, coin: str, state: GapState, *, to_time: int | None, reason: str | None, now: datetime
) -> bool:
    """Close the open gap of a coin.

    Args:
        session: the transaction; nothing is committed.
        coin: whose.
        state: FILLED, or PARTIAL where trades may be missing for good.
        to_time: from here on all trades are known again; None where not even that is.
        reason: of PARTIAL, for people.
        now: our own clock.

    Returns:
        Whether there was one.
    """
    wanted = update(Gap).where(col(Gap.coin) == coin, col(Gap.state) == GapState.OPEN)
    said = None if reason is None else printable(reason, length=200)
    values = {"state": state, "to_time": to_time, "reason": said, "closed_at": now}
    connection = session.connection()
    closed = connection.execute(wanted.values(values)).rowcount > 0
    if closed and to_time is not None:
        # What was missing before a gap whose end is known, as of a coin that was dropped and is followed again, has
        # an end as well. Without one, no first snapshot could be counted back any more.
        endless = (col(Gap.state) == GapState.PARTIAL, col(Gap.to_time).is_(None), col(Gap.from_time) <= to_time)
        connection.execute(update(Gap).where(col(Gap.coin) == coin, *endless).values(to_time=to_time))
    return closed


def traders_before(session: Session, coins: Collection[str], time: int, *, limit: int, look_back: int) -> list[str]:
    """Addresses that traded these coins shortly before a time, the latest first.

    Args:
        session: read only will do.
        coins: of the gaps.
        time: where the first of the gaps begins.
        limit: how many addresses.
        look_back: milliseconds before that.
    """
    recent = (
        select(Trade.buyer_id, Trade.seller_id)
        .where(col(Trade.time) > time - look_back, col(Trade.time) <= time, col(Trade.coin).in_(sorted(coins)))
        .order_by(col(Trade.time).desc(), col(Trade.coin), col(Trade.tid))
        # Each names two; the busiest come again and again.
        .limit(limit * 50)
    )
    ids = dict.fromkeys(party for row in session.exec(recent) for party in row if party is not None)
    first = list(ids)[:limit]
    found = select(Trader.id, Trader.address).where(col(Trader.id).in_(first))
    addresses = {trader_id: address for trader_id, address in session.exec(found)}
    return [addresses[each] for each in first if each in addresses]
