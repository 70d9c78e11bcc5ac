"""Into quarantine and out of it: nothing is lost on the way."""

from uuid import uuid4

import pytest

from blocks.engine import session
from tasks.dicom.core.quarantine import QuarantineError, quarantine_receipt
from tasks.dicom.core.tables import Association, AssociationState, DeliveryState, ReceiptState
from tasks.dicom.disposal import dispose_file
from tasks.dicom.dustbin import restore_file
from tasks.dicom.quarantine import list_quarantine, quarantine_file, release_from_quarantine
from tests.dicom.disposal.gateway import DEAD, NOW, STUDY, VERIFIED, Gateway


def test_a_broken_file_is_kept_with_its_reason(gateway: Gateway) -> None:
    key = gateway.receive(b"not DICOM", state=ReceiptState.RECEIVED, study=None)
    assert quarantine_file.fn(key, "the file meta information is broken")
    receipt = gateway.receipt(key)
    assert (receipt.state, receipt.reason) == (ReceiptState.QUARANTINED, "the file meta information is broken")
    assert receipt.path == f"quarantine/20260304/{key}.dcm"
    assert gateway.bytes_of(key) == b"not DICOM"
    provenance = gateway.provenance(key)
    assert provenance["reason"] == "the file meta information is broken"
    assert provenance["quarantined_at"] == NOW.isoformat()
    assert gateway.files("spool") == []


def test_quarantining_again_changes_nothing(gateway: Gateway) -> None:
    key = gateway.receive()
    quarantine_file.fn(key, "first reason")
    quarantine_file.fn(key, "second reason")
    assert gateway.receipt(key).reason == "first reason"
    assert gateway.events(key) == ["quarantined"]


def test_what_is_in_the_dustbin_is_not_quarantined(gateway: Gateway) -> None:
    key = gateway.receive(deliveries=VERIFIED)
    dispose_file.fn(key)
    with pytest.raises(QuarantineError, match="restore it first"):
        quarantine_file.fn(key, "second thoughts")
    restore_file(key)
    quarantine_file.fn(key, "second thoughts")
    assert gateway.bytes_of(key) == b"pixels"


def test_a_lost_file_is_said_to_be_lost(gateway: Gateway) -> None:
    key = gateway.receive()
    (gateway.home / gateway.receipt(key).path).unlink()
    assert not quarantine_file.fn(key, "cannot be read")
    reason = gateway.receipt(key).reason
    assert gateway.receipt(key).state is ReceiptState.QUARANTINED
    assert reason is not None
    assert reason.startswith("cannot be read; ")
    assert gateway.files() == []


def test_an_unknown_receipt_is_an_error(gateway: Gateway) -> None:
    with pytest.raises(LookupError, match="no receipt"):
        quarantine_file.fn(uuid4(), "why not")


def test_a_long_reason_is_cut_in_the_ledger_and_whole_in_the_provenance(gateway: Gateway) -> None:
    key = gateway.receive()
    quarantine_file.fn(key, "x" * 5000)
    assert gateway.receipt(key).reason == "x" * 2000
    assert gateway.provenance(key)["reason"] == "x" * 5000


def test_a_move_without_its_commit_is_found_again(gateway: Gateway) -> None:
    key = gateway.receive(deliveries=DEAD)
    with pytest.raises(KeyboardInterrupt), session("dicom") as opened:
        quarantine_receipt(opened, key, "cannot be parsed", home=gateway.home, now=NOW)
        raise KeyboardInterrupt
    assert gateway.receipt(key).state is ReceiptState.EVALUATED
    assert dispose_file.fn(key).quarantined == 1
    assert gateway.receipt(key).reason == "cannot be parsed"
    assert gateway.bytes_of(key) == b"pixels"


def test_a_released_file_goes_through_the_rules_again(gateway: Gateway) -> None:
    key = gateway.receive(deliveries=DEAD)
    before = gateway.receipt(key).association_id
    dispose_file.fn(key)
    released = release_from_quarantine(key)
    receipt = gateway.receipt(key)
    assert (receipt.state, receipt.path, receipt.reason) == (ReceiptState.RECEIVED, f"spool/{key}.dcm", None)
    assert (receipt.destinations, receipt.output_id, receipt.matched_rules) == ([], None, [])
    assert gateway.bytes_of(key) == b"pixels"
    assert released.association_id == receipt.association_id != before
    with session("dicom", read_only=True) as opened:
        association = opened.get_one(Association, receipt.association_id)
    assert (association.state, association.ended_by, association.closed_at) == (
        AssociationState.READY,
        "submitted",
        NOW,
    )
    with pytest.raises(QuarantineError, match="not in quarantine"):
        release_from_quarantine(key)


def test_an_output_follows_its_file_out_of_quarantine(gateway: Gateway) -> None:
    key = gateway.receive(deliveries=DEAD)
    output = gateway.output(key)
    dispose_file.fn(key)
    release_from_quarantine(key)
    with session("dicom", read_only=True) as opened:
        assert opened.get_one(type(output), output.id).path == f"spool/{key}.dcm"


def test_a_release_counts_the_conflicts_that_stay(gateway: Gateway) -> None:
    key = gateway.receive(deliveries={"archive": DeliveryState.CONFLICT, "viewer": DeliveryState.DEAD})
    dispose_file.fn(key)
    assert release_from_quarantine(key).conflicts == 1


def test_the_history_survives_every_round(gateway: Gateway) -> None:
    key = gateway.receive()
    for reason in ("first", "second"):
        quarantine_file.fn(key, reason)
        release_from_quarantine(key)
    quarantine_file.fn(key, "third")
    assert gateway.events(key) == ["quarantined", "released", "quarantined", "released", "quarantined"]
    assert gateway.contents() == [b"pixels"]


def test_the_list_shows_what_is_there(gateway: Gateway) -> None:
    key, other = gateway.receive(b"1"), gateway.receive(b"22", study="1.2.3")
    quarantine_file.fn(key, "why")
    quarantine_file.fn(other, "why")
    assert {receipt.id for receipt in list_quarantine()} == {key, other}
    assert [receipt.id for receipt in list_quarantine(study_instance_uid=STUDY)] == [key]
    assert len(list_quarantine(limit=1)) == 1
