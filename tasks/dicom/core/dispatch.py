"""Which associations need a flow run, and who may work on one: the ledger decides, runs only try.

The listener starts a run as soon as an association is READY. The sweep finds what that missed: a run that never
started, one that died with its claim (the lease runs out), and WAITING associations whose next delivery is due. A
dispatch has a number; `dispatch_key` makes starting it twice harmless.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, or_, true, update
from sqlmodel import Session, col, select

from tasks.dicom.core.tables import Association, AssociationState

#: The deployment that processes an association.
DEPLOYMENT = "dicom-process-association/on-demand"
#: An association whose runs keep failing is tried again ever later, up to an hour.
RETRY_BASE = timedelta(seconds=60)
RETRY_CAP = timedelta(hours=1)


def dispatch_key(association: Association) -> str:
    """The idempotency key of the association's next flow run."""
    return f"dicom-association-{association.id}-{association.dispatches + 1}"


def never_dispatched(session: Session, *, limit: int = 100) -> Sequence[Association]:
    """READY associations no run was ever started for, the oldest first."""
    return session.exec(
        select(Association)
        .where(Association.state == AssociationState.READY, col(Association.dispatched_at).is_(None))
        .order_by(col(Association.closed_at), col(Association.id))
        .limit(limit)
    ).all()


def dispatched_and_stuck(
    session: Session, *, now: datetime, after: UUID | None = None, limit: int = 500
) -> Sequence[Association]:
    """Associations that had a run and need another, if that run is over: ask Prefect before starting one.

    READY: the run has not claimed it. PROCESSING: the claim ran out. WAITING: a delivery is due.

    Args:
        session: the transaction; it is only read.
        now: UTC.
        after: the last id of the page before.
        limit: size of the page.
    """
    return session.exec(
        select(Association)
        .where(
            or_(
                and_(col(Association.state) == AssociationState.READY, col(Association.dispatched_at).is_not(None)),
                and_(col(Association.state) == AssociationState.PROCESSING, col(Association.lease_until) < now),
                and_(col(Association.state) == AssociationState.WAITING, col(Association.due_at) <= now),
            ),
            true() if after is None else col(Association.id) > after,
        )
        .order_by(col(Association.id))
        .limit(limit)
    ).all()


def may_retry(association: Association, *, now: datetime, killed_lease: timedelta | None = None) -> bool:
    """Whether enough time has passed since the last dispatch; WAITING ones have their own due time.

    Args:
        association: the row as just read.
        now: UTC.
        killed_lease: the lease, where the last run did not fail but was killed: it may have been so before it claimed
            the association, and then waits as long as one that was killed afterwards.
    """
    if association.state is not AssociationState.READY or association.dispatched_at is None:
        return True
    wait = min(RETRY_BASE * (1 << min(max(association.dispatches - 1, 0), 10)), RETRY_CAP)
    if killed_lease is not None:
        wait = min(wait, killed_lease)
    return association.dispatched_at + wait <= now


def record_dispatch(session: Session, association_id: UUID, *, number: int, flow_run_id: UUID, now: datetime) -> bool:
    """Write down that run `number` was started; False where another dispatcher already has."""
    result = session.connection().execute(
        update(Association)
        .where(col(Association.id) == association_id, col(Association.dispatches) == number - 1)
        .values(dispatches=number, dispatched_at=now, flow_run_id=flow_run_id)
    )
    return bool(result.rowcount)


def claim(session: Session, association_id: UUID, *, owner: str, now: datetime, lease: timedelta) -> Association | None:
    """Take the association for one run; None where it is done, open, or another run holds it.

    Args:
        session: the transaction that commits the claim.
        association_id: which one.
        owner: this run.
        now: UTC.
        lease: how long the claim lasts unless renewed.
    """
    free = or_(
        col(Association.state).in_([AssociationState.READY, AssociationState.WAITING]),
        and_(
            col(Association.state) == AssociationState.PROCESSING,
            or_(col(Association.lease_until) < now, col(Association.lease_owner) == owner),
        ),
    )
    taken = session.connection().execute(
        update(Association)
        .where(col(Association.id) == association_id, free)
        .values(state=AssociationState.PROCESSING, lease_owner=owner, lease_until=now + lease, due_at=None)
    )
    if not taken.rowcount:
        return None
    return session.exec(select(Association).where(Association.id == association_id)).one()


def renew(session: Session, association_id: UUID, *, owner: str, now: datetime, lease: timedelta) -> bool:
    """Lengthen a claim; False where it was lost to another run, which then has the work."""
    result = session.connection().execute(
        update(Association)
        .where(col(Association.id) == association_id, col(Association.lease_owner) == owner)
        .values(lease_until=now + lease)
    )
    return bool(result.rowcount)


def release(
    session: Session, association_id: UUID, *, owner: str, state: AssociationState, due_at: datetime | None = None
) -> bool:
    """End a claim with the state that the association is now in; False where another run holds it."""
    result = session.connection().execute(
        update(Association)
        .where(col(Association.id) == association_id, col(Association.lease_owner) == owner)
        .values(state=state, due_at=due_at, lease_owner=None, lease_until=None)
    )
    return bool(result.rowcount)


def known(session: Session, association_ids: Collection[UUID]) -> dict[UUID, Association]:
    """The associations by id."""
    rows = session.exec(select(Association).where(col(Association.id).in_(association_ids))).all()
    return {row.id: row for row in rows}
