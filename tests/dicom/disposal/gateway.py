"""A gateway with files in its spool and rows in its ledger, as the listener and the rules leave them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlmodel import select

from blocks.engine import session
from tasks.dicom.core.tables import (
    Association,
    AssociationState,
    Delivery,
    DeliveryState,
    DustbinEntry,
    Output,
    Receipt,
    ReceiptState,
    SourceType,
)

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
STUDY = "1.2.826.0.1.3680043.8.498.1"
VERIFIED = {"archive": DeliveryState.VERIFIED}
DEAD = {"archive": DeliveryState.VERIFIED, "viewer": DeliveryState.DEAD}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Gateway:
    """The dicom home of a test, and its ledger."""

    home: Path

    def receive(
        self,
        content: bytes = b"pixels",
        *,
        deliveries: Mapping[str, DeliveryState] | None = None,
        sop: str | None = None,
        study: str | None = STUDY,
        matched: bool = True,
        modified: bool = False,
        state: ReceiptState = ReceiptState.EVALUATED,
    ) -> UUID:
        """Put a file into the spool, with receipt, output and deliveries; the same instance shares an output."""
        receipt_id, sop, states = uuid4(), sop or f"{STUDY}.{len(content)}", dict(deliveries or {})
        path = self._put(f"spool/{receipt_id}.dcm", content)
        with session("dicom") as opened:
            association = Association(source_type=SourceType.DIMSE_LISTENER, state=AssociationState.PROCESSING)
            opened.add(association)
            opened.flush()
            receipt = Receipt(
                id=receipt_id,
                association_id=association.id,
                path=path,
                received_at=NOW,
                size=len(content),
                content_sha256=sha256(content),
                sop_instance_uid=sop,
                study_instance_uid=study,
                state=state,
                matched_rules=["all/everything"] if matched else [],
                modified=modified,
                destinations=sorted(states),
            )
            if states:
                sent = b"morphed " + content if modified else content
                known = select(Output).where(Output.sop_instance_uid == sop, Output.content_sha256 == sha256(sent))
                output = opened.exec(known).one_or_none() or Output(
                    path=self._put(f"staging/{receipt_id}.dcm", sent) if modified else path,
                    staged=modified,
                    content_sha256=sha256(sent),
                    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                    sop_instance_uid=sop,
                    transfer_syntax_uid="1.2.840.10008.1.2.1",
                    size=len(sent),
                )
                opened.add(output)
                opened.flush()
                receipt.output_id = output.id
                there = opened.exec(select(Delivery.destination).where(Delivery.output_id == output.id)).all()
                for destination in states.keys() - set(there):
                    opened.add(
                        Delivery(
                            output_id=output.id,
                            destination=destination,
                            sop_instance_uid=sop,
                            content_sha256=sha256(sent),
                            state=states[destination],
                            verified_at=NOW if states[destination] is DeliveryState.VERIFIED else None,
                            verified_by="c_find" if states[destination] is DeliveryState.VERIFIED else None,
                        )
                    )
            opened.add(receipt)
        return receipt_id

    def _put(self, path: str, content: bytes) -> str:
        (self.home / path).parent.mkdir(exist_ok=True)
        (self.home / path).write_bytes(content)
        return path

    def receipt(self, receipt_id: UUID) -> Receipt:
        with session("dicom", read_only=True) as opened:
            return opened.exec(select(Receipt).where(Receipt.id == receipt_id)).one()

    def entry(self, receipt_id: UUID) -> DustbinEntry:
        with session("dicom", read_only=True) as opened:
            return opened.exec(select(DustbinEntry).where(DustbinEntry.receipt_id == receipt_id)).one()

    def has_entry(self, receipt_id: UUID) -> bool:
        with session("dicom", read_only=True) as opened:
            return bool(opened.exec(select(DustbinEntry).where(DustbinEntry.receipt_id == receipt_id)).all())

    def entries(self) -> int:
        with session("dicom", read_only=True) as opened:
            return len(opened.exec(select(DustbinEntry)).all())

    def output(self, receipt_id: UUID) -> Output:
        output_id = self.receipt(receipt_id).output_id
        with session("dicom", read_only=True) as opened:
            return opened.exec(select(Output).where(Output.id == output_id)).one()

    def deliver(self, receipt_id: UUID, **states: DeliveryState) -> None:
        """Let deliveries of a receipt reach a state."""
        output_id = self.receipt(receipt_id).output_id
        with session("dicom") as opened:
            for delivery in opened.exec(select(Delivery).where(Delivery.output_id == output_id)):
                delivery.state = states.get(delivery.destination, delivery.state)
                opened.add(delivery)

    def bytes_of(self, receipt_id: UUID) -> bytes:
        return (self.home / self.receipt(receipt_id).path).read_bytes()

    def provenance(self, receipt_id: UUID) -> dict[str, Any]:
        path = (self.home / self.receipt(receipt_id).path).with_suffix(".json")
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def events(self, receipt_id: UUID) -> list[str]:
        return [event["event"] for event in self.provenance(receipt_id)["history"]]

    def files(self, *folders: str) -> list[str]:
        """Every file below the folders, as ledger paths."""
        return sorted(
            file.relative_to(self.home).as_posix()
            for folder in folders or ("spool", "staging", "dustbin", "quarantine")
            for file in (self.home / folder).rglob("*")
            if file.is_file()
        )

    def contents(self) -> list[bytes]:
        """Every DICOM file's bytes, wherever it lies."""
        return sorted((self.home / path).read_bytes() for path in self.files() if not path.endswith(".json"))
