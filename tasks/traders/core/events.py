"""Changes of positions as rows that wait to be published, and as the documents that are published.

A document on the channel `trade_events` has the keys of the former system's, `id`, `trader_id`, `trader_address`,
`timestamp`, `event_type` and `details`, with more in `details`. Numbers that are exact are texts there.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from sqlmodel import Session

from tasks.foundation.core.upsert import execute_prepared, insert_for
from tasks.traders.core.changes import PositionChange
from tasks.traders.core.positions import plain
from tasks.traders.core.tables import Change, PositionEvent, Source

#: Ours alone: `uuid5(NAMESPACE_URL, "quintet:traders:position-event")`.
EVENTS = UUID("87cd79d8-d6d2-5930-924b-a8cb5a275534")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def event_id(address: str, coin: str, change: Change, source: Source, time: int) -> str:
    """The id of a change: the same wherever and whenever it is found.

    A trader's trades of one coin in one block are one change, so that nothing else is needed to tell two apart.

    Args:
        address: the trader's, in lower case.
        coin: of the position.
        change: what kind of change.
        source: a trade or a snapshot.
        time: of the trade's block or the snapshot, exchange milliseconds.
    """
    return str(uuid5(EVENTS, f"{address}|{coin}|{change}|{source}|{time}"))


def add_events(session: Session, changes: Iterable[tuple[str, PositionChange]], now: datetime) -> int:
    """Write changes as events that wait to be published, each once however often it is found.

    Args:
        session: the transaction; nothing is committed.
        changes: each with its trader's address; `trader_id` and `time` are set.
        now: when they were found.

    Returns:
        How many were new.
    """
    rows = [
        {
            "id": event_id(address, change.coin, change.change, change.source, change.time or 0),
            "found_at": now,
            "published_at": None,
            **change._asdict(),
        }
        for address, change in changes
    ]
    if not rows:
        return 0

    def build() -> Any:
        inserting = insert_for(session, PositionEvent).on_conflict_do_nothing(index_elements=["id"])
        return inserting.execution_options(preserve_rowcount=True)

    return execute_prepared(session, ("add events", PositionEvent), build, rows).rowcount


def _text(number: Decimal | None) -> str | None:
    return None if number is None else format(plain(number), "f")


def document(event: PositionEvent, address: str) -> dict[str, Any]:
    """What is published of an event.

    `size` is what was opened, closed, added or taken away; of a flip, and of a change of leverage, the position's size
    afterwards. `side` is the position's: afterwards, or of a close before.

    Args:
        event: its row.
        address: the trader's.
    """
    after, before = event.size_after, event.size_before
    size = after - before if event.change not in (Change.FLIP, Change.LEVERAGE) else after
    return {
        "id": event.id,
        "trader_id": event.trader_id,
        "trader_address": address,
        "timestamp": (_EPOCH + timedelta(milliseconds=event.time)).isoformat(timespec="milliseconds"),
        "event_type": event.change.value,
        "details": {
            "coin": event.coin,
            "size": _text(abs(size)),
            "side": "LONG" if (after or before) > 0 else "SHORT",
            "size_before": _text(before),
            "size_after": _text(after),
            "entry_price": _text(event.entry_px),
            "exit_price": _text(event.exit_px),
            "realised": _text(event.realised),
            "leverage_before": event.leverage_before,
            "leverage_after": event.leverage_after,
            "leverage_type_before": event.leverage_type_before,
            "leverage_type_after": event.leverage_type_after,
            "source": event.source.value,
            "time": event.time,
        },
    }


def published(event: PositionEvent, address: str) -> bytes:
    """The document of an event as JSON."""
    return json.dumps(document(event, address), separators=(",", ":")).encode()
