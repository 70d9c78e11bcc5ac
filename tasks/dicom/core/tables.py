"""The gateway's ledger: what was received, what became of it, and what was delivered where.

An **association** is a batch of **receipts** (one per received file). Evaluating a receipt against the rules gives at
most one **output** (the file as it will be sent) and one **delivery** per destination. A delivery is keyed on what it
means to the receiver (SOP Instance UID, destination, content hash), so that a re-sent instance is not delivered twice.
Every try leaves a **delivery attempt**. A file that left the spool has a **dustbin entry** or a quarantine reason.

States::

    association   OPEN -> READY -> PROCESSING -> WAITING (deliveries due later) -> DONE
    receipt       RECEIVED -> EVALUATED -> DISPOSED | KEPT, or QUARANTINED
    delivery      PENDING -> SENDING -> SENT -> VERIFIED
                  SENDING -> UNKNOWN (no response: verify first) | RETRY -> ... -> DEAD
                  CONFLICT (the destination holds the same UID with other content)
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID, uuid4

from sqlalchemy import JSON, Column, Index, MetaData, UniqueConstraint
from sqlmodel import Field, SQLModel

from tasks.foundation.core.columns import NAMING_CONVENTION, utc_now
from tasks.foundation.core.tables import moment, one_of

DOMAIN = "dicom"


class SourceType(StrEnum):
    """How an instance came in."""

    DIMSE_LISTENER = "DIMSE_LISTENER"
    DIMSE_QR = "DIMSE_QR"
    DICOMWEB = "DICOMWEB"
    STOW_RS = "STOW_RS"
    GOOGLE_HEALTHCARE = "GOOGLE_HEALTHCARE"
    FILE_UPLOAD = "FILE_UPLOAD"
    UNKNOWN = "UNKNOWN"


class AssociationState(StrEnum):
    """Where a batch stands."""

    OPEN = "OPEN"
    READY = "READY"
    PROCESSING = "PROCESSING"
    WAITING = "WAITING"
    DONE = "DONE"


class ReceiptState(StrEnum):
    """Where a received file stands. KEPT, DISPOSED and QUARANTINED are final."""

    RECEIVED = "RECEIVED"
    EVALUATED = "EVALUATED"
    DISPOSED = "DISPOSED"
    KEPT = "KEPT"
    QUARANTINED = "QUARANTINED"


class DeliveryState(StrEnum):
    """Where a delivery stands. VERIFIED, DEAD and CONFLICT wait for nobody but a person."""

    PENDING = "PENDING"
    SENDING = "SENDING"
    UNKNOWN = "UNKNOWN"
    SENT = "SENT"
    RETRY = "RETRY"
    VERIFIED = "VERIFIED"
    DEAD = "DEAD"
    CONFLICT = "CONFLICT"


class DicomTable(SQLModel):
    """Base of the domain's tables; their metadata is the domain's own, so that each domain migrates alone."""

    metadata: ClassVar[MetaData] = MetaData(naming_convention=NAMING_CONVENTION)


def _uuid() -> Any:
    return Field(default_factory=uuid4, primary_key=True)


class Association(DicomTable, table=True):
    """A batch of received files: a DIMSE association, or one `submit` of files."""

    __tablename__ = "dicom_association"

    id: UUID = _uuid()
    source_type: SourceType = one_of(SourceType)
    source_id: str = Field(default="", max_length=200)
    calling_ae: str | None = Field(default=None, max_length=16)
    called_ae: str | None = Field(default=None, max_length=16)
    source_ip: str | None = Field(default=None, max_length=45)
    opened_at: datetime = moment(default_factory=utc_now)
    last_received_at: datetime | None = moment(default=None)
    closed_at: datetime | None = moment(default=None)
    #: `released`, `aborted`, `quiet`, `restarted` or `submitted`
    ended_by: str | None = Field(default=None, max_length=20)
    state: AssociationState = one_of(AssociationState, default=AssociationState.OPEN, index=True)
    #: The listener process that still adds to an OPEN association; a restarted one closes the leftovers of the dead.
    opened_by: str | None = Field(default=None, max_length=100)
    #: How many flow runs were started for it; part of their idempotency key.
    dispatches: int = 0
    dispatched_at: datetime | None = moment(default=None)
    flow_run_id: UUID | None = None
    lease_owner: str | None = Field(default=None, max_length=100)
    lease_until: datetime | None = moment(default=None)
    #: When a WAITING association next has work.
    due_at: datetime | None = moment(default=None)


class Receipt(DicomTable, table=True):
    """One received file. `path` is relative to the dicom home, or absolute for files that stay where they were."""

    __tablename__ = "dicom_receipt"

    id: UUID = _uuid()
    association_id: UUID = Field(foreign_key="dicom_association.id", index=True)
    path: str = Field(unique=True)
    #: Where a submitted file was read from.
    original_path: str | None = None
    received_at: datetime = moment(default_factory=utc_now)
    size: int
    #: SHA-256 of the data set as received, file meta excluded; of the whole file where there is no file meta.
    content_sha256: str = Field(max_length=64, index=True)
    sop_class_uid: str | None = Field(default=None, max_length=64)
    sop_instance_uid: str | None = Field(default=None, max_length=64, index=True)
    transfer_syntax_uid: str | None = Field(default=None, max_length=64)
    study_instance_uid: str | None = Field(default=None, max_length=64, index=True)
    series_instance_uid: str | None = Field(default=None, max_length=64)
    modality: str | None = Field(default=None, max_length=16)
    state: ReceiptState = one_of(ReceiptState, default=ReceiptState.RECEIVED, index=True)
    #: Why it stands there, for people: the rule error, the quarantine reason, the disposition reason. No patient data.
    reason: str | None = Field(default=None, max_length=2000)
    matched_rules: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    ruleset_version: str | None = Field(default=None, max_length=64)
    modified: bool = False
    output_id: UUID | None = Field(default=None, foreign_key="dicom_output.id", index=True)
    destinations: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    disposed_at: datetime | None = moment(default=None)


class Output(DicomTable, table=True):
    """A file as it will be sent: the received one, or a morphed copy in the staging folder."""

    __tablename__ = "dicom_output"
    __table_args__ = (UniqueConstraint("sop_instance_uid", "content_sha256"),)

    id: UUID = _uuid()
    #: Relative to the dicom home.
    path: str
    #: Whether `path` is a staged copy of ours, to be removed when every delivery is verified.
    staged: bool = False
    content_sha256: str = Field(max_length=64)
    sop_class_uid: str = Field(max_length=64)
    sop_instance_uid: str = Field(max_length=64)
    study_instance_uid: str | None = Field(default=None, max_length=64)
    transfer_syntax_uid: str = Field(max_length=64)
    size: int
    created_at: datetime = moment(default_factory=utc_now)


class Delivery(DicomTable, table=True):
    """One output to one destination, at least once, made exactly once by its key."""

    __tablename__ = "dicom_delivery"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "destination", "content_sha256"),
        Index("ix_dicom_delivery_due", "state", "due_at"),
    )

    id: UUID = _uuid()
    output_id: UUID = Field(foreign_key="dicom_output.id", index=True)
    destination: str = Field(max_length=100, index=True)
    sop_instance_uid: str = Field(max_length=64)
    content_sha256: str = Field(max_length=64)
    state: DeliveryState = one_of(DeliveryState, default=DeliveryState.PENDING)
    attempts: int = 0
    due_at: datetime = moment(default_factory=utc_now)
    lease_owner: str | None = Field(default=None, max_length=100)
    lease_until: datetime | None = moment(default=None)
    sent_at: datetime | None = moment(default=None)
    verified_at: datetime | None = moment(default=None)
    #: How it was verified: `status`, `c_find` or `read_back`.
    verified_by: str | None = Field(default=None, max_length=20)
    #: What the destination last said, for people. No patient data.
    reason: str | None = Field(default=None, max_length=2000)
    created_at: datetime = moment(default_factory=utc_now)


class DeliveryAttempt(DicomTable, table=True):
    """One try of a delivery. Kept for ever as the history of a replay."""

    __tablename__ = "dicom_delivery_attempt"

    id: UUID = _uuid()
    delivery_id: UUID = Field(foreign_key="dicom_delivery.id", index=True)
    at: datetime = moment(default_factory=utc_now)
    state: DeliveryState = one_of(DeliveryState)
    #: DIMSE status, where there was a response.
    status: int | None = None
    reason: str | None = Field(default=None, max_length=2000)


class DestinationHealth(DicomTable, table=True):
    """The circuit breaker of one destination."""

    __tablename__ = "dicom_destination_health"

    destination: str = Field(primary_key=True, max_length=100)
    failures: int = 0
    open_until: datetime | None = moment(default=None)
    #: Paused by a person; nothing is sent until resumed.
    paused: bool = False
    last_success_at: datetime | None = moment(default=None)
    last_failure_at: datetime | None = moment(default=None)
    last_reason: str | None = Field(default=None, max_length=2000)


class DustbinEntry(DicomTable, table=True):
    """A file that left the spool and waits for the end of its retention."""

    __tablename__ = "dicom_dustbin_entry"

    id: UUID = _uuid()
    receipt_id: UUID = Field(foreign_key="dicom_receipt.id", unique=True)
    #: Relative to the dicom home; the provenance lies beside it as `.json`.
    path: str = Field(unique=True)
    content_sha256: str = Field(max_length=64)
    size: int
    reason: str = Field(max_length=2000)
    binned_at: datetime = moment(default_factory=utc_now)
    retention_until: datetime = moment(index=True)
    legal_hold: bool = False
    legal_hold_reason: str | None = Field(default=None, max_length=2000)
    #: First phase of deletion; the second deletes what has been marked long enough.
    marked_at: datetime | None = moment(default=None)
    deleted_at: datetime | None = moment(default=None)
    restored_at: datetime | None = moment(default=None)
    #: A person gave up on what was not delivered: the file may be deleted all the same.
    signed_off_at: datetime | None = moment(default=None)
    signed_off_by: str | None = Field(default=None, max_length=200)
    #: When a copy was last handed out to a person; the file itself stayed.
    copied_at: datetime | None = moment(default=None)
