"""Which coins are followed, and up to when all their trades are stored."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import exists, or_, update
from sqlmodel import Session, col, func, select

from tasks.foundation.core.upsert import upsert_rows
from tasks.traders.core.leases import DISCOVERY
from tasks.traders.core.tables import Coin, Gap, GapState, Lease


def whole_time(session: Session) -> int | None:
    """Up to when every trade of all followed coins is stored, or stands in a PARTIAL gap; None where none can tell.

    While a coin that is followed has an open gap, this stands still at its beginning.
    """
    followed = select(func.min(Coin.whole_time), func.count(), func.count(col(Coin.whole_time)))
    earliest, coins, known = session.exec(followed.where(col(Coin.subscribed))).one()
    return earliest if coins == known else None


def stream_is_alive(session: Session, now: datetime) -> bool:
    """Whether a discovery holds its lease, so that trades can be expected to come in."""
    alive = select(Lease.name).where(col(Lease.name) == DISCOVERY, col(Lease.until_at) > now)
    return session.exec(alive).first() is not None


def choose_coins(session: Session, coins: Iterable[str]) -> None:
    """Say which coins are to be followed; one that never was is so from its first subscription on."""
    chosen = sorted(set(coins))
    dropped = update(Coin).where(col(Coin.coin).not_in(chosen), col(Coin.subscribed))
    session.connection().execute(dropped.values(subscribed=False))
    rows = [{"coin": coin, "subscribed": False, "seen_time": None, "whole_time": None} for coin in chosen]
    upsert_rows(session, Coin, rows, key=("coin",))


def set_subscribed(session: Session, coins: Iterable[str], subscribed: bool) -> None:
    """Say of coins that the exchange has acknowledged or refused their subscription."""
    wanted = update(Coin).where(col(Coin.coin).in_(sorted(set(coins))))
    session.connection().execute(wanted.values(subscribed=subscribed))


def raise_whole(session: Session, times: Mapping[str, int]) -> None:
    """Raise up to when coins are whole, never lower; a coin with an open gap stays where it is."""
    has_gap = exists().where(col(Gap.coin) == col(Coin.coin), col(Gap.state) == GapState.OPEN)
    for coin in sorted(times):
        lower = or_(col(Coin.whole_time).is_(None), col(Coin.whole_time) < times[coin])
        raised = update(Coin).where(col(Coin.coin) == coin, lower, ~has_gap)
        session.connection().execute(raised.values(whole_time=times[coin]))
