"""`dispose_files` against a real ledger: what moves, under which name, and with which provenance."""

import errno
import json
import os
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from blocks.engine import session
from tasks.dicom.core.durable_files import OutsideHomeError, confined, uid_component
from tasks.dicom.core.dustbin import dustbin_path
from tasks.dicom.core.tables import Delivery, DeliveryState, Output, Receipt, ReceiptState
from tasks.dicom.disposal import DisposalError, dispose_file, dispose_files
from tests.dicom.disposal.conftest import Setting
from tests.dicom.disposal.gateway import DEAD, NOW, STUDY, VERIFIED, Gateway, sha256


def test_a_delivered_file_goes_to_the_dustbin_with_its_provenance(gateway: Gateway) -> None:
    key = gateway.receive(b"abc", deliveries=VERIFIED, sop="1.2.3")
    counts = dispose_file.fn(key)
    assert (counts.files, counts.disposed) == (1, 1)
    receipt = gateway.receipt(key)
    assert receipt.path == f"dustbin/20260304/{STUDY}/1.2.3/{sha256(b'abc')}.dcm"
    assert (receipt.state, receipt.disposed_at) == (ReceiptState.DISPOSED, NOW)
    assert gateway.bytes_of(key) == b"abc"
    assert gateway.files("spool") == []
    provenance = gateway.provenance(key)
    assert provenance["receipt_id"] == str(key)
    assert provenance["destinations_confirmed"] == [
        {"destination": "archive", "verified_at": NOW.isoformat(), "verified_by": "c_find"}
    ]
    assert provenance["retention_until"] == (NOW + timedelta(days=30)).isoformat()
    assert provenance["disposition"] == "processing complete: every delivery is verified"
    assert [event["from"] for event in provenance["history"]] == [f"spool/{key}.dcm"]
    assert gateway.output(key).path == receipt.path
    entry = gateway.entry(key)
    assert (entry.path, entry.size, entry.content_sha256) == (receipt.path, 3, sha256(b"abc"))


def test_a_batch_counts_every_fate_and_a_second_run_changes_nothing(gateway: Gateway) -> None:
    fates = {
        "disposed": gateway.receive(b"1", deliveries=VERIFIED),
        "quarantined": gateway.receive(b"22", deliveries=DEAD),
        "kept": gateway.receive(b"333", matched=False),
        "waiting": gateway.receive(b"4444", deliveries={"archive": DeliveryState.RETRY}),
    }
    counts = dispose_files.fn(list(fates.values()))
    assert counts.model_dump() == {
        "files": 4,
        "disposed": 1,
        "quarantined": 1,
        "kept": 1,
        "waiting": 1,
        "unchanged": 0,
        "lost": 0,
        "staged_removed": 0,
    }
    before = gateway.files()
    again = dispose_files.fn([*fates.values(), fates["kept"]])
    assert (again.unchanged, again.waiting) == (3, 1)
    assert gateway.files() == before
    assert gateway.contents() == [b"1", b"22", b"333", b"4444"]
    assert gateway.receipt(fates["quarantined"]).reason == "not delivered: viewer"
    assert gateway.receipt(fates["kept"]).path.startswith("spool/")


def test_a_large_batch_moves_at_once(gateway: Gateway) -> None:
    keys = [gateway.receive(bytes([n]) * 10, deliveries=VERIFIED, sop=f"1.2.{n}") for n in range(40)]
    assert dispose_files.fn(keys).disposed == 40
    assert {gateway.bytes_of(key) for key in keys} == {bytes([n]) * 10 for n in range(40)}
    assert len(gateway.files("dustbin")) == 80


def test_settings_decide_about_unmatched_files(gateway: Gateway, setting: Setting) -> None:
    setting("delete_unmatched_files", True)
    key = gateway.receive(matched=False)
    dispose_file.fn(key)
    assert gateway.receipt(key).state is ReceiptState.DISPOSED


def test_an_unknown_receipt_changes_nothing(gateway: Gateway) -> None:
    key = gateway.receive(deliveries=VERIFIED)
    with pytest.raises(LookupError, match="no receipt"):
        dispose_files.fn([key, uuid4()])
    assert gateway.receipt(key).state is ReceiptState.EVALUATED
    assert gateway.files("spool") == [f"spool/{key}.dcm"]


def test_the_same_uid_with_other_content_coexists(gateway: Gateway) -> None:
    keys = [gateway.receive(content, deliveries=VERIFIED, sop="1.2.3") for content in (b"one", b"two", b"six")]
    dispose_files.fn(keys)
    assert [gateway.bytes_of(key) for key in keys] == [b"one", b"two", b"six"]


@pytest.mark.parametrize("together", [True, False])
def test_the_same_content_twice_has_two_entries_and_two_files(gateway: Gateway, together: bool) -> None:
    keys = [gateway.receive(b"same", deliveries=VERIFIED, sop="1.2.3") for _ in range(3)]
    for batch in [keys] if together else [[key] for key in keys]:
        dispose_files.fn(batch)
    paths = {gateway.receipt(key).path for key in keys}
    assert len(paths) == 3
    assert {gateway.entry(key).path for key in keys} == paths
    assert gateway.contents() == [b"same"] * 3


def test_another_receipt_with_the_same_content_stands_in_for_what_is_still_to_be_sent(gateway: Gateway) -> None:
    first = gateway.receive(b"same", deliveries=VERIFIED, sop="1.2.3")
    second = gateway.receive(b"same", deliveries={"viewer": DeliveryState.RETRY}, sop="1.2.3")
    assert gateway.output(first).path == f"spool/{first}.dcm"
    dispose_files.fn([first, second])
    assert gateway.receipt(first).state is ReceiptState.DISPOSED
    assert gateway.output(second).path == f"spool/{second}.dcm"
    gateway.deliver(second, viewer=DeliveryState.VERIFIED)
    dispose_files.fn([second])
    assert (gateway.home / gateway.output(second).path).read_bytes() == b"same"


@pytest.mark.parametrize(
    "uid",
    [
        "../../../etc/passwd",
        "..",
        ".",
        "/etc",
        "1.2/../../3",
        "1.2\x00",
        "1." * 60,
        "1..2",
        "١.٢",
        "\ud800",
        "a b",
        "1.2\n",
    ],
)
def test_hostile_uids_stay_in_the_dustbin(tmp_path: Path, uid: str) -> None:
    receipt = Receipt(association_id=uuid4(), path="x", size=1, content_sha256="0" * 64)
    receipt.study_instance_uid = receipt.sop_instance_uid = uid
    path = dustbin_path(receipt, NOW)
    assert len(path.split("/")) == 5
    assert path.split("/")[2].startswith("invalid-")
    assert confined(tmp_path, path).is_relative_to(tmp_path / "dustbin")


def test_a_file_with_hostile_uids_is_disposed_of(gateway: Gateway) -> None:
    key = gateway.receive(b"x", deliveries=VERIFIED, sop="../../../../x", study=None)
    dispose_file.fn(key)
    assert gateway.receipt(key).path.split("/")[2] == "no-uid"
    assert gateway.bytes_of(key) == b"x"
    assert uid_component("1.2.840.10008.1.2") == "1.2.840.10008.1.2"


@pytest.mark.parametrize("path", ["/etc/passwd", "spool", "spool/../../x", "elsewhere/x", "", "dicom.db"])
def test_paths_that_lead_out_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(OutsideHomeError):
        confined(tmp_path, path)


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dustbin").mkdir()
    (tmp_path / "dustbin" / "20260304").symlink_to(tmp_path)
    with pytest.raises(OutsideHomeError):
        confined(tmp_path, "dustbin/20260304/1/2/3.dcm")


def test_a_dustbin_on_another_disk_by_a_link_is_allowed(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (gateway.home / "dustbin").symlink_to(tmp_path / "disk")
    key = gateway.receive(b"x", deliveries=VERIFIED)
    dispose_file.fn(key)
    assert gateway.bytes_of(key) == b"x"


def test_a_stray_file_is_not_overwritten(gateway: Gateway) -> None:
    key = gateway.receive(b"x", deliveries=VERIFIED, sop="1.2.3")
    stray = gateway.home / dustbin_path(gateway.receipt(key), NOW)
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"somebody else's")
    dispose_file.fn(key)
    assert stray.read_bytes() == b"somebody else's"
    assert gateway.bytes_of(key) == b"x"


def test_a_lost_file_is_said_to_be_lost(gateway: Gateway) -> None:
    key, other = gateway.receive(b"x", deliveries=VERIFIED), gateway.receive(b"yy", deliveries=VERIFIED)
    (gateway.home / gateway.receipt(key).path).unlink()
    counts = dispose_files.fn([key, other])
    assert (counts.lost, counts.disposed) == (1, 1)
    receipt = gateway.receipt(key)
    assert receipt.state is ReceiptState.QUARANTINED
    assert receipt.reason is not None
    assert "neither" in receipt.reason
    assert gateway.entries() == 1


def test_a_disk_that_refuses_one_file_does_not_stop_the_rest(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    key, other = gateway.receive(b"x", deliveries=VERIFIED), gateway.receive(b"yy", deliveries=VERIFIED)
    rename = os.rename

    def full(source: Path, target: Path) -> None:
        if str(key) in str(source):
            raise OSError(errno.ENOSPC, "No space left on device")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full)
        with pytest.raises(DisposalError, match=f"1 of 2 .* receipt {key}: .*No space left"):
            dispose_files.fn([key, other])
    assert gateway.receipt(other).state is ReceiptState.DISPOSED
    assert gateway.bytes_of(key) == b"x"
    assert dispose_files.fn([key, other]).disposed == 1
    assert gateway.receipt(key).state is ReceiptState.DISPOSED


def test_a_plan_is_carried_out_whatever_happened_since(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    key = gateway.receive(b"x", deliveries=VERIFIED)
    with monkeypatch.context() as patch:
        patch.setattr("tasks.dicom.disposal.carry_out", lambda home, move: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            dispose_file.fn(key)
    gateway.deliver(key, archive=DeliveryState.RETRY)
    assert dispose_file.fn(key).disposed == 1


@pytest.mark.parametrize("state", [DeliveryState.VERIFIED, DeliveryState.DEAD, DeliveryState.RETRY])
def test_a_staged_copy_lives_until_every_delivery_is_verified(gateway: Gateway, state: DeliveryState) -> None:
    states = {"archive": DeliveryState.VERIFIED, "viewer": state}
    key = gateway.receive(b"x", deliveries=states, modified=True)
    counts = dispose_file.fn(key)
    gone = state is DeliveryState.VERIFIED
    assert counts.staged_removed == gone
    assert gateway.files("staging") == ([] if gone else [f"staging/{key}.dcm"])
    gateway.deliver(key, viewer=DeliveryState.VERIFIED)
    dispose_file.fn(key)
    assert gateway.files("staging") == []
    assert gateway.receipt(key).state is ReceiptState.DISPOSED


def test_a_replayed_file_leaves_quarantine_for_the_dustbin(gateway: Gateway) -> None:
    key = gateway.receive(b"x", deliveries=DEAD)
    dispose_file.fn(key)
    assert gateway.output(key).path == gateway.receipt(key).path == f"quarantine/20260304/{key}.dcm"
    gateway.deliver(key, viewer=DeliveryState.VERIFIED)
    assert dispose_file.fn(key).disposed == 1
    assert gateway.events(key) == ["quarantined", "binned"]
    assert gateway.files("quarantine") == []


def test_files_that_are_not_ours_stay(gateway: Gateway, tmp_path: Path) -> None:
    key = gateway.receive(b"x", deliveries=VERIFIED)
    there = tmp_path / "theirs.dcm"
    there.write_bytes(b"x")
    with session("dicom") as opened:
        receipt = opened.get_one(Receipt, key)
        receipt.path = str(there)
        opened.add(receipt)
    assert dispose_file.fn(key).kept == 1
    assert there.exists()


@pytest.fixture
def other_disk(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The dustbin on another file system: a real tmpfs where we may mount one, else renames that say so."""
    dustbin = gateway.home / "dustbin"
    dustbin.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "quintet-test", dustbin], capture_output=True, check=False
        ).returncode
    )
    if mounted:
        yield "tmpfs"
        subprocess.run(["umount", dustbin], check=True)
        return
    rename = os.rename

    def across(source: Path, target: Path) -> None:
        if str(source).startswith(str(dustbin)) != str(target).startswith(str(dustbin)):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        rename(source, target)

    monkeypatch.setattr(os, "rename", across)
    yield "simulated"


def test_a_move_to_another_disk_is_a_verified_copy(gateway: Gateway, other_disk: str) -> None:
    keys = [gateway.receive(b"x" * 5000, deliveries=VERIFIED, sop="1.2.3") for _ in range(2)]
    dispose_files.fn(keys)
    assert [gateway.bytes_of(key) for key in keys] == [b"x" * 5000] * 2
    assert gateway.files("spool") == []
    assert not [path for path in gateway.files() if path.endswith(".part")]


def test_a_full_other_disk_loses_nothing_and_leaves_nothing(
    gateway: Gateway, other_disk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if other_disk == "simulated":

        def full(source: Path, target: Path) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "link", full)
    key = gateway.receive(b"x" * 3_000_000, deliveries=VERIFIED)
    with pytest.raises(DisposalError, match="No space left"):
        dispose_file.fn(key)
    assert gateway.bytes_of(key) == b"x" * 3_000_000
    assert [path for path in gateway.files("dustbin") if not path.endswith(".json")] == []


def test_provenance_names_nobody(gateway: Gateway) -> None:
    key = gateway.receive(b"PatientName DOE^JANE", deliveries=VERIFIED)
    dispose_file.fn(key)
    assert "DOE" not in json.dumps(gateway.provenance(key))


def test_only_an_outputs_own_deliveries_count(gateway: Gateway) -> None:
    key = gateway.receive(b"x", deliveries=VERIFIED)
    with session("dicom") as opened:
        output = opened.get_one(Output, gateway.receipt(key).output_id)
        opened.add(
            Delivery(
                output_id=output.id,
                destination="research",
                sop_instance_uid=output.sop_instance_uid,
                content_sha256=output.content_sha256,
                state=DeliveryState.DEAD,
            )
        )
    assert dispose_file.fn(key).disposed == 1
