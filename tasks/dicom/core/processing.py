"""From a received file to what will be sent: read the header, apply the rules, stage a changed copy, note deliveries.

`prepare` does the work on the file and touches no ledger; `record` writes its outcome in the caller's transaction.
Both may run again after a kill: the staged copy has a name of its own, outputs and deliveries have natural keys.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from sqlmodel import Session, select

from tasks.dicom.core.durable_files import STAGING
from tasks.dicom.core.header import Header, content_sha256, read_header
from tasks.dicom.core.morph import write_morphed
from tasks.dicom.core.replay import revive
from tasks.dicom.core.rules import CrosswalkLookup, Evaluation, Rules, Source, evaluate
from tasks.dicom.core.tables import Association, Delivery, DeliveryState, Output, Receipt, ReceiptState
from tasks.foundation.core.upsert import insert_if_absent


@dataclass(frozen=True)
class Prepared:
    """What one received file gives."""

    study_instance_uid: str | None
    series_instance_uid: str | None
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    modality: str | None
    matched_rules: list[str]
    modified: bool
    destinations: list[str]
    #: None where it goes nowhere.
    output: Output | None

    @property
    def output_key(self) -> tuple[str, str]:
        """What its output is found by, also by others that send the same; they are recorded in this order."""
        return (self.output.sop_instance_uid, self.output.content_sha256) if self.output else ("", "")


def source_of(association: Association) -> Source:
    """Where an association came from, as rules see it."""
    return Source(
        source_type=association.source_type,
        source_id=association.source_id,
        calling_ae=association.calling_ae,
        called_ae=association.called_ae,
        source_ip=association.source_ip,
    )


def prepare(
    receipt: Receipt,
    home: Path,
    rules: Rules,
    source: Source,
    *,
    now: datetime,
    first_received_at: datetime,
    crosswalk: CrosswalkLookup | None = None,
) -> Prepared:
    """Apply the rules to one received file, and write the copy to send where it differs from what was received.

    Args:
        receipt: the file's row.
        home: the dicom home that the row's path is relative to.
        rules: the rules as loaded.
        source: where the file came from.
        now: UTC; rules with a schedule ask for it.
        first_received_at: when this content first came. It dates changes in the audit, so that an instance sent again
            is morphed into the same bytes and not delivered twice.
        crosswalk: looks replacement values up.

    Raises:
        UnreadableInstanceError: the file is no DICOM instance.
        ModificationError: a rule's change failed; nothing may leave.
        MorphError: the changed instance cannot be written; nothing may leave.
        OSError: the file cannot be read, or the copy not written.
    """
    header = read_header(home / receipt.path)
    evaluation = evaluate(header.dataset, rules, source, now=now, crosswalk=crosswalk, modified_at=first_received_at)
    output = _output(receipt, home, header, evaluation) if evaluation.destinations else None
    return Prepared(
        study_instance_uid=header.study_instance_uid,
        series_instance_uid=header.series_instance_uid,
        sop_class_uid=header.sop_class_uid,
        sop_instance_uid=header.sop_instance_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        modality=header.modality,
        matched_rules=evaluation.applied_rules,
        modified=evaluation.modified,
        destinations=evaluation.destinations,
        output=output,
    )


def _output(receipt: Receipt, home: Path, header: Header, evaluation: Evaluation) -> Output:
    if not evaluation.modified and not header.adopted:
        return Output(
            path=receipt.path,
            content_sha256=content_sha256(home / receipt.path),
            sop_class_uid=header.sop_class_uid,
            sop_instance_uid=header.sop_instance_uid,
            study_instance_uid=header.study_instance_uid,
            transfer_syntax_uid=header.transfer_syntax_uid,
            size=receipt.size,
        )
    # A run that repeats the work after a kill replaces the copy instead of leaving another. A file released from
    # quarantine comes in another association: the copy made under former rules may still have to be delivered.
    path = f"{STAGING}/{receipt.association_id}-{receipt.id}.dcm"
    (home / STAGING).mkdir(mode=0o700, exist_ok=True)
    written = write_morphed(header, evaluation.dataset, home / path)
    return Output(
        path=path,
        staged=True,
        content_sha256=written.content_sha256,
        sop_class_uid=written.sop_class_uid,
        sop_instance_uid=written.sop_instance_uid,
        study_instance_uid=written.study_instance_uid,
        transfer_syntax_uid=written.transfer_syntax_uid,
        size=written.size,
    )


def record(
    session: Session, receipt_id: UUID, prepared: Prepared, home: Path, *, version: str, now: datetime
) -> str | None:
    """Write what became of a file: its row, its output and one delivery per destination.

    Args:
        session: the transaction; nothing is committed.
        receipt_id: the file's row; it is left alone unless it is still RECEIVED.
        prepared: what `prepare` gave.
        home: the dicom home.
        version: of the rules.
        now: UTC.

    Returns:
        The path of a staged copy that is not needed, since the same content is already there to be sent: to be removed
        after the commit.
    """
    receipt = session.exec(select(Receipt).where(Receipt.id == receipt_id).with_for_update()).one()
    if receipt.state is not ReceiptState.RECEIVED:
        return None
    receipt.study_instance_uid = prepared.study_instance_uid
    receipt.series_instance_uid = prepared.series_instance_uid
    receipt.sop_class_uid = prepared.sop_class_uid
    receipt.sop_instance_uid = prepared.sop_instance_uid
    receipt.transfer_syntax_uid = prepared.transfer_syntax_uid
    receipt.modality = prepared.modality
    receipt.matched_rules = prepared.matched_rules
    receipt.modified = prepared.modified
    receipt.destinations = prepared.destinations
    receipt.ruleset_version = version
    receipt.state = ReceiptState.EVALUATED
    needless = None
    if prepared.output is not None:
        output = _record_output(session, prepared.output, prepared.destinations, home, now=now)
        receipt.output_id = output.id
        if prepared.output.staged and output.path != prepared.output.path:
            needless = prepared.output.path
    session.add(receipt)
    session.flush()
    return needless


def _record_output(session: Session, wanted: Output, destinations: list[str], home: Path, *, now: datetime) -> Output:
    output, inserted = insert_if_absent(session, wanted, key=("sop_instance_uid", "content_sha256"))
    if not inserted:
        # Locked, so that the file it names is not removed between our look and our commit.
        output = session.exec(select(Output).where(Output.id == output.id).with_for_update()).one()
    if output.path != wanted.path and not (home / output.path).exists():
        # The same content came before and its file has left; this one stands in for it.
        output.path, output.staged = wanted.path, wanted.staged
        session.add(output)
        session.flush()
    for destination in destinations:
        delivery, new = insert_if_absent(
            session,
            Delivery(
                output_id=output.id,
                destination=destination,
                sop_instance_uid=output.sop_instance_uid,
                content_sha256=output.content_sha256,
                due_at=now,
                created_at=now,
            ),
            key=("sop_instance_uid", "destination", "content_sha256"),
        )
        if not new and delivery.state is DeliveryState.DEAD:
            # The sender sent it again: so shall we, with its history kept.
            revive(session, delivery, now=now, reason="received again")
    return output
