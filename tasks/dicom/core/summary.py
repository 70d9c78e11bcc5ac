"""What the ledger says of an association: what is left to do, the counts, and a row per file for people."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from sqlmodel import Session, col, select

from tasks.dicom.core.tables import Association, AssociationState, Delivery, DeliveryState, Receipt, ReceiptState

#: A delivery in one of these states waits for nobody but a person.
SETTLED = frozenset({DeliveryState.VERIFIED, DeliveryState.DEAD, DeliveryState.CONFLICT})


class AssociationSummary(BaseModel):
    """The counts of one association. `delivered` and `verified` count file x destination."""

    association_id: UUID
    state: AssociationState
    files: int = 0
    waiting: int = 0
    deliveries: int = 0
    delivered: int = 0
    verified: int = 0
    dead: int = 0
    disposed: int = 0
    kept: int = 0
    quarantined: int = 0


@dataclass
class Standing:
    """What is left to do."""

    #: Paths of files that no rule has seen yet.
    unevaluated: list[str] = field(default_factory=list)
    #: Deliveries not settled: destination to (id, when it is due).
    unsettled: dict[str, list[tuple[UUID, datetime]]] = field(default_factory=dict)
    #: Evaluated files all of whose deliveries are settled, and quarantined ones that a replay delivered after all.
    disposable: list[UUID] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.unevaluated or self.unsettled or self.disposable)

    def due(self, now: datetime) -> dict[str, list[UUID]]:
        """Deliveries that may be tried now, by destination."""
        ready = {name: [key for key, at in items if at <= now] for name, items in self.unsettled.items()}
        return {name: keys for name, keys in ready.items() if keys}

    def next_due(self, but_for: Collection[str] = ()) -> datetime | None:
        """When the next delivery may be tried, leaving out these destinations."""
        wanted = [items for name, items in self.unsettled.items() if name not in but_for]
        return min((at for items in wanted for _, at in items), default=None)


def _rows(session: Session, association_id: UUID) -> Sequence[tuple[Receipt, Delivery | None]]:
    return session.exec(
        select(Receipt, Delivery)
        .outerjoin(Delivery, col(Delivery.output_id) == col(Receipt.output_id))
        .where(Receipt.association_id == association_id)
        .order_by(col(Receipt.received_at), col(Receipt.id), col(Delivery.destination))
    ).all()


def _by_receipt(rows: Iterable[tuple[Receipt, Delivery | None]]) -> list[tuple[Receipt, list[Delivery]]]:
    grouped: dict[UUID, tuple[Receipt, list[Delivery]]] = {}
    for receipt, delivery in rows:
        entry = grouped.setdefault(receipt.id, (receipt, []))
        # An output may have deliveries of an earlier receipt, under rules that sent it elsewhere.
        if delivery is not None and delivery.destination in receipt.destinations:
            entry[1].append(delivery)
    return list(grouped.values())


def standing(session: Session, association_id: UUID) -> Standing:
    """What is left to do for an association."""
    left = Standing()
    for receipt, deliveries in _by_receipt(_rows(session, association_id)):
        if receipt.state is ReceiptState.RECEIVED:
            left.unevaluated.append(receipt.path)
            continue
        # Of every file, also one in quarantine: a replay makes its dead deliveries due again.
        unsettled = [delivery for delivery in deliveries if delivery.state not in SETTLED]
        for delivery in unsettled:
            # Another claim holds it: nothing to do before that has run out.
            at = max(delivery.due_at, delivery.lease_until or delivery.due_at)
            entries = left.unsettled.setdefault(delivery.destination, [])
            if (delivery.id, at) not in entries:
                entries.append((delivery.id, at))
        verified = bool(deliveries) and all(delivery.state is DeliveryState.VERIFIED for delivery in deliveries)
        # A lost file stays in quarantine whatever was delivered.
        replayed = receipt.state is ReceiptState.QUARANTINED and verified and receipt.disposed_at is None
        if replayed or (receipt.state is ReceiptState.EVALUATED and not unsettled):
            left.disposable.append(receipt.id)
    return left


def summarise(session: Session, association_id: UUID) -> AssociationSummary:
    """The counts of an association.

    Raises:
        LookupError: there is none of this id.
    """
    association = session.exec(select(Association).where(Association.id == association_id)).one_or_none()
    if association is None:
        raise LookupError(f"no association {association_id} in the dicom ledger")
    by_receipt = _by_receipt(_rows(session, association_id))
    states = Counter(receipt.state for receipt, _ in by_receipt)
    deliveries = [delivery for _, items in by_receipt for delivery in items]
    delivered = Counter(delivery.state for delivery in deliveries)
    return AssociationSummary(
        association_id=association_id,
        state=association.state,
        files=len(by_receipt),
        waiting=states[ReceiptState.RECEIVED] + states[ReceiptState.EVALUATED],
        deliveries=len(deliveries),
        delivered=delivered[DeliveryState.SENT] + delivered[DeliveryState.VERIFIED],
        verified=delivered[DeliveryState.VERIFIED],
        dead=delivered[DeliveryState.DEAD] + delivered[DeliveryState.CONFLICT],
        disposed=states[ReceiptState.DISPOSED],
        kept=states[ReceiptState.KEPT],
        quarantined=states[ReceiptState.QUARANTINED],
    )


def file_table(session: Session, association_id: UUID) -> list[dict[str, Any]]:
    """A row per file, for the Prefect UI: ids, rules, destinations and reasons, nothing of the patient."""
    table = []
    for receipt, deliveries in _by_receipt(_rows(session, association_id)):
        reasons = [receipt.reason] if receipt.reason else []
        reasons += [f"{item.destination}: {item.reason}" for item in deliveries if item.reason]
        table.append(
            {
                # What a person looks for first; UIDs are long and push the rest out of sight.
                "file": receipt.id.hex[:8],
                "state": str(receipt.state),
                "reason": "; ".join(reasons),
                "destinations": ", ".join(f"{item.destination} {item.state}" for item in deliveries) or "none",
                "rules": ", ".join(receipt.matched_rules) or "none matched",
                "modality": receipt.modality or "",
                "study": receipt.study_instance_uid or "",
                "instance": receipt.sop_instance_uid or "",
            }
        )
    return table
