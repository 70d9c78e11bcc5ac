"""What the ledger says is left to do, counted per association."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from sqlmodel import select

from blocks.engine import session
from tasks.dicom.core.quarantine import record_loss
from tasks.dicom.core.summary import file_table, standing, summarise
from tasks.dicom.core.tables import (
    Association,
    AssociationState,
    Delivery,
    DeliveryState,
    Output,
    Receipt,
    ReceiptState,
    SourceType,
)

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def association() -> UUID:
    with session("dicom") as opened:
        row = Association(source_type=SourceType.DIMSE_LISTENER, state=AssociationState.PROCESSING)
        opened.add(row)
        opened.flush()
        return row.id


def receipt(
    association_id: UUID, state: ReceiptState, output_id: UUID | None = None, destinations: tuple[str, ...] = ()
) -> UUID:
    with session("dicom") as opened:
        row = Receipt(
            association_id=association_id,
            path=f"spool/{uuid4()}.dcm",
            size=1,
            content_sha256="0" * 64,
            state=state,
            output_id=output_id,
            destinations=list(destinations),
        )
        opened.add(row)
        opened.flush()
        return row.id


def output(**states: DeliveryState) -> UUID:
    with session("dicom") as opened:
        row = Output(
            path="spool/x", content_sha256=uuid4().hex, sop_class_uid="1.2", sop_instance_uid="1.3",
            transfer_syntax_uid="1.2.840.10008.1.2.1", size=1,
        )  # fmt: skip
        opened.add(row)
        opened.flush()
        for destination, state in states.items():
            opened.add(
                Delivery(
                    output_id=row.id,
                    destination=destination,
                    sop_instance_uid=row.sop_instance_uid,
                    content_sha256=row.content_sha256,
                    state=state,
                    due_at=NOW,
                )
            )
        return row.id


def test_every_file_is_in_exactly_one_pile(ledger: str) -> None:
    batch = association()
    receipt(batch, ReceiptState.RECEIVED)
    open_output = output(archive=DeliveryState.RETRY, shelf=DeliveryState.VERIFIED)
    receipt(batch, ReceiptState.EVALUATED, open_output, ("archive", "shelf"))
    settled = receipt(
        batch,
        ReceiptState.EVALUATED,
        output(archive=DeliveryState.VERIFIED, shelf=DeliveryState.DEAD),
        ("archive", "shelf"),
    )
    nowhere = receipt(batch, ReceiptState.EVALUATED)
    receipt(batch, ReceiptState.QUARANTINED)
    receipt(association(), ReceiptState.RECEIVED)
    with session("dicom", read_only=True) as opened:
        left = standing(opened, batch)
        counts = summarise(opened, batch)
    assert len(left.unevaluated) == 1
    assert set(left.disposable) == {settled, nowhere}
    assert list(left.due(NOW)) == ["archive"] and left.due(NOW - timedelta(seconds=1)) == {}
    assert left.next_due() == NOW and not left.done
    assert (counts.files, counts.waiting, counts.quarantined) == (5, 4, 1)
    assert (counts.deliveries, counts.verified, counts.dead) == (4, 2, 1)


def test_two_files_of_the_same_content_share_a_delivery(ledger: str) -> None:
    batch, shared = association(), output(archive=DeliveryState.PENDING)
    receipt(batch, ReceiptState.EVALUATED, shared, ("archive",))
    receipt(batch, ReceiptState.EVALUATED, shared, ("archive",))
    with session("dicom", read_only=True) as opened:
        left, counts = standing(opened, batch), summarise(opened, batch)
    assert len(left.due(NOW)["archive"]) == 1, "sent once"
    assert counts.deliveries == 2, "counted for both"


def test_a_delivery_that_the_rules_no_longer_ask_for_holds_nothing_up(ledger: str) -> None:
    batch = association()
    done = receipt(
        batch,
        ReceiptState.EVALUATED,
        output(old=DeliveryState.PENDING, archive=DeliveryState.VERIFIED),
        ("archive",),
    )
    with session("dicom", read_only=True) as opened:
        assert standing(opened, batch).disposable == [done]


def test_a_delivery_held_by_another_run_is_due_when_its_claim_ends(ledger: str) -> None:
    batch, shared = association(), output(archive=DeliveryState.SENDING)
    receipt(batch, ReceiptState.EVALUATED, shared, ("archive",))
    until = NOW + timedelta(minutes=2)
    with session("dicom") as opened:
        row = opened.exec(select(Delivery)).one()
        row.lease_owner, row.lease_until = "other", until
        opened.add(row)
    with session("dicom", read_only=True) as opened:
        left = standing(opened, batch)
    assert left.due(NOW) == {} and left.next_due() == until


def test_the_table_has_a_row_per_file_and_no_names(ledger: str) -> None:
    batch = association()
    receipt(batch, ReceiptState.EVALUATED, output(archive=DeliveryState.VERIFIED), ("archive",))
    with session("dicom", read_only=True) as opened:
        rows = file_table(opened, batch)
    assert [row["destinations"] for row in rows] == ["archive VERIFIED"]
    assert set(rows[0]) == {"file", "modality", "study", "instance", "rules", "destinations", "state", "reason"}


def test_a_lost_file_whose_content_was_delivered_waits_for_a_person_and_not_for_a_run(ledger: str) -> None:
    batch = association()
    lost = receipt(batch, ReceiptState.EVALUATED, output(shelf=DeliveryState.VERIFIED), ("shelf",))
    with session("dicom", read_only=True) as opened:
        assert standing(opened, batch).disposable == [lost]
    with session("dicom") as opened:
        record_loss(opened, lost, "the file is nowhere", now=NOW)
    with session("dicom", read_only=True) as opened:
        assert standing(opened, batch).done
