"""Emptying the dustbin in two phases, and looking for what does not add up in it.

A file whose retention is over is **marked**; one that has been marked long enough is **deleted**. Both ask again
whether every delivery is verified, or a person signed off, and no hold lies on it; deleting reads the whole file first
and keeps it where its content is not what was put there. The ledger says "deleted" before the file goes: a crash
between leaves a file too many, which the next sweep removes, never a file too few.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from uuid import UUID

from sqlalchemy import func
from sqlmodel import Session, col, select

from tasks.dicom.core.disposition import refusal
from tasks.dicom.core.durable_files import PART, confined, fsync_folder
from tasks.dicom.core.dustbin import damage
from tasks.dicom.core.provenance import deliveries_from, deliveries_of, sidecar_of
from tasks.dicom.core.tables import DeliveryState, DustbinEntry, Receipt, ReceiptState

#: A copy in the making that is older than this belongs to a process that died.
PART_AGE = timedelta(days=1)


class Outcome(StrEnum):
    """What became of one thing in the dustbin, or in a dry run would."""

    MARKED = "marked"
    DELETED = "deleted"
    #: Not delivered, so neither marked nor deleted.
    REFUSED = "refused"
    HELD = "held"
    #: What a crash left of a deleted file or of an unfinished copy; removed.
    LEFTOVER = "leftover"
    #: On its way in or out when a run died.
    UNFINISHED = "unfinished"
    #: A file that no entry knows; left alone.
    ORPHAN = "orphan"
    #: An entry whose file is missing or changed.
    ALARM = "alarm"


@dataclass(frozen=True)
class Finding:
    """One line of the report; a path holds UIDs and hashes, no names."""

    outcome: Outcome
    path: str
    reason: str


@dataclass(frozen=True)
class Space:
    """Room on the disk, and what the dustbin takes of it, in bytes."""

    total: int
    free: int
    files: int
    taken: int
    #: Of `taken`, what goes with the next deletions.
    marked: int


def due_entries(
    session: Session, *, now: datetime, mark_days: float, marked: bool, after: UUID | None = None, limit: int = 100
) -> Sequence[DustbinEntry]:
    """Entries for one of the phases, by id.

    Args:
        session: to read with.
        now: the present.
        mark_days: between the phases.
        marked: for deletion, those marked long enough; else those whose retention is over.
        after: the last id of the page before.
        limit: size of the page.
    """
    query = (
        select(DustbinEntry)
        .join(Receipt, col(Receipt.id) == col(DustbinEntry.receipt_id))
        .where(
            Receipt.state == ReceiptState.DISPOSED,
            col(DustbinEntry.retention_until) <= now,
            col(DustbinEntry.deleted_at).is_(None),
            col(DustbinEntry.restored_at).is_(None),
        )
    )
    if marked:
        query = query.where(col(DustbinEntry.marked_at) <= now - timedelta(days=mark_days))
    else:
        query = query.where(col(DustbinEntry.marked_at).is_(None))
    if after is not None:
        query = query.where(col(DustbinEntry.id) > after)
    return session.exec(query.order_by(col(DustbinEntry.id)).limit(limit)).all()


def examine(session: Session, entries: Sequence[DustbinEntry]) -> dict[UUID, Finding | None]:
    """Why each entry may not be marked or deleted now, by entry id; None where it may."""
    ids = {entry.receipt_id for entry in entries}
    receipts = session.exec(select(Receipt).where(col(Receipt.id).in_(ids))).all()
    deliveries = deliveries_of(session, receipts)
    by_id = {receipt.id: receipt for receipt in receipts}
    found: dict[UUID, Finding | None] = {}
    for entry in entries:
        # Its own, and those that others asked for and that would be sent from this very file.
        needed = [*deliveries[entry.receipt_id], *deliveries_from(session, entry.path)]
        # Of two to one destination, the one that is not verified counts.
        needed.sort(key=lambda delivery: delivery.state is not DeliveryState.VERIFIED)
        why = refusal(
            frozenset(by_id[entry.receipt_id].destinations),
            {delivery.destination: delivery.state for delivery in needed},
            signed_off=entry.signed_off_at is not None,
            legal_hold=entry.legal_hold,
        )
        outcome = Outcome.HELD if entry.legal_hold else Outcome.REFUSED
        found[entry.id] = None if why is None else Finding(outcome, entry.path, why)
    return found


def mark(session: Session, ids: Sequence[UUID], *, now: datetime) -> list[Finding]:
    """First phase: mark what may be deleted, asking again under lock.

    Args:
        session: to be committed.
        ids: of entries whose retention is over.
        now: the present.
    """
    entries = [entry for entry in _locked(session, ids) if entry.marked_at is None and entry.retention_until <= now]
    findings = []
    for entry in entries:
        refused = examine(session, [entry])[entry.id]
        if refused is None:
            entry.marked_at = now
            session.add(entry)
        findings.append(refused or Finding(Outcome.MARKED, entry.path, f"in the dustbin since {_day(entry)}"))
    return findings


def doom(
    session: Session, ids: Sequence[UUID], *, now: datetime, mark_days: float
) -> tuple[list[DustbinEntry], list[Finding]]:
    """Second phase: write down that files are deleted, asking again under lock. Then, after the commit, `remove`.

    Args:
        session: to be committed before anything is removed.
        ids: of marked entries whose files were read and are whole.
        now: the present.
        mark_days: that must lie between mark and deletion.

    Returns:
        The entries whose files must now be removed, and why others must not. A refused one loses its mark.
    """
    latest = now - timedelta(days=mark_days)
    doomed, refusals = [], []
    for entry in _locked(session, ids):
        if entry.marked_at is None or entry.marked_at > latest:
            continue
        refused = examine(session, [entry])[entry.id]
        if refused is None:
            entry.deleted_at = now
            doomed.append(entry)
        else:
            entry.marked_at = None
            refusals.append(refused)
        session.add(entry)
    return doomed, refusals


def unmark(session: Session, ids: Sequence[UUID]) -> None:
    """Take the mark from entries that may not be deleted after all, asking again under lock.

    Args:
        session: to be committed.
        ids: of marked entries.
    """
    # What may be deleted by now keeps its mark; its file has not been read in this run.
    for entry in _locked(session, ids):
        if entry.marked_at is not None and examine(session, [entry])[entry.id] is not None:
            entry.marked_at = None
            session.add(entry)


def _locked(session: Session, ids: Sequence[UUID]) -> Sequence[DustbinEntry]:
    """Those of the entries that still lie in the dustbin. Receipts are locked first, as everywhere."""
    owners = select(DustbinEntry.receipt_id).where(col(DustbinEntry.id).in_(ids))
    session.exec(
        select(Receipt.id).where(col(Receipt.id).in_(owners)).order_by(col(Receipt.id)).with_for_update()
    ).all()
    return session.exec(
        select(DustbinEntry)
        .join(Receipt, col(Receipt.id) == col(DustbinEntry.receipt_id))
        .where(
            col(DustbinEntry.id).in_(ids),
            Receipt.state == ReceiptState.DISPOSED,
            col(DustbinEntry.deleted_at).is_(None),
            col(DustbinEntry.restored_at).is_(None),
        )
        .order_by(col(DustbinEntry.id))
        .with_for_update(of=DustbinEntry)
        .execution_options(populate_existing=True)
    ).all()


def _day(entry: DustbinEntry) -> str:
    return f"{entry.binned_at:%Y-%m-%d}"


def read_back(home: Path, entry: DustbinEntry) -> Finding | None:
    """Read a whole file and compare its content with what was put there; outside of any transaction, it takes time."""
    problem = damage(confined(home, entry.path), entry)
    return None if problem is None else Finding(Outcome.ALARM, entry.path, problem)


def remove(home: Path, path: str) -> None:
    """Remove a deleted entry's file, its provenance and the folders that are empty now.

    Args:
        home: the dicom home.
        path: the entry's; the ledger says already that it is deleted.
    """
    file = confined(home, path)
    sidecar_of(file).unlink(missing_ok=True)
    file.unlink(missing_ok=True)
    if file.parent.is_dir():
        fsync_folder(file.parent)
    # Instance and study, not the day: a file binned today may be about to use it.
    for folder in (file.parent, file.parent.parent):
        try:
            folder.rmdir()
        except OSError:
            # Not empty, or another worker removed it first.
            return


def days(session: Session, home: Path) -> list[str]:
    """The days (YYYYMMDD) that the dustbin has files or the ledger has entries of, sorted."""
    # The day follows "dustbin/", eight characters.
    known = session.exec(select(func.substr(DustbinEntry.path, 9, 8)).distinct()).all()
    top = home / "dustbin"
    there = [folder.name for folder in top.iterdir() if folder.is_dir()] if top.is_dir() else []
    return sorted({*known, *there})


def sweep(session: Session, home: Path, day: str, *, now: datetime) -> list[Finding]:
    """Compare one day's files with its entries; changes nothing.

    Args:
        session: to read with.
        home: the dicom home.
        day: one of `days`.
        now: the present, to tell a copy in the making from a dead one.
    """
    top = home / "dustbin" / day
    # Files first: an entry is committed before its file comes, so that none is taken for an orphan.
    files = {f"dustbin/{day}/{file.relative_to(top).as_posix()}" for file in top.rglob("*") if not file.is_dir()}
    rows = session.exec(
        select(DustbinEntry, Receipt)
        .join(Receipt, col(Receipt.id) == col(DustbinEntry.receipt_id))
        .where(col(DustbinEntry.path).startswith(f"dustbin/{day}/", autoescape=True))
        .order_by(col(DustbinEntry.path))
    ).all()
    findings, known = [], set()
    for entry, receipt in rows:
        sidecar = sidecar_of(Path(entry.path)).as_posix()
        known |= {entry.path, sidecar}
        if finding := _compare(home, entry, receipt, files & {entry.path, sidecar}):
            findings.append(finding)
    for stray in sorted(files - known):
        if not stray.endswith(PART):
            findings.append(Finding(Outcome.ORPHAN, stray, "no entry knows this file"))
        elif _age(home / stray, now) > PART_AGE:
            findings.append(Finding(Outcome.LEFTOVER, stray, "a copy that was never finished"))
    return findings


def _compare(home: Path, entry: DustbinEntry, receipt: Receipt, there: set[str]) -> Finding | None:
    if entry.deleted_at is not None:
        return Finding(Outcome.LEFTOVER, entry.path, "the entry is deleted") if there else None
    inside = receipt.state is ReceiptState.DISPOSED
    if inside != (entry.restored_at is None):
        return Finding(Outcome.UNFINISHED, entry.path, "on its way in" if not inside else "on its way out")
    if inside and not confined(home, entry.path).exists():
        return Finding(Outcome.ALARM, entry.path, "the file is missing")
    if not inside and entry.path in there:
        return Finding(Outcome.ORPHAN, entry.path, "the entry says that it was restored")
    return None


def _age(file: Path, now: datetime) -> timedelta:
    try:
        return timedelta(seconds=now.timestamp() - file.stat().st_mtime)
    except FileNotFoundError:
        # Finished meanwhile.
        return timedelta(0)


def remove_leftover(home: Path, finding: Finding) -> None:
    """Remove what `sweep` found to be a leftover."""
    if finding.path.endswith(PART):
        confined(home, finding.path).unlink(missing_ok=True)
    else:
        remove(home, finding.path)


def space(session: Session, home: Path) -> Space:
    """How much room the dustbin takes, and how much there is."""
    live = (
        select(func.count(), func.coalesce(func.sum(DustbinEntry.size), 0))
        .select_from(DustbinEntry)
        .join(Receipt, col(Receipt.id) == col(DustbinEntry.receipt_id))
        .where(Receipt.state == ReceiptState.DISPOSED, col(DustbinEntry.deleted_at).is_(None))
    )
    files, taken = session.exec(live).one()
    _, marked = session.exec(live.where(col(DustbinEntry.marked_at).is_not(None))).one()
    top = home / "dustbin"
    usage = shutil.disk_usage(top if top.is_dir() else home)
    return Space(total=usage.total, free=usage.free, files=files, taken=int(taken), marked=int(marked))
