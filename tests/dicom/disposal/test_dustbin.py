"""Out of the dustbin: restore, hold, sign-off, and deletion in two phases that keeps what it must."""

import errno
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pydicom
import pydicom.data
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from blocks.engine import session
from tasks.dicom import dustbin as tasks
from tasks.dicom.core import dustbin, dustbin_cleaning
from tasks.dicom.core.durable_files import NameTakenError
from tasks.dicom.core.dustbin import DamagedFileError, DustbinError
from tasks.dicom.core.tables import DeliveryState, ReceiptState
from tasks.dicom.disposal import dispose_file, dispose_files
from tests.dicom.disposal.conftest import Clock, Setting
from tests.dicom.disposal.gateway import DEAD, NOW, STUDY, VERIFIED, Gateway

DAY = timedelta(days=1)


@pytest.fixture
def binned(gateway: Gateway) -> UUID:
    """A delivered file in the dustbin."""
    key = gateway.receive(deliveries=VERIFIED)
    dispose_file.fn(key)
    return key


@pytest.fixture
def undelivered(gateway: Gateway, setting: Setting) -> UUID:
    """A file that a setting let into the dustbin though one delivery is dead."""
    setting("quarantine_on_partial_failure", False)
    setting("delete_on_partial_failure_if_modified", True)
    key = gateway.receive(deliveries=DEAD, modified=True)
    dispose_file.fn(key)
    assert gateway.receipt(key).state is ReceiptState.DISPOSED
    return key


def clean(dry_run: bool = False) -> dict[str, int]:
    counts = tasks.clean_dustbin.fn(dry_run=dry_run).counts()
    return {name: number for name, number in counts.items() if number}


def sweep(dry_run: bool = False) -> dict[str, int]:
    counts = tasks.sweep_dustbin.fn(dry_run=dry_run).counts()
    return {name: number for name, number in counts.items() if number}


def test_a_file_is_marked_and_a_day_later_deleted(gateway: Gateway, clock: Clock, binned: UUID) -> None:
    assert clean() == {}
    clock.now = NOW + 30 * DAY
    assert clean() == {"marked": 1}
    clock.now += DAY - timedelta(seconds=1)
    assert clean() == {}
    assert gateway.bytes_of(binned) == b"pixels"
    clock.now += timedelta(seconds=1)
    assert clean() == {"deleted": 1}
    assert gateway.files() == []
    assert gateway.entry(binned).deleted_at == clock.now
    assert clean() == sweep() == {}
    with pytest.raises(DustbinError, match="was deleted at"):
        tasks.restore_file(binned)


def test_a_dry_run_says_the_same_and_changes_nothing(gateway: Gateway, clock: Clock, binned: UUID) -> None:
    clock.now = NOW + 30 * DAY
    assert clean(dry_run=True) == {"marked": 1}
    assert gateway.entry(binned).marked_at is None
    clean()
    clock.now += DAY
    assert clean(dry_run=True) == {"deleted": 1}
    assert gateway.bytes_of(binned) == b"pixels"
    assert gateway.entry(binned).deleted_at is None


def test_no_time_between_the_phases_still_takes_two_runs(gateway: Gateway, clock: Clock, setting: Setting) -> None:
    setting("retention_days", 0)
    setting("mark_days", 0)
    dispose_file.fn(gateway.receive(deliveries=VERIFIED))
    assert clean() == {"marked": 1}
    assert clean() == {"deleted": 1}


def test_what_is_not_delivered_is_never_deleted(gateway: Gateway, clock: Clock, undelivered: UUID) -> None:
    for days in (31, 40, 4000):
        clock.now = NOW + days * DAY
        assert clean() == {"refused": 1}
    assert gateway.bytes_of(undelivered) == b"pixels"
    gateway.deliver(undelivered, viewer=DeliveryState.VERIFIED)
    assert clean() == {"marked": 1}


def test_a_signature_stands_in_for_a_dead_delivery(gateway: Gateway, clock: Clock, undelivered: UUID) -> None:
    with pytest.raises(DustbinError, match="needs a name"):
        tasks.sign_off_file(undelivered, "  ")
    assert tasks.sign_off_file(undelivered, "Dr. Who").signed_off_by == "Dr. Who"
    clock.now = NOW + 31 * DAY
    assert clean() == {"marked": 1}
    clock.now += DAY
    assert clean() == {"deleted": 1}


def test_a_signature_does_not_cover_a_replay_under_way(gateway: Gateway, clock: Clock, undelivered: UUID) -> None:
    tasks.sign_off_file(undelivered, "somebody")
    clock.now = NOW + 31 * DAY
    clean()
    gateway.deliver(undelivered, viewer=DeliveryState.PENDING)
    clock.now += DAY
    assert clean() == {"refused": 1}
    assert gateway.entry(undelivered).marked_at is None
    gateway.deliver(undelivered, viewer=DeliveryState.VERIFIED)
    assert clean() == {"marked": 1}


def test_a_file_that_others_are_sent_from_is_not_deleted(gateway: Gateway, clock: Clock, binned: UUID) -> None:
    sop = gateway.receipt(binned).sop_instance_uid
    other = gateway.receive(deliveries={"viewer": DeliveryState.RETRY}, sop=sop)
    assert gateway.output(other).path == gateway.receipt(binned).path
    clock.now = NOW + 31 * DAY
    assert clean() == {"refused": 1}


def test_a_hold_keeps_a_file_and_a_release_starts_the_marking_anew(
    gateway: Gateway, clock: Clock, binned: UUID
) -> None:
    clock.now = NOW + 31 * DAY
    clean()
    tasks.hold_file(binned, "case 42")
    clock.now += 100 * DAY
    assert clean() == {"held": 1}
    assert [receipt.id for _, receipt in tasks.list_dustbin(held=True)] == [binned]
    with pytest.raises(DustbinError, match="legal hold"):
        tasks.restore_file(binned)
    tasks.release_file(binned)
    assert clean() == {"marked": 1}
    with pytest.raises(DustbinError, match="not on legal hold"):
        tasks.release_file(binned)


@pytest.mark.parametrize("refuse", ["hold", "damage", "loss"])
def test_between_asking_and_deleting_everything_is_asked_again(
    gateway: Gateway, clock: Clock, binned: UUID, refuse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.now = NOW + 31 * DAY
    clean()
    clock.now += DAY
    read_back = dustbin_cleaning.read_back

    def meanwhile(home: Path, entry: Any) -> Any:
        if refuse == "hold":
            tasks.hold_file(binned, "just now")
        elif refuse == "damage":
            (home / entry.path).write_bytes(b"rotten")
        else:
            (home / entry.path).unlink()
        return read_back(home, entry)

    monkeypatch.setattr(dustbin_cleaning, "read_back", meanwhile)
    assert clean() == ({"held": 1} if refuse == "hold" else {"alarm": 1})
    assert gateway.entry(binned).deleted_at is None


def test_the_hash_is_of_the_data_set_of_a_real_instance(gateway: Gateway, clock: Clock) -> None:
    path = pydicom.data.get_testdata_file("CT_small.dcm")
    assert isinstance(path, str)
    whole = Path(path).read_bytes()
    instance = pydicom.dcmread(path)
    key = gateway.receive(whole, deliveries=VERIFIED, sop=instance.SOPInstanceUID)
    from tasks.dicom.core.header import content_sha256
    from tasks.dicom.core.tables import Receipt

    with session("dicom") as opened:
        receipt = opened.get_one(Receipt, key)
        receipt.content_sha256 = content_sha256(Path(path))
        opened.add(receipt)
    dispose_file.fn(key)
    clock.now = NOW + 31 * DAY
    clean()
    clock.now += DAY
    assert clean() == {"deleted": 1}


def test_pages_reach_every_entry(gateway: Gateway, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "PAGE", 2)
    keys = [gateway.receive(b"%d" % n, deliveries=VERIFIED, sop=f"1.2.{n}") for n in range(5)]
    dispose_files.fn(keys)
    tasks.hold_file(keys[0], "x")
    clock.now = NOW + 31 * DAY
    assert clean() == {"marked": 4, "held": 1}
    clock.now += DAY
    assert clean() == {"deleted": 4, "held": 1}


def test_restored_files_are_kept_until_a_person_does_more(gateway: Gateway, clock: Clock, binned: UUID) -> None:
    there = gateway.home / gateway.receipt(binned).path
    assert tasks.restore_file(binned) == f"spool/{binned}.dcm"
    assert (gateway.receipt(binned).state, gateway.bytes_of(binned)) == (ReceiptState.KEPT, b"pixels")
    assert gateway.output(binned).path == f"spool/{binned}.dcm"
    assert there.with_suffix(".json").exists()
    assert dispose_file.fn(binned).unchanged == 1
    clock.now = NOW + 4000 * DAY
    assert clean() == sweep() == {}
    with pytest.raises(DustbinError, match="was restored to spool"):
        tasks.restore_file(binned)


def test_a_restored_file_can_be_binned_again(gateway: Gateway, clock: Clock, binned: UUID) -> None:
    from tasks.dicom.quarantine import quarantine_file

    tasks.restore_file(binned)
    quarantine_file.fn(binned, "looked at")
    clock.now = NOW + DAY
    assert dispose_file.fn(binned).disposed == 1
    assert gateway.receipt(binned).path.startswith("dustbin/20260305/")
    assert (gateway.entry(binned).restored_at, gateway.entries()) == (None, 1)
    assert gateway.bytes_of(binned) == b"pixels"


def test_a_copy_is_handed_out_and_the_file_stays(gateway: Gateway, binned: UUID, tmp_path: Path) -> None:
    copy = tasks.copy_from_dustbin(binned, tmp_path / "copy.dcm")
    assert copy.read_bytes() == gateway.bytes_of(binned) == b"pixels"
    assert gateway.entry(binned).copied_at == NOW
    assert gateway.events(binned) == ["binned", "copied"]
    with pytest.raises(NameTakenError):
        tasks.copy_from_dustbin(binned, tmp_path / "copy.dcm")
    assert tasks.copy_from_dustbin(binned, tmp_path).name.endswith(".dcm")
    (gateway.home / gateway.receipt(binned).path).write_bytes(b"rotten")
    with pytest.raises(DamagedFileError, match="not what was put there"):
        tasks.copy_from_dustbin(binned, tmp_path / "other.dcm")
    assert not (tmp_path / "other.dcm").exists()


def test_a_copy_that_does_not_read_back_is_no_copy(
    gateway: Gateway, binned: UUID, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.dicom.core.durable_files.filecmp.cmp", lambda *_, **__: False)
    with pytest.raises(OSError, match="does not read back") as caught:
        tasks.copy_from_dustbin(binned, tmp_path / "copy.dcm")
    assert caught.value.errno == errno.EIO
    assert list(tmp_path.glob("*.dcm")) == list(tmp_path.glob(".*.part")) == []


@pytest.mark.parametrize(
    "call",
    [
        tasks.restore_file,
        tasks.release_file,
        lambda key: tasks.hold_file(key, "x"),
        lambda key: tasks.sign_off_file(key, "x"),
    ],
)
def test_what_is_not_in_the_dustbin_is_said_so(gateway: Gateway, call: Callable[[UUID], object]) -> None:
    with pytest.raises(DustbinError, match="has no file in the dustbin"):
        call(gateway.receive())
    with pytest.raises(LookupError, match="no receipt"):
        call(uuid4())


def test_the_sweep_finds_what_does_not_add_up(gateway: Gateway, clock: Clock, binned: UUID) -> None:
    lost = gateway.receive(b"lost", deliveries=VERIFIED)
    dispose_file.fn(lost)
    (gateway.home / gateway.receipt(lost).path).unlink()
    day = gateway.home / "dustbin/20260304"
    (day / "stray.dcm").write_bytes(b"stray")
    (day / ".old.dcm.1.part").write_bytes(b"half")
    os.utime(day / ".old.dcm.1.part", (0, 0))
    (day / ".new.dcm.1.part").write_bytes(b"half")
    os.utime(day / ".new.dcm.1.part", (NOW.timestamp(), NOW.timestamp()))
    found = {"alarm": 1, "orphan": 1, "leftover": 1}
    assert sweep(dry_run=True) == found
    assert (day / ".old.dcm.1.part").exists()
    assert sweep() == found
    assert sweep() == {"alarm": 1, "orphan": 1}
    assert (day / ".new.dcm.1.part").exists()
    assert (day / "stray.dcm").read_bytes() == b"stray"


def test_a_day_that_vanished_is_an_alarm(gateway: Gateway, binned: UUID) -> None:
    import shutil

    shutil.rmtree(gateway.home / "dustbin")
    assert sweep() == {"alarm": 1}


def test_what_a_killed_run_left_is_shown_and_ended(
    gateway: Gateway, binned: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    inward = gateway.receive(b"in", deliveries=VERIFIED)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dustbin, "finish", killed)
        patch.setattr(dustbin, "finish_restore", killed)
        for call in (lambda: dispose_file.fn(inward), lambda: tasks.restore_file(binned)):
            with pytest.raises(KeyboardInterrupt):
                call()
    assert sweep() == {"unfinished": 2}
    assert tasks.finish_dustbin_moves.fn() == 2
    assert sweep() == {}
    assert (gateway.receipt(inward).state, gateway.receipt(binned).state) == (ReceiptState.DISPOSED, ReceiptState.KEPT)


def test_the_room_is_told(gateway: Gateway, clock: Clock, binned: UUID) -> None:
    clock.now = NOW + 31 * DAY
    clean()
    room = tasks.dustbin_space()
    assert (room.files, room.taken, room.marked) == (1, 6, 6)
    assert 0 < room.free <= room.total


def test_the_list_shows_one_study(gateway: Gateway, binned: UUID) -> None:
    assert [receipt.id for _, receipt in tasks.list_dustbin(study_instance_uid=STUDY)] == [binned]
    assert tasks.list_dustbin(study_instance_uid="1.2.3") == []


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["dispose", "clean", "sweep", "hold", "release", "restore", "quarantine", "unquarantine"]),
        st.tuples(st.just("wait"), st.integers(1, 40)),
        st.tuples(st.just("deliver"), st.sampled_from(DeliveryState)),
    ),
    max_size=12,
)


@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=STEPS, first=st.sampled_from(DeliveryState))
def test_whatever_is_done_a_file_is_deleted_only_when_every_destination_holds_it(
    gateway: Gateway, clock: Clock, steps: list[Any], first: DeliveryState
) -> None:
    from tasks.dicom.core.quarantine import QuarantineError
    from tasks.dicom.quarantine import quarantine_file, release_from_quarantine

    clock.now = NOW
    content = uuid4().bytes
    key = gateway.receive(content, deliveries={"archive": first}, sop=f"1.2.{uuid4().int % 10**20 + 1}")
    state = first
    calls: dict[str, Callable[[], object]] = {
        "dispose": lambda: dispose_file.fn(key),
        "clean": lambda: tasks.clean_dustbin.fn(dry_run=False),
        "sweep": lambda: tasks.sweep_dustbin.fn(dry_run=False),
        "hold": lambda: tasks.hold_file(key, "x"),
        "release": lambda: tasks.release_file(key),
        "restore": lambda: tasks.restore_file(key),
        "quarantine": lambda: quarantine_file.fn(key, "x"),
        "unquarantine": lambda: release_from_quarantine(key),
    }
    for step in steps:
        if isinstance(step, str):
            try:
                calls[step]()
            except (DustbinError, QuarantineError):
                continue
        elif step[0] == "wait":
            clock.now += step[1] * DAY
        elif gateway.receipt(key).output_id is not None:
            state = step[1]
            gateway.deliver(key, archive=state)
        if not gateway.has_entry(key) or gateway.entry(key).deleted_at is None:
            assert gateway.bytes_of(key) == content
        else:
            assert gateway.entry(key).deleted_at is not None
            assert state is DeliveryState.VERIFIED
            return
