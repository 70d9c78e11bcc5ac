"""A circuit breaker per destination, in the ledger, so that all workers see the same one.

Closed, it lets everything through and counts consecutive failures. At the limit it opens for a while. Then one delivery
is let through to try: taking that probe keeps the breaker open for everybody else, so that there is only one, also
when its worker dies. Success closes it. A person may pause a destination and resume it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import update
from sqlmodel import Session, col, select

from tasks.dicom.core.tables import (
    Association,
    AssociationState,
    Delivery,
    DeliveryState,
    DestinationHealth,
    Receipt,
)
from tasks.foundation.core.upsert import insert_if_absent

#: Deliveries that still have something to do.
WAITING = (
    DeliveryState.PENDING,
    DeliveryState.RETRY,
    DeliveryState.UNKNOWN,
    DeliveryState.SENT,
    DeliveryState.SENDING,
)


class Passage(StrEnum):
    """Whether deliveries may go to a destination now."""

    CLOSED = "CLOSED"
    #: One delivery may, to find out.
    PROBE = "PROBE"
    OPEN = "OPEN"
    PAUSED = "PAUSED"


@dataclass(frozen=True, slots=True)
class Gate:
    """The answer of a breaker; `until` says when to ask an open one again."""

    passage: Passage
    until: datetime | None = None


def health(session: Session, destination: str) -> DestinationHealth:
    """The row of a destination, locked until the transaction ends; made when absent."""
    wanted = select(DestinationHealth).where(DestinationHealth.destination == destination)
    row = session.exec(wanted.with_for_update()).one_or_none()
    if row is None:
        insert_if_absent(session, DestinationHealth(destination=destination), key=("destination",))
        row = session.exec(wanted.with_for_update().execution_options(populate_existing=True)).one()
    return row


def gate(session: Session, destination: str, *, now: datetime) -> Gate:
    """Ask whether deliveries may go now. Changes nothing; a PROBE has to be taken with `take_probe`."""
    row = health(session, destination)
    if row.paused:
        return Gate(Passage.PAUSED)
    if row.open_until is None:
        return Gate(Passage.CLOSED)
    return Gate(Passage.PROBE) if row.open_until <= now else Gate(Passage.OPEN, row.open_until)


def take_probe(session: Session, destination: str, *, until: datetime) -> None:
    """Be the one that tries; in the transaction of `gate`. Nobody else may before `until`."""
    row = health(session, destination)
    row.open_until = until
    session.add(row)


def note_success(session: Session, destination: str, *, now: datetime) -> None:
    """The destination answered: close its breaker."""
    row = health(session, destination)
    row.failures, row.open_until, row.last_success_at = 0, None, now
    session.add(row)


def note_failure(
    session: Session, destination: str, *, now: datetime, reason: str, limit: int, open_for: timedelta
) -> datetime | None:
    """The destination failed; open its breaker when that was once too often.

    Args:
        session: the transaction.
        destination: which.
        now: UTC.
        reason: why, for people.
        limit: consecutive failures that open it.
        open_for: how long it stays open.

    Returns:
        Until when it is open now; none when it is not.
    """
    row = health(session, destination)
    row.failures += 1
    row.last_failure_at, row.last_reason = now, reason
    if row.failures >= limit:
        row.open_until = now + open_for
    session.add(row)
    return row.open_until


def pause(session: Session, destination: str) -> None:
    """Send nothing to a destination until it is resumed."""
    row = health(session, destination)
    row.paused = True
    session.add(row)


def resume(session: Session, destination: str, *, now: datetime) -> None:
    """Send to a destination again, with a closed breaker; what waited for it is due at once."""
    row = health(session, destination)
    row.paused, row.failures, row.open_until = False, 0, None
    session.add(row)
    session.flush()
    session.exec(
        update(Delivery)
        .where(
            col(Delivery.destination) == destination,
            col(Delivery.state).in_(WAITING),
            col(Delivery.lease_owner).is_(None),
        )
        .values(due_at=now)
    )
    waiting = select(Delivery.output_id).where(Delivery.destination == destination, col(Delivery.state).in_(WAITING))
    session.exec(
        update(Association)
        .where(
            col(Association.id).in_(select(Receipt.association_id).where(col(Receipt.output_id).in_(waiting))),
            col(Association.state) == AssociationState.WAITING,
            col(Association.due_at) > now,
        )
        .values(due_at=now)
    )
