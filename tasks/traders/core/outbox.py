"""Position changes that wait to be published: which, as what, and since when.

An event's row is its own outbox: it is written in the transaction that changed the position, and is marked once the
channel has taken it. Between the two a process may be killed; the event is then published again. So subscribers see
each at least once, in the order in which the changes were found, and tell repetitions by the id.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import func, update
from sqlmodel import Session, col, select

from tasks.traders.core.tables import PositionEvent, Trader

#: Redis channel on which the former system published.
CHANNEL = "trade_events"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Outgoing:
    """One event as it is to be published."""

    number: int
    event: PositionEvent
    address: str

    @property
    def occurred(self) -> datetime:
        """When the position changed, by the exchange's clock."""
        return _EPOCH + timedelta(milliseconds=self.event.time)


@dataclass(frozen=True)
class Waiting:
    """How much waits to be published."""

    events: int
    #: When the one that waits longest was found; None where none waits.
    oldest: datetime | None


def unpublished(session: Session, *, limit: int) -> list[Outgoing]:
    """The events that wait, in the order in which they were found.

    Args:
        session: a transaction; nothing is changed.
        limit: at most so many.
    """
    wanted = (
        select(PositionEvent, Trader.address)
        .join(Trader, col(Trader.id) == col(PositionEvent.trader_id))
        .where(col(PositionEvent.published_at).is_(None))
        .order_by(col(PositionEvent.number))
        .limit(limit)
    )
    return [
        Outgoing(number=event.number, event=event, address=address)
        for event, address in session.exec(wanted)
        if event.number is not None
    ]


def mark_published(session: Session, numbers: Sequence[int], *, now: datetime) -> None:
    """Mark events as published.

    By their numbers, never by a range of them: on PostgreSQL a lower number may be committed after a higher one.

    Args:
        session: the transaction; nothing is committed.
        numbers: which.
        now: the moment that is kept.
    """
    still = (col(PositionEvent.number).in_(numbers), col(PositionEvent.published_at).is_(None))
    session.connection().execute(update(PositionEvent).where(*still).values(published_at=now))


def waiting(session: Session) -> Waiting:
    """How many events wait, and since when."""
    wanted = select(func.count(), func.min(PositionEvent.found_at)).where(col(PositionEvent.published_at).is_(None))
    return Waiting(*session.exec(wanted).one())


def content(outgoing: Outgoing) -> dict[str, Any]:
    """An event as its subscribers read it; decimals are strings, as the exchange writes them.

    The fields of the first level, and `coin`, `size`, `side` and `entry_price`, are the former system's. `size` is how
    large the position is now, or, where it is closed, was; `side` is which.
    """
    event = outgoing.event
    size = event.size_after or event.size_before
    return {
        "id": event.id,
        "trader_id": event.trader_id,
        "trader_address": outgoing.address,
        "timestamp": outgoing.occurred.isoformat(),
        "event_type": event.change.value,
        "details": {
            "coin": event.coin,
            "size": _digits(abs(size)),
            "side": "LONG" if size > 0 else "SHORT",
            "size_before": _digits(event.size_before),
            "size_after": _digits(event.size_after),
            "price": _digits(event.px),
            "entry_price": _digits(event.entry_px),
            "exit_price": _digits(event.exit_px),
            "realised": _digits(event.realised),
            "leverage_before": event.leverage_before,
            "leverage_after": event.leverage_after,
            "leverage_type_before": event.leverage_type_before,
            "leverage_type_after": event.leverage_type_after,
            "source": event.source.value,
            "time": event.time,
        },
    }


def message(outgoing: Outgoing) -> str:
    """The same as JSON, as it goes over the channel."""
    return json.dumps(content(outgoing), separators=(",", ":"))


def _digits(number: Decimal | None) -> str | None:
    """Without an exponent and without zeros that say nothing: the same from every database."""
    if number is None:
        return None
    text = format(number, "f")
    short = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if short == "-0" else short
