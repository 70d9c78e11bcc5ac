import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from blocks.folder import Folder, FolderClient
from blocks.instance_store import BusyError, Check, Held, Instance, RefusedError, SourceError, UnreachableError
from tests.dicom_peers import STUDY, make_instance


@pytest.fixture
def folder(tmp_path: Path) -> FolderClient:
    return Folder(path=tmp_path / "archive").get_client()


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    return make_instance(tmp_path / "spool")


def send(folder: FolderClient, *batch: Instance) -> None:
    for part in folder.plan(batch):
        with folder.open(part) as sender:
            for instance in part:
                sender.send(instance)


def files_in(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_an_instance_lies_under_study_uid_and_content(folder: FolderClient, instance: Instance) -> None:
    send(folder, instance)
    name = f"{STUDY}/{instance.sop_instance_uid}/{instance.content_sha256}.dcm"
    assert files_in(folder.root) == {name}
    assert (folder.root / name).read_bytes() == instance.path.read_bytes()
    assert folder.holds(instance)


def test_sending_twice_makes_one_file_that_is_not_written_again(folder: FolderClient, instance: Instance) -> None:
    send(folder, instance)
    (written,) = folder.root.rglob("*.dcm")
    before = written.stat().st_ino
    send(folder, instance)
    assert [path.stat().st_ino for path in folder.root.rglob("*.dcm")] == [before]


def test_one_uid_with_two_contents_makes_two_files(folder: FolderClient, instance: Instance, tmp_path: Path) -> None:
    other = make_instance(tmp_path / "spool", uid=instance.sop_instance_uid, fill=b"\x02")
    send(folder, instance, other)
    assert folder.holds(instance)
    assert folder.holds(other)
    assert len(files_in(folder.root)) == 2


def test_a_damaged_copy_is_not_held_and_sending_mends_it(folder: FolderClient, instance: Instance) -> None:
    send(folder, instance)
    (written,) = folder.root.rglob("*.dcm")
    written.write_bytes(written.read_bytes()[:-1] + b"\xff")
    assert [held for _, held in folder.check([instance], Check.READ_BACK)] == [Held.ABSENT]
    send(folder, instance)
    assert folder.holds(instance)


@pytest.mark.parametrize("uid", ["../../escape", "1.2/3", "", "1..2", ".", "1." * 40 + "1", "1.2\x00", "/etc"])
def test_a_uid_that_is_none_never_becomes_a_path(folder: FolderClient, instance: Instance, uid: str) -> None:
    broken = replace(instance, sop_instance_uid=uid)
    with pytest.raises(RefusedError, match="not a UID"):
        send(folder, broken)
    assert files_in(folder.root) == set()
    assert not folder.holds(broken)


@pytest.mark.parametrize("uid", ["../up", "a", "1.2/../.."])
def test_nor_does_a_study_uid(folder: FolderClient, instance: Instance, uid: str) -> None:
    with pytest.raises(RefusedError, match="Study"):
        send(folder, replace(instance, study_instance_uid=uid))
    assert files_in(folder.root) == set()


def test_a_link_below_the_folder_is_not_followed_out_of_it(
    folder: FolderClient, instance: Instance, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder.root.mkdir()
    (folder.root / STUDY).symlink_to(elsewhere)
    with pytest.raises(RefusedError, match="leads out"):
        send(folder, instance)
    assert files_in(elsewhere) == set()


def test_a_full_disk_is_for_now_and_leaves_nothing_half_written(
    folder: FolderClient, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        folder.root.mkdir()
        (folder.root / STUDY / instance.sop_instance_uid).mkdir(parents=True)
        patched.setattr(os, "fsync", full)
        with pytest.raises(BusyError, match="full"):
            send(folder, instance)
    assert files_in(folder.root) == set()
    send(folder, instance)
    assert folder.holds(instance)


def test_a_missing_source_is_the_sources_fault(folder: FolderClient, instance: Instance) -> None:
    instance.path.unlink()
    with pytest.raises(SourceError, match="cannot be read"):
        send(folder, instance)


def test_a_source_that_is_not_what_its_hash_says_is_not_delivered(folder: FolderClient, instance: Instance) -> None:
    instance.path.write_bytes(instance.path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(SourceError, match="content hash"):
        send(folder, instance)
    assert files_in(folder.root) == set()


def test_a_folder_that_cannot_be_made_is_unreachable(instance: Instance, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnreachableError, match="cannot be made"):
        send(Folder(path=tmp_path / "file" / "archive").get_client(), instance)
