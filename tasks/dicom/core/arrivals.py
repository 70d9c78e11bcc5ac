"""What arrives, from where, and the rows that it becomes."""

from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import update
from sqlmodel import Session, col

from tasks.dicom.core.identity import Identity, clean_text
from tasks.dicom.core.spool import Part
from tasks.dicom.core.tables import Association, AssociationState, Receipt, SourceType
from tasks.foundation.core.columns import utc_now


@dataclass(frozen=True)
class Origin:
    """Where instances come from."""

    source_type: SourceType
    source_id: str = ""
    calling_ae: str | None = None
    called_ae: str | None = None
    source_ip: str | None = None


@dataclass(eq=False)
class Batch:
    """Instances that belong together; its row is the committer's business."""

    origin: Origin
    opened_at: datetime = field(default_factory=utc_now)
    #: Of the row that the next instance goes to.
    id: UUID = field(default_factory=uuid4)
    #: Whether that row is committed.
    written: bool = False

    def renew(self) -> None:
        """Let the next instance start a new row."""
        self.id, self.written, self.opened_at = uuid4(), False, utc_now()


@dataclass(frozen=True, eq=False)
class Arrival:
    """A whole file in the spool that waits for its row."""

    batch: Batch
    part: Part
    identity: Identity
    received_at: datetime = field(default_factory=utc_now)
    #: Where a submitted file was read from.
    original_path: str | None = None
    #: Of the data set, where it is not what `part` counted while streaming.
    content_sha256: str | None = None


@dataclass(frozen=True)
class Stored:
    """What became durable."""

    receipt_id: UUID
    association_id: UUID


# Making a validated row object takes longer than writing it, and every sender waits for that.
@cache
def _defaults() -> tuple[dict[str, Any], dict[str, Any]]:
    association = Association(source_type=SourceType.UNKNOWN)
    return association.model_dump(), Receipt(
        association_id=association.id, path="", size=0, content_sha256=""
    ).model_dump()


def association_values(batch: Batch, *, owner: str, last: datetime) -> dict[str, Any]:
    """The OPEN row of a batch."""
    origin = batch.origin
    return _defaults()[0] | {
        "id": batch.id,
        "source_type": origin.source_type,
        "source_id": origin.source_id[:200],
        "calling_ae": clean_text(origin.calling_ae, 16),
        "called_ae": clean_text(origin.called_ae, 16),
        "source_ip": clean_text(origin.source_ip, 45),
        "opened_at": batch.opened_at,
        "last_received_at": last,
        "opened_by": owner,
    }


def receipt_values(arrival: Arrival) -> dict[str, Any]:
    """The row of an arrival, as it will be once published."""
    identity = arrival.identity
    return _defaults()[1] | {
        "id": arrival.part.id,
        "association_id": arrival.batch.id,
        "path": arrival.part.final_name,
        "original_path": arrival.original_path,
        "received_at": arrival.received_at,
        "size": arrival.part.size,
        "content_sha256": arrival.content_sha256 or arrival.part.content_sha256,
        "sop_class_uid": identity.sop_class_uid,
        "sop_instance_uid": identity.sop_instance_uid,
        "transfer_syntax_uid": identity.transfer_syntax_uid,
        "study_instance_uid": identity.study_instance_uid,
        "series_instance_uid": identity.series_instance_uid,
        "modality": identity.modality,
    }


def end_association(session: Session, association_id: UUID, *, ended_by: str, now: datetime) -> bool:
    """Make an OPEN association READY; False when it was not OPEN any more."""
    row = col(Association.id) == association_id, col(Association.state) == AssociationState.OPEN
    values = {"state": AssociationState.READY, "ended_by": ended_by, "closed_at": now}
    ended = session.connection().execute(update(Association).where(*row).values(**values))
    return bool(ended.rowcount)
