"""Disposes of received files once their deliveries have ended: dustbin, quarantine, or kept where they are.

Needs the dicom ledger. The decision table is in `core.disposition`; its settings begin with
`QUINTET_DICOM__DISPOSITION__`.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import UUID

from pydantic import BaseModel
from sqlmodel import Session, col, select

from blocks.engine import session
from blocks.settings import settings
from tasks.dicom.core import dustbin, quarantine
from tasks.dicom.core.disposition import Action, Decision, decide
from tasks.dicom.core.durable_files import FileLostError, NameTakenError, confined
from tasks.dicom.core.provenance import Move, carry_out, deliveries_of, facts_of, lock
from tasks.dicom.core.tables import DOMAIN, Delivery, DeliveryState, DustbinEntry, Output, Receipt, ReceiptState
from tasks.foundation.core.columns import utc_now
from tasks.foundation.lifecycle import logger
from tasks.foundation.retries import INGEST

#: Moves at once: each waits for the disk some four times, and a journal writes several waits as one.
MOVES_AT_ONCE = 8


class DisposalError(Exception):
    """Some files could not be moved; they are where they were, and the rest of the batch is done."""


class DisposalCounts(BaseModel):
    """What became of a batch of files."""

    files: int = 0
    disposed: int = 0
    quarantined: int = 0
    kept: int = 0
    #: Still waiting for a delivery.
    waiting: int = 0
    #: Where they belong already.
    unchanged: int = 0
    #: Neither where the ledger says nor where they were going: look at it.
    lost: int = 0
    #: Staged copies removed, since every delivery that reads them is verified.
    staged_removed: int = 0


@dataclass
class _Plan:
    binned: list[Move] = field(default_factory=list)
    quarantined: list[Move] = field(default_factory=list)
    counts: DisposalCounts = field(default_factory=DisposalCounts)


@INGEST.task
def dispose_file(receipt_id: UUID) -> DisposalCounts:
    """Dispose of one file; see `dispose_files`.

    Args:
        receipt_id: whose file.

    Raises:
        LookupError: no such receipt.
        DisposalError: the file could not be moved; it is where it was.
    """
    return _dispose([receipt_id])


@INGEST.task
def dispose_files(receipt_ids: list[UUID]) -> DisposalCounts:
    """Move files whose deliveries have ended to the dustbin or to quarantine, or leave them, as the table says.

    Killed at any point and run again, it ends as one clean run would.

    Args:
        receipt_ids: whose files; what waits for a delivery, or is disposed of already, is left alone.

    Returns:
        Counts; each file's fate and its reason are in the ledger.

    Raises:
        LookupError: no such receipt; nothing was changed.
        DisposalError: some files could not be moved; the rest of the batch is done.
    """
    return _dispose(receipt_ids)


def _dispose(receipt_ids: Sequence[UUID]) -> DisposalCounts:
    home, now = settings().domain_home(DOMAIN), utc_now()
    with session(DOMAIN) as opened:
        lock(opened, receipt_ids)
        plan = _plan(opened, home, sorted(set(receipt_ids)), now)
    lost, failures = _move(home, [*plan.binned, *plan.quarantined])
    undone = lost.keys() | failures.keys()
    with session(DOMAIN) as opened:
        lock(opened, receipt_ids)
        for receipt_id, reason in sorted(lost.items()):
            dustbin.withdraw(opened, receipt_id, reason)
            quarantine.record_loss(opened, receipt_id, reason, now=now)
        for move in plan.binned:
            if move.receipt_id not in undone:
                dustbin.finish(opened, move)
                plan.counts.disposed += 1
        for move in plan.quarantined:
            if move.receipt_id not in undone:
                quarantine.finish(opened, move)
                plan.counts.quarantined += 1
        plan.counts.staged_removed = _remove_staged(opened, home, receipt_ids)
    plan.counts.lost = len(lost)
    for receipt_id in sorted(lost):
        logger(receipt=str(receipt_id)).critical("a received file is lost: it is neither in the spool nor disposed of")
    if failures:
        shown = "; ".join(f"receipt {receipt_id}: {reason}" for receipt_id, reason in sorted(failures.items())[:5])
        raise DisposalError(f"{len(failures)} of {len(receipt_ids)} files could not be moved: {shown}")
    return plan.counts


def _plan(opened: Session, home: Path, receipt_ids: Sequence[UUID], now: datetime) -> _Plan:
    receipts = opened.exec(select(Receipt).where(col(Receipt.id).in_(receipt_ids)).order_by(col(Receipt.id))).all()
    if unknown := set(receipt_ids) - {receipt.id for receipt in receipts}:
        raise LookupError(f"no receipt {', '.join(str(key) for key in sorted(unknown))}")
    entries = {
        entry.receipt_id: entry
        for entry in opened.exec(select(DustbinEntry).where(col(DustbinEntry.receipt_id).in_(receipt_ids)))
    }
    deliveries = deliveries_of(opened, receipts)
    plan = _Plan(counts=DisposalCounts(files=len(receipts)))
    for receipt in receipts:
        decision = _decision(home, receipt, entries.get(receipt.id), deliveries[receipt.id])
        _enter(opened, home, receipt, decision, now, plan)
    return plan


def _decision(home: Path, receipt: Receipt, entry: DustbinEntry | None, deliveries: Sequence[Delivery]) -> Decision:
    """What to do with one file; what an earlier run began is ended, whatever would be decided now."""
    if entry is not None and dustbin.is_planned(entry, receipt):
        return Decision(Action.DUSTBIN, entry.reason)
    if reason := quarantine.begun(home, receipt):
        return Decision(Action.QUARANTINE, reason)
    restored = entry is not None and entry.restored_at is not None and receipt.state is ReceiptState.KEPT
    states = {delivery.destination: delivery.state for delivery in deliveries}
    return decide(facts_of(receipt, restored=restored), states, settings().dicom.disposition)


def _enter(opened: Session, home: Path, receipt: Receipt, decision: Decision, now: datetime, plan: _Plan) -> None:
    match decision.action:
        case Action.NOTHING:
            plan.counts.unchanged += 1
        case Action.WAIT:
            plan.counts.waiting += 1
        case Action.KEEP:
            receipt.state, receipt.reason, receipt.disposed_at = ReceiptState.KEPT, decision.reason, now
            opened.add(receipt)
            plan.counts.kept += 1
        case Action.QUARANTINE:
            move = quarantine.plan(opened, receipt, reason=decision.reason, now=now)
            if move is None:
                plan.counts.quarantined += 1
            else:
                plan.quarantined.append(move)
        case Action.DUSTBIN:
            days = settings().dicom.disposition.retention_days
            plan.binned.append(
                dustbin.plan(opened, home, receipt, reason=decision.reason, retention_days=days, now=now)
            )


def _move(home: Path, moves: Sequence[Move]) -> tuple[dict[UUID, str], dict[UUID, str]]:
    """Carry the moves out; gives why files are lost, and why others could not be moved, by receipt id."""
    lost: dict[UUID, str] = {}
    failures: dict[UUID, str] = {}

    def one(move: Move) -> None:
        try:
            carry_out(home, move)
        except FileLostError as error:
            lost[move.receipt_id] = str(error)
        except (OSError, NameTakenError, ValueError) as error:
            failures[move.receipt_id] = str(error)

    if len(moves) < 2:
        for move in moves:
            one(move)
    else:
        with ThreadPoolExecutor(min(MOVES_AT_ONCE, len(moves))) as pool:
            # `list` so that what is no file's fault is raised here.
            list(pool.map(one, moves))
    return lost, failures


def _remove_staged(opened: Session, home: Path, receipt_ids: Sequence[UUID]) -> int:
    """Remove the staged copies of these files that nobody needs any more; gives how many."""
    outputs = opened.exec(
        select(Output)
        .where(
            col(Output.id).in_(select(Receipt.output_id).where(col(Receipt.id).in_(receipt_ids))),
            col(Output.staged),
        )
        # Locked: a delivery that is being added refers to the output, and so waits until the copy is gone.
        .order_by(col(Output.id))
    ).all()
    removed = 0
    for output in outputs:
        states = opened.exec(select(Delivery.state).where(Delivery.output_id == output.id)).all()
        copy = confined(home, output.path)
        if states and all(state is DeliveryState.VERIFIED for state in states) and copy.exists():
            copy.unlink()
            removed += 1
    return removed
