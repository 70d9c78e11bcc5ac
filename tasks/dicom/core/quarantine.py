"""The quarantine: files that could not be processed or delivered, kept until a person has looked at them.

Files lie at `quarantine/YYYYMMDD/<receipt id>.dcm` (day of receipt) with their provenance and the reason beside them.
The name follows from the receipt alone, so a crash at any point is mended by quarantining again. Nothing here is ever
deleted: a file is released for another try, or leaves for the dustbin once a replay has delivered it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from sqlmodel import Session, col, select

from tasks.dicom.core.durable_files import FileLostError, confined
from tasks.dicom.core.dustbin import entry_of, is_planned
from tasks.dicom.core.provenance import (
    Move,
    carry_out,
    deliveries_of,
    describe,
    follow_outputs,
    is_ours,
    read_sidecar,
    receipt_of,
    stamp,
)
from tasks.dicom.core.tables import Association, AssociationState, DeliveryState, Receipt, ReceiptState

#: Length of `Receipt.reason`.
_REASON_LENGTH = 2000


class QuarantineError(Exception):
    """What was asked of the quarantine cannot be done; nothing was changed."""


@dataclass(frozen=True)
class Released:
    """A file on its way through the rules again."""

    receipt_id: UUID
    association_id: UUID
    #: Destinations that hold the instance with other content; the rules alone will not change that.
    conflicts: int


def quarantine_path(receipt: Receipt) -> str:
    """The ledger path of a receipt's file in quarantine."""
    return f"quarantine/{receipt.received_at.astimezone(UTC):%Y%m%d}/{receipt.id}.dcm"


def begun(home: Path, receipt: Receipt) -> str | None:
    """Why a run moved the file to quarantine, if it died before it said so; else None."""
    if receipt.state not in (ReceiptState.RECEIVED, ReceiptState.EVALUATED) or not is_ours(receipt):
        return None
    target = confined(home, quarantine_path(receipt))
    if confined(home, receipt.path).exists() or not target.exists():
        return None
    return str(read_sidecar(target).get("reason", "the reason is lost"))


def plan(session: Session, receipt: Receipt, *, reason: str, now: datetime) -> Move | None:
    """Decide to quarantine a file.

    Args:
        session: that holds the lock on the receipt.
        receipt: whose file.
        reason: for people; no patient data.
        now: for the history.

    Returns:
        The move, or None where there is nothing to move: it is in quarantine already, or its file is not ours.

    Raises:
        QuarantineError: the file is in the dustbin, or on its way there.
    """
    if receipt.state is ReceiptState.DISPOSED or is_planned(entry_of(session, receipt.id), receipt):
        raise QuarantineError(f"receipt {receipt.id} is in the dustbin or on its way there; restore it first")
    target = quarantine_path(receipt)
    if receipt.state is ReceiptState.QUARANTINED and receipt.path == target:
        return None
    if not is_ours(receipt):
        receipt.state, receipt.reason = ReceiptState.QUARANTINED, reason[:_REASON_LENGTH]
        session.add(receipt)
        return None
    deliveries = deliveries_of(session, [receipt])[receipt.id]
    provenance = describe(session, receipt, deliveries) | {
        "quarantined_at": stamp(now),
        "reason": reason,
        "deliveries": [
            {"destination": delivery.destination, "state": delivery.state.value, "reason": delivery.reason}
            for delivery in deliveries
        ],
    }
    return Move(receipt.id, receipt.path, target, "quarantined", now, reason[:_REASON_LENGTH], provenance)


def finish(session: Session, move: Move) -> None:
    """Write down that the file lies in quarantine; outputs that are sent from it follow, for a replay."""
    receipt = receipt_of(session, move.receipt_id)
    if receipt.state is ReceiptState.QUARANTINED and receipt.path == move.target:
        return
    follow_outputs(session, receipt.path, move.target)
    receipt.path, receipt.state, receipt.reason = move.target, ReceiptState.QUARANTINED, move.reason
    session.add(receipt)


def quarantine_receipt(session: Session, receipt_id: UUID, reason: str, *, home: Path, now: datetime) -> bool:
    """Move a received file to quarantine, within one transaction.

    Where the file is nowhere to be found, the receipt says that it is lost.

    Args:
        session: to be committed; a crash before that is mended by quarantining again.
        receipt_id: whose file.
        reason: for people; no patient data.
        home: the dicom home.
        now: for the history.

    Returns:
        Whether the file is safe in quarantine, or where it was for one that is not ours; False if it is lost.

    Raises:
        QuarantineError: the file is in the dustbin, or on its way there.
        LookupError: no such receipt.
        OSError: the disk refused; nothing is lost.
    """
    receipt = receipt_of(session, receipt_id)
    move = plan(session, receipt, reason=reason, now=now)
    if move is None:
        return True
    try:
        carry_out(home, move)
    except FileLostError as error:
        record_loss(session, receipt_id, f"{reason}; {error}", now=now)
        return False
    finish(session, move)
    return True


def record_loss(session: Session, receipt_id: UUID, reason: str, *, now: datetime) -> None:
    """Write down that a received file is gone: nothing can be moved, and nobody must wait for it."""
    receipt = receipt_of(session, receipt_id)
    receipt.state, receipt.reason = ReceiptState.QUARANTINED, reason[:_REASON_LENGTH]
    # Tells it from one that leaves quarantine once it is delivered after all: this one never can.
    receipt.disposed_at = now
    session.add(receipt)


def plan_release(session: Session, receipt_id: UUID, *, now: datetime) -> Move | None:
    """Begin to take a file back into the spool; call it again to end what a crash left undone.

    The ledger names the new place before the file moves, so that the spool never holds a file it does not know.

    Args:
        session: to be committed before the file moves.
        receipt_id: whose file.
        now: for the history.

    Returns:
        The move, or None where the file is not ours to move.

    Raises:
        QuarantineError: the receipt is not in quarantine.
        LookupError: no such receipt.
    """
    receipt = receipt_of(session, receipt_id)
    if receipt.state is not ReceiptState.QUARANTINED:
        raise QuarantineError(f"receipt {receipt_id} is not in quarantine (it is {receipt.state.lower()})")
    if not is_ours(receipt):
        return None
    source, target = quarantine_path(receipt), f"spool/{receipt.id}.dcm"
    if receipt.path == source:
        follow_outputs(session, source, target)
        receipt.path = target
        session.add(receipt)
    return Move(receipt.id, source, receipt.path, "released", now, "released from quarantine")


def finish_release(session: Session, receipt_id: UUID, *, now: datetime) -> Released:
    """Send a file through the rules again, in an association of its own that is ready at once.

    Args:
        session: to be committed.
        receipt_id: whose file lies in the spool again.
        now: when it was released.

    Raises:
        QuarantineError: another run released it meanwhile.
    """
    receipt = receipt_of(session, receipt_id)
    if receipt.state is not ReceiptState.QUARANTINED:
        raise QuarantineError(f"receipt {receipt_id} was released already")
    former = session.get_one(Association, receipt.association_id)
    association = Association(
        source_type=former.source_type,
        source_id=former.source_id,
        calling_ae=former.calling_ae,
        called_ae=former.called_ae,
        source_ip=former.source_ip,
        opened_at=now,
        last_received_at=now,
        closed_at=now,
        ended_by="submitted",
        state=AssociationState.READY,
    )
    session.add(association)
    session.flush()
    conflicts = sum(
        delivery.state is DeliveryState.CONFLICT for delivery in deliveries_of(session, [receipt])[receipt.id]
    )
    receipt.association_id, receipt.state, receipt.reason = association.id, ReceiptState.RECEIVED, None
    receipt.matched_rules, receipt.destinations, receipt.ruleset_version = [], [], None
    receipt.modified, receipt.output_id, receipt.disposed_at = False, None, None
    session.add(receipt)
    return Released(receipt.id, association.id, conflicts)


def listed(session: Session, *, study_instance_uid: str | None = None, limit: int = 100) -> Sequence[Receipt]:
    """What is in quarantine, the newest first.

    Args:
        session: to read with.
        study_instance_uid: only this study.
        limit: at most so many.
    """
    query = select(Receipt).where(Receipt.state == ReceiptState.QUARANTINED)
    if study_instance_uid is not None:
        query = query.where(Receipt.study_instance_uid == study_instance_uid)
    return session.exec(query.order_by(col(Receipt.received_at).desc(), col(Receipt.id)).limit(limit)).all()
