"""Changes of positions as rows, each with an id of its own; `outbox` publishes them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from sqlmodel import Session

from tasks.foundation.core.upsert import execute_prepared, insert_for
from tasks.traders.core.changes import PositionChange
from tasks.traders.core.tables import Change, PositionEvent, Source

#: Ours alone: `uuid5(NAMESPACE_URL, "quintet:traders:position-event")`.
EVENTS = UUID("87cd79d8-d6d2-5930-924b-a8cb5a275534")


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
