"""The life of a delivery, as changes to its row.

A worker **claims** due deliveries for the length of a lease. Just before it transmits one it marks it SENDING, so that
a dead worker leaves only what was in flight in doubt. A claim that ran out while SENDING becomes UNKNOWN, and what is
UNKNOWN is looked for at the destination before it is sent again. Every change demands that the claim is still held:
a worker that was too slow changes nothing. Every try leaves a `DeliveryAttempt`. Nothing is ever deleted.

Functions work on a session and never commit. `now` is UTC.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, or_, update
from sqlmodel import Session, col, select

from tasks.dicom.core.tables import Delivery, DeliveryAttempt, DeliveryState, Output, Receipt
from tasks.foundation.core.backoff import full_jitter

#: States that a worker can do something about.
CLAIMABLE = (DeliveryState.PENDING, DeliveryState.RETRY, DeliveryState.UNKNOWN, DeliveryState.SENT)
#: States that wait for a person or for nobody.
FINAL = (DeliveryState.VERIFIED, DeliveryState.DEAD, DeliveryState.CONFLICT)
_REASON = 2000


@dataclass(frozen=True, slots=True)
class Policy:
    """How long and how often. Times in seconds."""

    backoff_base_seconds: float
    backoff_cap_seconds: float
    maximum_attempts: int
    uniform: Callable[[float, float], float]

    def wait(self, attempts: int) -> timedelta:
        """The wait after that many failed attempts."""
        return full_jitter(
            max(attempts, 1),
            base_seconds=self.backoff_base_seconds,
            cap_seconds=self.backoff_cap_seconds,
            uniform=self.uniform,
        )


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that is ours for now, with what is to be sent."""

    id: UUID
    #: PENDING or RETRY: send. UNKNOWN: look first. SENT: only verify.
    state: DeliveryState
    path: str
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str | None
    transfer_syntax_uid: str
    content_sha256: str


def _due(now: datetime) -> object:
    free = or_(col(Delivery.lease_until).is_(None), col(Delivery.lease_until) < now)
    return or_(
        and_(col(Delivery.state).in_(CLAIMABLE), col(Delivery.due_at) <= now, free),
        and_(col(Delivery.state) == DeliveryState.SENDING, col(Delivery.lease_until) < now),
    )


def due_deliveries(
    session: Session,
    *,
    now: datetime,
    association_id: UUID | None = None,
    destination: str | None = None,
    limit: int = 1000,
) -> Sequence[Delivery]:
    """Deliveries that a worker may claim now, the longest due first.

    Args:
        session: the transaction; it is only read.
        now: UTC.
        association_id: only what this association's files gave rise to.
        destination: only to this one.
        limit: at most so many.
    """
    wanted = select(Delivery).where(_due(now))  # type: ignore[arg-type]
    if association_id is not None:
        outputs = select(Receipt.output_id).where(Receipt.association_id == association_id)
        wanted = wanted.where(col(Delivery.output_id).in_(outputs))
    if destination is not None:
        wanted = wanted.where(Delivery.destination == destination)
    return session.exec(wanted.order_by(col(Delivery.due_at), col(Delivery.id)).limit(limit)).all()


def claim(
    session: Session,
    delivery_ids: Collection[UUID],
    *,
    destination: str,
    owner: str,
    now: datetime,
    lease: timedelta,
    limit: int | None = None,
) -> list[Claimed]:
    """Make due deliveries ours; those that others hold, or that are not due, are left out.

    Args:
        session: the transaction.
        delivery_ids: the wanted ones, all to `destination`.
        destination: where they go; others among the ids are left out.
        owner: unique name of this batch of work.
        now: UTC.
        lease: for how long.
        limit: claim at most so many.

    Returns:
        What was claimed, the oldest first.
    """
    rows = session.exec(
        select(Delivery, Output)
        .join(Output, col(Output.id) == col(Delivery.output_id))
        .where(col(Delivery.id).in_(delivery_ids), Delivery.destination == destination, _due(now))  # type: ignore[arg-type]
        .order_by(col(Delivery.created_at), col(Delivery.id))
        .limit(limit)
        # PostgreSQL: what another worker is claiming at this moment is its. SQLite has one writer at a time.
        .with_for_update(of=Delivery, skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    claimed = []
    for delivery, output in rows:
        if delivery.state is DeliveryState.SENDING:
            _attempt(session, delivery, DeliveryState.UNKNOWN, now, None, "the worker that was sending it went away")
            delivery.state = DeliveryState.UNKNOWN
            delivery.attempts += 1
        delivery.lease_owner, delivery.lease_until = owner, now + lease
        session.add(delivery)
        claimed.append(
            Claimed(
                id=delivery.id,
                state=delivery.state,
                path=output.path,
                sop_class_uid=output.sop_class_uid,
                sop_instance_uid=output.sop_instance_uid,
                study_instance_uid=output.study_instance_uid,
                transfer_syntax_uid=output.transfer_syntax_uid,
                content_sha256=output.content_sha256,
            )
        )
    return claimed


def renew(session: Session, *, owner: str, now: datetime, lease: timedelta) -> int:
    """Hold all claims of an owner for longer.

    Returns:
        How many those are.
    """
    renewed = session.connection().execute(
        update(Delivery).where(col(Delivery.lease_owner) == owner).values(lease_until=now + lease)
    )
    return int(renewed.rowcount)


def give_back(session: Session, *, owner: str, now: datetime, due_at: datetime | None = None) -> int:
    """Let go of all that an owner still claims; what was in flight becomes UNKNOWN.

    Args:
        session: the transaction.
        owner: whose claims.
        now: UTC.
        due_at: when they are next due, where that is later than it was.

    Returns:
        How many there were.
    """
    held = session.exec(select(Delivery).where(Delivery.lease_owner == owner).with_for_update()).all()
    for delivery in held:
        if delivery.state is DeliveryState.SENDING:
            _attempt(session, delivery, DeliveryState.UNKNOWN, now, None, "interrupted while it was being sent")
            delivery.state = DeliveryState.UNKNOWN
        _let_go(delivery)
        if due_at is not None:
            delivery.due_at = max(delivery.due_at, due_at)
        session.add(delivery)
    return len(held)


def defer(session: Session, delivery_ids: Collection[UUID], *, until: datetime) -> None:
    """Do not try these before a time; claims of others are left alone."""
    session.connection().execute(
        update(Delivery)
        .where(
            col(Delivery.id).in_(delivery_ids),
            col(Delivery.lease_owner).is_(None),
            col(Delivery.state).in_(CLAIMABLE),
            col(Delivery.due_at) < until,
        )
        .values(due_at=until)
    )


def mark_sending(session: Session, delivery_ids: Collection[UUID], *, owner: str) -> set[UUID]:
    """Note that transmission begins.

    Returns:
        Those that are still ours; the others must not be sent.
    """
    held = session.exec(
        select(Delivery)
        .where(col(Delivery.id).in_(delivery_ids), Delivery.lease_owner == owner)
        .order_by(col(Delivery.id))
        .with_for_update()
    ).all()
    for delivery in held:
        delivery.state = DeliveryState.SENDING
        session.add(delivery)
    return {delivery.id for delivery in held}


def mark_unsent(session: Session, delivery_ids: Collection[UUID], *, owner: str) -> None:
    """Take `mark_sending` back for what was not transmitted after all."""
    session.connection().execute(
        update(Delivery)
        .where(
            col(Delivery.id).in_(delivery_ids),
            col(Delivery.lease_owner) == owner,
            col(Delivery.state) == DeliveryState.SENDING,
        )
        .values(state=DeliveryState.RETRY)
    )


def note_sent(
    session: Session, delivery_id: UUID, *, owner: str, now: datetime, status: int | None, note: str | None
) -> bool:
    """The destination acknowledged it; it is still to be verified.

    Returns:
        Whether the claim was still ours; if not, nothing changed.
    """
    delivery = _held(session, delivery_id, owner)
    if delivery is None:
        return False
    delivery.sent_at = now
    _become(session, delivery, DeliveryState.SENT, now, status, note)
    return True


def note_verified(session: Session, delivery_id: UUID, *, owner: str, now: datetime, by: str) -> bool:
    """The destination has it: done.

    Args:
        session: the transaction.
        delivery_id: which.
        owner: whose claim.
        now: UTC.
        by: `status`, `c_find` or `read_back`.

    Returns:
        Whether the claim was still ours; if not, nothing changed.
    """
    delivery = _held(session, delivery_id, owner)
    if delivery is None:
        return False
    delivery.verified_at, delivery.verified_by = now, by
    delivery.sent_at = delivery.sent_at or now
    _become(session, delivery, DeliveryState.VERIFIED, now, None, delivery.reason)
    _let_go(delivery)
    return True


def note_final(
    session: Session,
    delivery_id: UUID,
    *,
    owner: str,
    now: datetime,
    state: DeliveryState,
    status: int | None,
    reason: str,
) -> bool:
    """It can never succeed as it is: DEAD, or CONFLICT where the destination has other content under its UID.

    Returns:
        Whether the claim was still ours; if not, nothing changed.
    """
    delivery = _held(session, delivery_id, owner)
    if delivery is None:
        return False
    delivery.attempts += 1
    _become(session, delivery, state, now, status, reason)
    _let_go(delivery)
    return True


def note_failed(
    session: Session,
    delivery_id: UUID,
    *,
    owner: str,
    now: datetime,
    state: DeliveryState,
    status: int | None,
    reason: str,
    policy: Policy,
    counts: bool = True,
) -> DeliveryState | None:
    """A try failed, and another may succeed.

    Args:
        session: the transaction.
        delivery_id: which.
        owner: whose claim.
        now: UTC.
        state: what it becomes while attempts are left: RETRY, UNKNOWN (look first) or SENT (verify again).
        status: of the response, where there was one.
        reason: why, for people; no patient data.
        policy: backoff and the greatest number of attempts.
        counts: whether it counts as an attempt. It does not when the destination was being tried, not the instance.

    Returns:
        What it became, DEAD after the last attempt; none when the claim was no longer ours and nothing changed.
    """
    delivery = _held(session, delivery_id, owner)
    if delivery is None:
        return None
    if counts:
        delivery.attempts += 1
    if delivery.attempts >= policy.maximum_attempts:
        state, reason = DeliveryState.DEAD, f"{reason} (given up after {delivery.attempts} attempts)"
    _become(session, delivery, state, now, status, reason)
    delivery.due_at = now + policy.wait(delivery.attempts)
    _let_go(delivery)
    return state


def has_other_content(session: Session, claimed: Claimed, *, destination: str) -> bool:
    """Whether other content of the same UID ever went, or is going, to the destination.

    Then its UID being there says nothing about this content.
    """
    other = session.exec(
        select(Delivery.id)
        .where(
            Delivery.sop_instance_uid == claimed.sop_instance_uid,
            Delivery.destination == destination,
            Delivery.content_sha256 != claimed.content_sha256,
        )
        .limit(1)
    ).one_or_none()
    return other is not None


def _held(session: Session, delivery_id: UUID, owner: str) -> Delivery | None:
    return session.exec(
        select(Delivery).where(Delivery.id == delivery_id, Delivery.lease_owner == owner).with_for_update()
    ).one_or_none()


def _let_go(delivery: Delivery) -> None:
    delivery.lease_owner = delivery.lease_until = None


def _become(
    session: Session, delivery: Delivery, state: DeliveryState, now: datetime, status: int | None, reason: str | None
) -> None:
    delivery.state, delivery.reason = state, reason[:_REASON] if reason else None
    _attempt(session, delivery, state, now, status, delivery.reason)
    session.add(delivery)


def _attempt(
    session: Session, delivery: Delivery, state: DeliveryState, now: datetime, status: int | None, reason: str | None
) -> None:
    session.add(DeliveryAttempt(delivery_id=delivery.id, at=now, state=state, status=status, reason=reason))
