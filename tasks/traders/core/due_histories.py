"""Whose past is to be fetched next, and when one that failed is asked for again."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import Session, and_, col, or_, select

from tasks.foundation.core.backoff import equal_jitter
from tasks.traders.core.days import history_of
from tasks.traders.core.history_tables import History
from tasks.traders.core.tables import Trader

#: A position can lose for weeks without a trade. Every portfolio is fetched again within the month that it tells of day
#: by day, so that nobody's series stands still or gets holes.
IDLE_DAYS = 7


@dataclass(frozen=True, slots=True)
class DueHistory:
    """A trader whose past is to be fetched."""

    trader_id: int
    address: str


def due_histories(session: Session, *, now: datetime, limit: int, hours: float = 6) -> list[DueHistory]:
    """Traders whose past is to be fetched, those first whose news are oldest.

    That is a trader who traded since the last time, `hours` ago or longer; one who was never asked for; and any other
    one after a week. Who was never asked for waits since the discovery: so neither new traders nor known ones are
    passed over for ever where there are more than can be asked for.

    Args:
        session: the transaction.
        now: the present moment.
        limit: how many at most.
        hours: the setting `history_hours`.
    """
    since = func.coalesce(col(History.refreshed_at), col(Trader.discovered_at))
    # The time of a fill is that of its trade: whether one is missing takes no comparing of clocks.
    missing = or_(col(History.fills_time).is_(None), col(Trader.seen_time) > col(History.fills_time))
    traded = and_(
        col(History.refreshed_at) <= now - timedelta(hours=hours), col(Trader.seen_time).is_not(None), missing
    )
    idle = col(History.refreshed_at) <= now - timedelta(days=IDLE_DAYS)
    wanted = (
        select(Trader.id, Trader.address)
        .join(History, col(History.trader_id) == col(Trader.id), isouter=True)
        .where(
            col(Trader.ignored).is_(False),
            or_(col(History.due_at).is_(None), col(History.due_at) <= now),
            or_(col(History.refreshed_at).is_(None), traded, idle),
        )
        .order_by(since, col(Trader.id))
        .limit(limit)
    )
    return [
        DueHistory(trader_id, address) for trader_id, address in session.exec(wanted).all() if trader_id is not None
    ]


def mark_refreshed(session: Session, trader_id: int, *, now: datetime, portfolio_time: int | None = None) -> None:
    """All of a trader's past up to now is stored.

    Args:
        session: the transaction; nothing is committed.
        trader_id: whose.
        now: when the fetch began.
        portfolio_time: of the newest point of its portfolio, in milliseconds.
    """
    history = history_of(session, trader_id)
    history.refreshed_at, history.due_at, history.failures, history.reason = now, None, 0, None
    if portfolio_time is not None:
        history.portfolio_time = max(portfolio_time, history.portfolio_time or portfolio_time)
    session.add(history)
    session.flush()


def mark_failed(
    session: Session,
    trader_id: int,
    *,
    reason: str,
    now: datetime,
    base_seconds: float,
    cap_seconds: float,
    uniform: Callable[[float, float], float],
) -> None:
    """A trader's past could not be fetched or read; it is asked for again later, each time after a longer wait.

    Args:
        session: the transaction; nothing is committed.
        trader_id: whose.
        reason: for people.
        now: the present moment.
        base_seconds: the longest wait after the first failure; it doubles with each.
        cap_seconds: the longest wait of all.
        uniform: draws a number from a range, such as `random.uniform`.
    """
    history = history_of(session, trader_id)
    history.failures += 1
    history.reason = reason[:300]
    history.due_at = now + equal_jitter(
        history.failures, base_seconds=base_seconds, cap_seconds=cap_seconds, uniform=uniform
    )
    session.add(history)
    session.flush()
