"""Payments of funding, stored as they are told."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from sqlmodel import Session

from tasks.foundation.core.upsert import upsert_rows
from tasks.traders.core.history_tables import Funding


@dataclass(frozen=True, slots=True)
class ToldFunding:
    """One payment; positive was received."""

    time: int
    coin: str
    usdc: Decimal


def store_funding(session: Session, trader_id: int, payments: Iterable[ToldFunding]) -> int:
    """Store payments; one that is told anew takes the place of what was told before.

    Old payments come as one sum a day under the day's beginning, and the sum of a day that goes on grows.

    Args:
        session: the transaction; nothing is committed.
        trader_id: whose.
        payments: of each millisecond all that there are, or none.

    Returns:
        How many there were, known ones included.
    """
    sums: defaultdict[tuple[int, str], Decimal] = defaultdict(Decimal)
    for payment in payments:
        sums[payment.time, payment.coin] += payment.usdc
    rows = [{"trader_id": trader_id, "time": time, "coin": coin, "usdc": usdc} for (time, coin), usdc in sums.items()]
    upsert_rows(session, Funding, rows, key=("trader_id", "time", "coin"), update=("usdc",))
    return len(rows)
