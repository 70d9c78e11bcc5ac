"""What a person decides about deliveries: to give up waiting, and to try dead ones again. Their history stays."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, not_
from sqlmodel import Session, col, select

from tasks.dicom.core.tables import (
    Association,
    AssociationState,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    Receipt,
)
from tasks.foundation.core.upsert import insert_if_absent

REPLAYABLE = (DeliveryState.DEAD, DeliveryState.CONFLICT)


def dead_deliveries(
    session: Session, *, destination: str | None = None, association_id: UUID | None = None, limit: int = 1000
) -> Sequence[Delivery]:
    """Deliveries that wait for a person, the oldest first.

    Args:
        session: the transaction; it is only read.
        destination: only to this one.
        association_id: only what this association's files gave rise to.
        limit: at most so many.
    """
    wanted = select(Delivery).where(col(Delivery.state).in_(REPLAYABLE))
    if destination is not None:
        wanted = wanted.where(Delivery.destination == destination)
    if association_id is not None:
        outputs = select(Receipt.output_id).where(Receipt.association_id == association_id)
        wanted = wanted.where(col(Delivery.output_id).in_(outputs))
    return session.exec(wanted.order_by(col(Delivery.created_at), col(Delivery.id)).limit(limit)).all()


def replay(session: Session, delivery_ids: Collection[UUID], *, now: datetime, to: str | None = None) -> list[UUID]:
    """Make dead deliveries due again.

    What may have reached the destination before is looked for there first. To another destination, a delivery of its
    own is made (or the one that is there taken), and the dead one stays as it is.

    Args:
        session: the transaction.
        delivery_ids: which; those that are not DEAD or in CONFLICT are left alone.
        now: UTC.
        to: another destination.

    Returns:
        The deliveries that are due now.
    """
    dead = session.exec(
        select(Delivery)
        .where(col(Delivery.id).in_(delivery_ids), col(Delivery.state).in_(REPLAYABLE))
        .order_by(col(Delivery.id))
        .with_for_update()
    ).all()
    due = []
    for delivery in dead:
        wanted = delivery if to is None or to == delivery.destination else _elsewhere(session, delivery, to, now)
        if wanted.state in REPLAYABLE:
            revive(session, wanted, now=now, reason="replayed")
        if wanted.state is not DeliveryState.VERIFIED:
            due.append(wanted.id)
    session.flush()
    _wake_associations(session, dead, to, now)
    return due


def give_up(session: Session, destination: str, *, now: datetime, limit: int) -> int:
    """Call what waits for a destination dead, by a person's decision: it can then be replayed to another one.

    Args:
        session: the transaction.
        destination: its name, whether the rules still have it or not.
        now: UTC.
        limit: at most so many; call again while something is given up.

    Returns:
        How many were given up. What a worker is sending just now is left to it.
    """
    held = and_(col(Delivery.lease_until).is_not(None), col(Delivery.lease_until) > now)
    waiting = session.exec(
        select(Delivery)
        .where(Delivery.destination == destination, col(Delivery.state).not_in((*REPLAYABLE, DeliveryState.VERIFIED)))
        .where(not_(held))
        .order_by(col(Delivery.id))
        .limit(limit)
        .with_for_update()
    ).all()
    for delivery in waiting:
        delivery.state, delivery.reason = DeliveryState.DEAD, "given up by a person"
        session.add(delivery)
        session.add(DeliveryAttempt(delivery_id=delivery.id, at=now, state=delivery.state, reason=delivery.reason))
    session.flush()
    _wake_associations(session, waiting, None, now)
    return len(waiting)


def _elsewhere(session: Session, delivery: Delivery, to: str, now: datetime) -> Delivery:
    row, _ = insert_if_absent(
        session,
        Delivery(
            output_id=delivery.output_id,
            destination=to,
            sop_instance_uid=delivery.sop_instance_uid,
            content_sha256=delivery.content_sha256,
            due_at=now,
            created_at=now,
        ),
        key=("sop_instance_uid", "destination", "content_sha256"),
    )
    note = f"replayed to {to}"
    session.add(DeliveryAttempt(delivery_id=delivery.id, at=now, state=delivery.state, reason=note))
    return row


def revive(session: Session, delivery: Delivery, *, now: datetime, reason: str) -> None:
    """Make a dead delivery due again; what may have reached its destination is looked for there first."""
    # Acknowledged once, or in doubt: it may be there.
    delivery.state = DeliveryState.UNKNOWN if _may_have_arrived(session, delivery) else DeliveryState.PENDING
    delivery.attempts, delivery.due_at = 0, now
    delivery.lease_owner = delivery.lease_until = None
    session.add(delivery)
    session.add(DeliveryAttempt(delivery_id=delivery.id, at=now, state=delivery.state, reason=reason))


def _may_have_arrived(session: Session, delivery: Delivery) -> bool:
    if delivery.sent_at is not None:
        return True
    doubtful = select(DeliveryAttempt.id).where(
        DeliveryAttempt.delivery_id == delivery.id, DeliveryAttempt.state == DeliveryState.UNKNOWN
    )
    return session.exec(doubtful.limit(1)).one_or_none() is not None


def _wake_associations(session: Session, dead: Sequence[Delivery], to: str | None, now: datetime) -> None:
    """Let the sweep see the associations whose files have something to deliver again."""
    outputs = {delivery.output_id for delivery in dead}
    receipts = session.exec(select(Receipt).where(col(Receipt.output_id).in_(outputs))).all()
    if to is not None:
        for receipt in receipts:
            if to not in receipt.destinations:
                receipt.destinations = [*receipt.destinations, to]
                session.add(receipt)
    associations = session.exec(
        select(Association)
        .where(col(Association.id).in_({receipt.association_id for receipt in receipts}))
        .order_by(col(Association.id))
        # In whatever state: the run of one that is PROCESSING may be about to find that nothing is left to do.
        .with_for_update()
    ).all()
    for association in associations:
        if association.state in (AssociationState.DONE, AssociationState.WAITING):
            association.state, association.due_at = AssociationState.WAITING, now
            session.add(association)
