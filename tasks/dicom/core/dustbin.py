"""The dustbin: files that are done with, kept until their retention ends.

Files lie at `dustbin/YYYYMMDD/<StudyInstanceUID>/<SOPInstanceUID>/<sha256>.dcm` with their provenance beside them. The
same content received twice has two entries and two files (the later one has its receipt's id in its name); nothing is
ever overwritten.

To bin a file: `plan` (commit) -> `provenance.carry_out` -> `finish` (commit). The entry written by `plan` fixes the
name, so a crash anywhere between is mended by the same three calls. `core.dustbin_cleaning` deletes.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy import or_
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from tasks.dicom.core.durable_files import confined, copy_durably, uid_component
from tasks.dicom.core.header import UnreadableInstanceError, content_sha256
from tasks.dicom.core.provenance import (
    Move,
    deliveries_of,
    describe,
    follow_outputs,
    receipt_of,
    record,
    stamp,
    yield_outputs,
)
from tasks.dicom.core.tables import DustbinEntry, Receipt, ReceiptState

_SHA256 = re.compile(r"[0-9a-f]{64}")


class DustbinError(Exception):
    """What was asked of the dustbin cannot be done; nothing was changed."""


class DamagedFileError(DustbinError):
    """A file in the dustbin is no longer what was put there."""


def entry_of(session: Session, receipt_id: UUID) -> DustbinEntry | None:
    """The entry of a receipt, locked until the transaction ends."""
    return session.exec(
        select(DustbinEntry).where(DustbinEntry.receipt_id == receipt_id).with_for_update()
    ).one_or_none()


def is_planned(entry: DustbinEntry | None, receipt: Receipt) -> bool:
    """Whether the file is on its way into the dustbin: a run planned that and did not finish."""
    return (
        entry is not None
        and receipt.state is not ReceiptState.DISPOSED
        and entry.restored_at is None
        and entry.deleted_at is None
    )


def dustbin_path(receipt: Receipt, day: datetime, *, alone: bool = True) -> str:
    """The ledger path of a receipt's file in the dustbin.

    Args:
        receipt: whose UIDs may be missing, malformed or hostile.
        day: of binning, UTC.
        alone: whether no other file has this name; else the receipt's id is part of it.

    Raises:
        ValueError: the receipt's content hash is not a SHA-256.
    """
    if not _SHA256.fullmatch(receipt.content_sha256):
        raise ValueError(f"receipt {receipt.id}: content_sha256 is not a SHA-256")
    name = receipt.content_sha256 if alone else f"{receipt.content_sha256}-{receipt.id}"
    study, instance = uid_component(receipt.study_instance_uid), uid_component(receipt.sop_instance_uid)
    return f"dustbin/{day:%Y%m%d}/{study}/{instance}/{name}.dcm"


def plan(session: Session, home: Path, receipt: Receipt, *, reason: str, retention_days: float, now: datetime) -> Move:
    """Decide where in the dustbin a file goes, and write that down.

    Args:
        session: to be committed before the file moves.
        home: the dicom home.
        receipt: locked; its file lies in the home.
        reason: of the decision.
        retention_days: from now.
        now: becomes the time of binning.

    Raises:
        DustbinError: the file was deleted already.
    """
    entry = entry_of(session, receipt.id)
    if entry is not None and entry.deleted_at is not None:
        raise DustbinError(f"receipt {receipt.id}: its file was deleted at {stamp(entry.deleted_at)}")
    if entry is None or entry.restored_at is not None:
        entry = _enter(session, home, receipt, entry, reason, now + timedelta(days=retention_days), now)
    yield_outputs(session, home, receipt)
    deliveries = deliveries_of(session, [receipt])[receipt.id]
    provenance = describe(session, receipt, deliveries) | {
        "binned_at": stamp(entry.binned_at),
        "retention_until": stamp(entry.retention_until),
        "disposition": entry.reason,
    }
    return Move(receipt.id, receipt.path, entry.path, "binned", entry.binned_at, entry.reason, provenance)


def _enter(
    session: Session,
    home: Path,
    receipt: Receipt,
    entry: DustbinEntry | None,
    reason: str,
    until: datetime,
    now: datetime,
) -> DustbinEntry:
    for alone in (True, False):
        path = dustbin_path(receipt, now, alone=alone)
        holder = session.exec(select(DustbinEntry.receipt_id).where(DustbinEntry.path == path)).one_or_none()
        if holder not in (None, receipt.id) or (holder is None and confined(home, path).exists()):
            continue
        if entry is None:
            entry = DustbinEntry(
                receipt_id=receipt.id,
                path=path,
                content_sha256=receipt.content_sha256,
                size=receipt.size,
                reason=reason,
                binned_at=now,
                retention_until=until,
            )
        else:
            entry.path, entry.reason, entry.binned_at, entry.retention_until = path, reason, now, until
            entry.restored_at = entry.marked_at = entry.signed_off_at = entry.signed_off_by = None
        try:
            with session.begin_nested():
                session.add(entry)
                session.flush()
        except IntegrityError:
            # Another worker took the name between the question and the insert.
            if not alone:
                raise
            entry = None if entry not in session else entry
            continue
        return entry
    raise DustbinError(f"receipt {receipt.id}: another file lies at its place in the dustbin")


def finish(session: Session, move: Move) -> None:
    """Write down that the file lies in the dustbin; does nothing where another run did."""
    receipt = receipt_of(session, move.receipt_id)
    if receipt.state is ReceiptState.DISPOSED:
        return
    follow_outputs(session, receipt.path, move.target)
    receipt.path, receipt.state, receipt.reason = move.target, ReceiptState.DISPOSED, move.reason
    receipt.disposed_at = move.at
    session.add(receipt)


def withdraw(session: Session, receipt_id: UUID, reason: str) -> None:
    """Give up a plan whose file is lost; the receipt says so."""
    receipt, entry = receipt_of(session, receipt_id), entry_of(session, receipt_id)
    if entry is None or not is_planned(entry, receipt):
        return
    session.delete(entry)
    receipt.state, receipt.reason = ReceiptState.QUARANTINED, reason
    session.add(receipt)


def _live(session: Session, receipt_id: UUID) -> tuple[Receipt, DustbinEntry]:
    """Receipt and entry of a file that lies in the dustbin, or is being restored.

    Raises:
        DustbinError: it does not.
    """
    receipt, entry = receipt_of(session, receipt_id), entry_of(session, receipt_id)
    if entry is None or is_planned(entry, receipt):
        raise DustbinError(f"receipt {receipt_id} has no file in the dustbin (it is {receipt.state.lower()})")
    if entry.deleted_at is not None:
        raise DustbinError(f"receipt {receipt_id}: its file was deleted at {stamp(entry.deleted_at)}")
    if receipt.state is not ReceiptState.DISPOSED:
        raise DustbinError(f"receipt {receipt_id} was restored to {receipt.path}")
    return receipt, entry


def plan_restore(session: Session, receipt_id: UUID, *, now: datetime) -> Move:
    """Begin to take a file back into the spool; call it again to end what a crash left undone.

    Raises:
        DustbinError: the file is not in the dustbin, or on legal hold.
    """
    receipt, entry = _live(session, receipt_id)
    if entry.legal_hold:
        raise DustbinError(f"receipt {receipt_id} is on legal hold; restore a copy elsewhere, or release the hold")
    if entry.restored_at is None:
        entry.restored_at, entry.marked_at = now, None
        session.add(entry)
    target = f"spool/{receipt.id}.dcm"
    return Move(receipt.id, entry.path, target, "restored", entry.restored_at, "restored from the dustbin")


def finish_restore(session: Session, move: Move) -> None:
    """Write down that the file is back in the spool; it is kept there until a person does more."""
    receipt = receipt_of(session, move.receipt_id)
    if receipt.state is not ReceiptState.DISPOSED:
        return
    follow_outputs(session, receipt.path, move.target)
    receipt.path, receipt.state, receipt.reason = move.target, ReceiptState.KEPT, move.reason
    receipt.disposed_at = None
    session.add(receipt)


def copy_out(session: Session, home: Path, receipt_id: UUID, target: Path, *, now: datetime) -> Path:
    """Copy a file from the dustbin to a place of a person's choice; the file itself stays.

    Args:
        session: whose entry learns of the copy.
        home: the dicom home.
        receipt_id: whose file.
        target: a new file, or a folder that is there.
        now: for the history.

    Returns:
        The copy.

    Raises:
        DustbinError: the file is not in the dustbin.
        DamagedFileError: it is no longer what was put there.
        NameTakenError: a file lies at the target.
    """
    _, entry = _live(session, receipt_id)
    source = confined(home, entry.path)
    if (problem := damage(source, entry)) is not None:
        raise DamagedFileError(f"receipt {receipt_id}: {problem}")
    copy = target / source.name if target.is_dir() else target
    copy_durably(source, copy)
    entry.copied_at = now
    session.add(entry)
    record(source, "copied", at=now, to=str(copy.absolute()))
    return copy


def damage(file: Path, entry: DustbinEntry) -> str | None:
    """What is wrong with a file in the dustbin, or None: reads all of it."""
    try:
        return None if _content(file) == entry.content_sha256 else "the content is not what was put there"
    except FileNotFoundError:
        return "the file is missing"


def _content(file: Path) -> str:
    try:
        return content_sha256(file)
    except UnreadableInstanceError:
        # Received like this: then its content is all of it.
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()


def hold(session: Session, receipt_id: UUID, reason: str) -> DustbinEntry:
    """Put a file on legal hold: it is not deleted until released, whatever its retention.

    Raises:
        DustbinError: the file is not in the dustbin.
    """
    _, entry = _live(session, receipt_id)
    # Its mark goes, so that after a release a whole marking time passes again.
    entry.legal_hold, entry.legal_hold_reason, entry.marked_at = True, reason, None
    session.add(entry)
    return entry


def release_hold(session: Session, receipt_id: UUID) -> DustbinEntry:
    """End a legal hold; the retention counts as before.

    Raises:
        DustbinError: the file is not in the dustbin, or not on hold.
    """
    _, entry = _live(session, receipt_id)
    if not entry.legal_hold:
        raise DustbinError(f"receipt {receipt_id} is not on legal hold")
    entry.legal_hold, entry.legal_hold_reason = False, None
    session.add(entry)
    return entry


def sign_off(session: Session, receipt_id: UUID, by: str, *, now: datetime) -> DustbinEntry:
    """Let a person answer for a file that was not delivered everywhere: it may be deleted after its retention.

    Raises:
        DustbinError: the file is not in the dustbin, or nobody is named.
    """
    if not by.strip():
        raise DustbinError("a sign-off needs a name")
    _, entry = _live(session, receipt_id)
    entry.signed_off_at, entry.signed_off_by = now, by.strip()
    session.add(entry)
    return entry


def listed(
    session: Session, *, held: bool = False, study_instance_uid: str | None = None, limit: int = 100
) -> Sequence[tuple[DustbinEntry, Receipt]]:
    """What lies in the dustbin, the next to be deleted first.

    Args:
        session: to read with.
        held: only what is on legal hold.
        study_instance_uid: only this study.
        limit: at most so many.
    """
    query = (
        select(DustbinEntry, Receipt)
        .join(Receipt, col(Receipt.id) == col(DustbinEntry.receipt_id))
        .where(Receipt.state == ReceiptState.DISPOSED, col(DustbinEntry.deleted_at).is_(None))
    )
    if held:
        query = query.where(col(DustbinEntry.legal_hold))
    if study_instance_uid is not None:
        query = query.where(Receipt.study_instance_uid == study_instance_uid)
    return session.exec(query.order_by(col(DustbinEntry.retention_until), col(DustbinEntry.id)).limit(limit)).all()


def left_undone(session: Session, *, limit: int = 1000) -> tuple[list[UUID], list[UUID]]:
    """Receipts whose move a crash interrupted: on their way into the dustbin, and out of it."""
    rows = session.exec(
        select(DustbinEntry, Receipt.state)
        .join(Receipt, col(Receipt.id) == col(DustbinEntry.receipt_id))
        .where(
            col(DustbinEntry.deleted_at).is_(None),
            or_(
                (col(DustbinEntry.restored_at).is_(None)) & (col(Receipt.state) != ReceiptState.DISPOSED),
                (col(DustbinEntry.restored_at).is_not(None)) & (col(Receipt.state) == ReceiptState.DISPOSED),
            ),
        )
        .limit(limit)
    ).all()
    inward = [entry.receipt_id for entry, state in rows if state is not ReceiptState.DISPOSED]
    return inward, [entry.receipt_id for entry, state in rows if state is ReceiptState.DISPOSED]
