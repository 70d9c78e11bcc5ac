"""Where a file came from and what became of it, as JSON beside the file: written before the file moves.

The sidecar of `x.dcm` is `x.json`. It repeats what the ledger knows, so that a file can be understood without the
ledger, and carries the history of the file's moves. A move is planned in the ledger or named by the receipt alone, so
that running it again after a crash at any point finds what the first run did and ends the same.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import update
from sqlmodel import Session, col, select

from tasks.dicom.core.disposition import ReceiptFacts
from tasks.dicom.core.durable_files import FileLostError, confined, make_folder, move_durably, write_durably
from tasks.dicom.core.tables import Association, Delivery, DeliveryState, Output, Receipt, ReceiptState


@dataclass(frozen=True)
class Move:
    """One file on its way from one place of the dicom home to another."""

    receipt_id: UUID
    #: Ledger paths.
    source: str
    target: str
    #: What happens: `binned`, `quarantined`, `restored`, `released`.
    event: str
    at: datetime
    reason: str
    #: What the sidecar at the target says; None where the file goes back to the spool, which has no sidecars.
    provenance: dict[str, Any] | None = None


def receipt_of(session: Session, receipt_id: UUID) -> Receipt:
    """A receipt, locked until the transaction ends (SQLite locks the whole ledger anyway).

    Raises:
        LookupError: no such receipt.
    """
    found = session.exec(select(Receipt).where(Receipt.id == receipt_id).with_for_update()).one_or_none()
    if found is None:
        raise LookupError(f"no receipt {receipt_id}")
    return found


def lock(session: Session, receipt_ids: Collection[UUID]) -> None:
    """Lock receipts and then their outputs, which other associations may share, until the transaction ends.

    Always in the order of `processing.record`, so that two transactions that overlap cannot wait for each other.
    """
    chosen = col(Receipt.id).in_(receipt_ids)
    session.exec(select(Receipt.id).where(chosen).order_by(col(Receipt.id)).with_for_update()).all()
    session.exec(
        select(Output.id)
        .where(col(Output.id).in_(select(Receipt.output_id).where(chosen)))
        .order_by(col(Output.sop_instance_uid), col(Output.content_sha256))
        .with_for_update()
    ).all()


def deliveries_of(session: Session, receipts: Sequence[Receipt]) -> dict[UUID, list[Delivery]]:
    """The deliveries of each receipt, by receipt id and in the order of their destinations.

    Receipts with the same content share an output. What only another one's rules asked for is not among them.
    """
    outputs = {receipt.output_id for receipt in receipts if receipt.output_id is not None}
    found: dict[UUID, list[Delivery]] = {receipt.id: [] for receipt in receipts}
    if not outputs:
        return found
    by_output: dict[UUID | None, list[Delivery]] = {}
    for delivery in session.exec(
        select(Delivery).where(col(Delivery.output_id).in_(outputs)).order_by(col(Delivery.destination))
    ):
        by_output.setdefault(delivery.output_id, []).append(delivery)
    for receipt in receipts:
        found[receipt.id] = [
            item for item in by_output.get(receipt.output_id, []) if item.destination in receipt.destinations
        ]
    return found


def deliveries_from(session: Session, path: str) -> list[Delivery]:
    """The deliveries that are sent from a file, whoever asked for them."""
    return list(
        session.exec(
            select(Delivery).join(Output, col(Output.id) == col(Delivery.output_id)).where(Output.path == path)
        )
    )


def is_ours(receipt: Receipt) -> bool:
    """Whether the file lies in the dicom home, so that it may be moved."""
    return not Path(receipt.path).is_absolute()


def facts_of(receipt: Receipt, *, restored: bool = False) -> ReceiptFacts:
    """What the decision table needs to know of a receipt."""
    return ReceiptFacts(
        state=receipt.state,
        matched=bool(receipt.matched_rules),
        modified=receipt.modified,
        destinations=frozenset(receipt.destinations),
        ours=is_ours(receipt),
        restored=restored,
    )


def follow_outputs(session: Session, source: str, target: str) -> None:
    """Let outputs that are sent from a file follow it to its new place, for a replay or a late delivery."""
    session.exec(update(Output).where(col(Output.path) == source).values(path=target))


def yield_outputs(session: Session, home: Path, receipt: Receipt) -> None:
    """Before a file leaves the spool, let another one with the same content stand in for what is still to be sent."""
    if receipt.output_id is None:
        return
    output = session.exec(select(Output).where(Output.id == receipt.output_id).with_for_update()).one()
    if output.path != receipt.path:
        return
    others = select(Receipt.path).where(
        Receipt.output_id == output.id,
        Receipt.id != receipt.id,
        col(Receipt.state).in_((ReceiptState.EVALUATED, ReceiptState.KEPT)),
        # A morphed output has the content of no receipt.
        Receipt.content_sha256 == output.content_sha256,
    )
    for path in session.exec(others.order_by(col(Receipt.received_at), col(Receipt.id))):
        if (home / path).exists():
            output.path = path
            session.add(output)
            return


def describe(session: Session, receipt: Receipt, deliveries: Sequence[Delivery]) -> dict[str, Any]:
    """The provenance of a received file, without what people in it are called."""
    association = session.get_one(Association, receipt.association_id)
    return {
        "format": 1,
        "receipt_id": str(receipt.id),
        "association_id": str(association.id),
        "source_type": association.source_type.value,
        "source_id": association.source_id,
        "original_path": receipt.original_path or receipt.path,
        "received_at": stamp(receipt.received_at),
        "size": receipt.size,
        "content_sha256": receipt.content_sha256,
        "sop_class_uid": receipt.sop_class_uid,
        "sop_instance_uid": receipt.sop_instance_uid,
        "study_instance_uid": receipt.study_instance_uid,
        "series_instance_uid": receipt.series_instance_uid,
        "transfer_syntax_uid": receipt.transfer_syntax_uid,
        "matched_rules": receipt.matched_rules,
        "ruleset_version": receipt.ruleset_version,
        "modified": receipt.modified,
        "destinations": receipt.destinations,
        "destinations_confirmed": [
            {
                "destination": delivery.destination,
                "verified_at": None if delivery.verified_at is None else stamp(delivery.verified_at),
                "verified_by": delivery.verified_by,
            }
            for delivery in deliveries
            if delivery.state is DeliveryState.VERIFIED
        ],
    }


def stamp(moment: datetime) -> str:
    """A moment as ISO 8601 in UTC."""
    return moment.astimezone(UTC).isoformat()


def sidecar_of(file: Path) -> Path:
    """Where the provenance of a file lies."""
    return file.with_suffix(".json")


def read_sidecar(file: Path) -> dict[str, Any]:
    """The provenance beside a file, or nothing where there is none."""
    try:
        found = json.loads(sidecar_of(file).read_bytes())
    except FileNotFoundError:
        return {}
    if not isinstance(found, dict):
        raise ValueError(f"{sidecar_of(file)} is not a provenance")
    return found


def record(file: Path, event: str, *, at: datetime, **facts: str) -> None:
    """Add an event to the history in a file's sidecar."""
    provenance = read_sidecar(file)
    history = provenance.get("history", [])
    _write(file, {**provenance, "history": [*history, {"event": event, "at": stamp(at), **facts}]})


def carry_out(home: Path, move: Move) -> None:
    """Write the provenance, then move the file; every step is on the disk before the next.

    Args:
        home: the dicom home.
        move: what to move; running it again ends the same.

    Raises:
        FileLostError: the file is at neither place. Nothing was written.
        NameTakenError: another file lies at the target.
        OutsideHomeError: source or target leads out of its folder.
    """
    source, target = confined(home, move.source), confined(home, move.target)
    if not source.exists() and not target.exists():
        raise FileLostError(f"receipt {move.receipt_id}: the file is neither in the spool nor where it was going")
    if move.provenance is not None:
        make_folder(target.parent)
        _announce(source, target, move, move.provenance)
    elif source.exists() and not _is_last(source, move.event, to=move.target):
        record(source, move.event, at=move.at, to=move.target, reason=move.reason)
    move_durably(source, target)
    if move.provenance is not None:
        # Its history has gone into the new one.
        sidecar_of(source).unlink(missing_ok=True)


def _announce(source: Path, target: Path, move: Move, provenance: dict[str, Any]) -> None:
    if _is_last(target, move.event, **{"from": move.source}):
        return
    event = {"event": move.event, "at": stamp(move.at), "from": move.source, "reason": move.reason}
    history = [*read_sidecar(target).get("history", []), *read_sidecar(source).get("history", []), event]
    _write(target, {**provenance, "history": history})


def _is_last(file: Path, event: str, **facts: str) -> bool:
    """Whether the history ends with this event: an earlier run of the same move wrote it."""
    last = (read_sidecar(file).get("history") or [{}])[-1]
    return bool(last.items() >= {"event": event, **facts}.items())


def _write(file: Path, provenance: dict[str, Any]) -> None:
    write_durably(sidecar_of(file), json.dumps(provenance, indent=2, sort_keys=True).encode() + b"\n")
