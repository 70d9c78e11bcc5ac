"""Durable receipt: what `commit` promises, and what is left when it cannot be kept."""

import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy
from pydicom.data import get_testdata_file
from sqlmodel import Session, select

from blocks.engine import session
from blocks.settings import settings
from tasks.dicom.core.adoption import adopt_file
from tasks.dicom.core.arrivals import Arrival, Batch, Origin
from tasks.dicom.core.header import content_sha256
from tasks.dicom.core.identity import Identity, read_file_identity
from tasks.dicom.core.receiving import Committer
from tasks.dicom.core.reconcile import reconcile
from tasks.dicom.core.spool import (
    LedgerWriteError,
    Part,
    ReceiverClosedError,
    Spool,
    SpoolError,
    StorageFullError,
)
from tasks.dicom.core.tables import Association, AssociationState, Receipt, ReceiptState, SourceType


def begin() -> AbstractContextManager[Session]:
    return session("dicom")


@pytest.fixture
def spool(ledger: str) -> Iterator[Spool]:
    opened = Spool(settings().domain_home("dicom"))
    yield opened
    opened.close()


@pytest.fixture
def committer(spool: Spool) -> Iterator[Committer]:
    running = Committer(spool, begin, owner="test")
    yield running
    running.close()


def batch() -> Batch:
    return Batch(Origin(SourceType.DIMSE_LISTENER, "QUINTET", "MODALITY", "QUINTET", "127.0.0.1"))


def arrival(spool: Spool, into: Batch, content: bytes = b"data set", uid: str = "1.2.3") -> Arrival:
    part = spool.create()
    part.write(b"\0" * 128 + b"DICM")
    part.write_data_set(content)
    return Arrival(into, part, Identity(sop_class_uid="1.2", sop_instance_uid=uid))


def rows() -> tuple[list[Association], list[Receipt]]:
    with session("dicom", read_only=True) as opened:
        return list(opened.exec(select(Association)).all()), list(opened.exec(select(Receipt)).all())


def names(spool: Spool) -> list[str]:
    return sorted(path.name for path in spool.folder.iterdir())


def test_a_committed_arrival_has_its_file_and_its_row(spool: Spool, committer: Committer) -> None:
    into = batch()
    stored = committer.commit(arrival(spool, into))
    (association,), (receipt,) = rows()
    assert receipt.id == stored.receipt_id
    assert receipt.path == f"spool/{stored.receipt_id}.dcm"
    assert receipt.content_sha256 == hashlib.sha256(b"data set").hexdigest()
    assert receipt.size == (spool.home / receipt.path).stat().st_size == 140
    assert (receipt.state, receipt.destinations, receipt.modified) == (ReceiptState.RECEIVED, [], False)
    assert association.id == stored.association_id == receipt.association_id
    assert association.state is AssociationState.OPEN
    assert (association.calling_ae, association.source_ip, association.opened_by) == ("MODALITY", "127.0.0.1", "test")
    assert association.last_received_at == receipt.received_at


def test_a_batch_without_instances_leaves_no_row(committer: Committer) -> None:
    committer.end(batch(), "released")
    committer.close()
    assert rows() == ([], [])


def test_ending_a_batch_makes_it_ready_and_the_next_instance_starts_another(spool: Spool) -> None:
    told = threading.Event()
    committer = Committer(spool, begin, owner="test", on_ready=told.set)
    into = batch()
    first = committer.commit(arrival(spool, into))
    committer.end(into, "quiet")
    assert told.wait(10)
    second = committer.commit(arrival(spool, into))
    committer.end(into, "released")
    committer.close()
    assert first.association_id != second.association_id
    found = {row.id: (row.state, row.ended_by) for row in rows()[0]}
    assert found == {
        first.association_id: (AssociationState.READY, "quiet"),
        second.association_id: (AssociationState.READY, "released"),
    }


def test_a_batch_that_somebody_else_closed_is_never_added_to(spool: Spool, committer: Committer) -> None:
    into = batch()
    first = committer.commit(arrival(spool, into))
    with session("dicom") as opened:
        row = opened.get_one(Association, first.association_id)
        row.state = AssociationState.PROCESSING
    second = committer.commit(arrival(spool, into))
    assert second.association_id != first.association_id
    assert {row.id: row.state for row in rows()[0]}[second.association_id] is AssociationState.OPEN


def test_many_threads_share_transactions_and_each_gets_its_own_answer(spool: Spool) -> None:
    gate = threading.Event()
    calls = []

    @contextmanager
    def slow() -> Iterator[Session]:
        calls.append(1)
        assert gate.wait(30)
        with session("dicom") as opened:
            yield opened

    committer = Committer(spool, slow, owner="test")
    into = batch()
    outcomes = [committer.submit(arrival(spool, into, uid=f"1.{number}")) for number in range(40)]
    gate.set()
    stored = {outcome.result(30).receipt_id for outcome in outcomes}
    committer.close()
    assert len(stored) == 40
    assert {row.id for row in rows()[1]} == stored
    # The first transaction took what was there when it began, the second all the rest.
    assert len(calls) <= 3


def test_a_failing_ledger_fails_the_receipt_and_leaves_no_file(spool: Spool) -> None:
    def broken() -> AbstractContextManager[Session]:
        raise ConnectionError("no ledger")

    committer = Committer(spool, broken, owner="test")
    with pytest.raises(LedgerWriteError):
        committer.commit(arrival(spool, batch()))
    committer.close()
    assert names(spool) == []
    assert rows() == ([], [])


def test_a_commit_that_fails_and_did_not_happen_leaves_no_file(spool: Spool) -> None:
    failures = iter([True])

    @contextmanager
    def failing_once() -> Iterator[Session]:
        with session("dicom") as opened:
            yield opened
            if next(failures, False):
                raise OSError(errno.EIO, "commit failed")

    committer = Committer(spool, failing_once, owner="test")
    into = batch()
    with pytest.raises(LedgerWriteError):
        committer.commit(arrival(spool, into))
    assert names(spool) == []
    stored = committer.commit(arrival(spool, into))
    committer.close()
    assert names(spool) == [f"{stored.receipt_id}.dcm"]


def test_a_commit_that_fails_but_did_happen_counts(spool: Spool) -> None:
    failures = iter([True])

    @contextmanager
    def lost_answer() -> Iterator[Session]:
        with session("dicom") as opened:
            yield opened
        if next(failures, False):
            raise ConnectionResetError("the answer to COMMIT was lost")

    committer = Committer(spool, lost_answer, owner="test")
    into = batch()
    stored = [committer.commit(arrival(spool, into)) for _ in range(2)]
    committer.close()
    assert {row.id for row in rows()[1]} == {each.receipt_id for each in stored}
    assert len(rows()[0]) == 1


@pytest.mark.parametrize("happened", [True, False])
def test_a_commit_of_unknown_fate_keeps_the_file_unacknowledged(spool: Spool, happened: bool) -> None:
    moods = iter(["lost answer", "gone"])

    @contextmanager
    def vanishing() -> Iterator[Session]:
        mood = next(moods, "well")
        if mood == "gone":
            raise ConnectionError("the ledger is gone")
        with session("dicom") as opened:
            yield opened
            if mood == "lost answer" and not happened:
                raise ConnectionResetError("COMMIT was lost")
        if mood == "lost answer":
            raise ConnectionResetError("the answer to COMMIT was lost")

    committer = Committer(spool, vanishing, owner="test")
    into = batch()
    with pytest.raises(LedgerWriteError):
        committer.commit(arrival(spool, into))
    assert len(names(spool)) == 1
    stored = committer.commit(arrival(spool, into))
    committer.end(into, "released")
    committer.close()
    assert {row.state for row in rows()[0]} == {AssociationState.READY}
    assert len(rows()[1]) == (2 if happened else 1)
    adopted = reconcile(spool.home, begin, now=datetime.now(UTC)).adopted
    assert len(adopted) == (0 if happened else 1)
    assert stored.receipt_id not in adopted
    assert names(spool) == sorted(f"{row.id}.dcm" for row in rows()[1])


def test_one_bad_row_does_not_fail_the_others(spool: Spool) -> None:
    gate = threading.Event()

    @contextmanager
    def gated() -> Iterator[Session]:
        assert gate.wait(30)
        with session("dicom") as opened:
            yield opened

    committer = Committer(spool, gated, owner="test")
    into = batch()
    gate.set()
    earlier = committer.commit(arrival(spool, into)).receipt_id
    gate.clear()
    first = committer.submit(arrival(spool, into))
    good = committer.submit(arrival(spool, into))
    twin = arrival(spool, into)
    twin.part.id = earlier
    bad = committer.submit(twin)
    gate.set()
    assert first.result(30) and good.result(30)
    with pytest.raises(LedgerWriteError):
        bad.result(30)
    committer.close()
    assert sorted(names(spool)) == sorted(f"{row.id}.dcm" for row in rows()[1])
    assert len(rows()[1]) == 3


def test_a_full_ledger_is_a_full_storage(spool: Spool) -> None:
    class FullError(Exception):
        sqlite_errorname = "SQLITE_FULL"

    def full() -> AbstractContextManager[Session]:
        raise sqlalchemy.exc.OperationalError("INSERT", {}, FullError())

    committer = Committer(spool, full, owner="test")
    with pytest.raises(StorageFullError):
        committer.commit(arrival(spool, batch()))
    committer.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_its_own_error(spool: Spool, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    part = spool.create()

    def refuse(_descriptor: int, _data: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(StorageFullError):
        part.write_data_set(b"x")
    part.discard()
    assert names(spool) == []


def test_a_disk_error_in_one_file_fails_that_one_only(
    spool: Spool, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    into = batch()
    bad, good = arrival(spool, into), arrival(spool, into)
    real = Part.publish

    def publish(part: Part) -> None:
        if part is bad.part:
            raise SpoolError("input/output error")
        real(part)

    monkeypatch.setattr(Part, "publish", publish)
    outcomes = [committer.submit(each) for each in (bad, good)]
    with pytest.raises(SpoolError):
        outcomes[0].result(30)
    stored = outcomes[1].result(30)
    assert names(spool) == [f"{stored.receipt_id}.dcm"]


def test_a_failing_directory_sync_acknowledges_nothing(
    spool: Spool, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise SpoolError("input/output error")

    monkeypatch.setattr(spool, "sync", refuse)
    with pytest.raises(SpoolError):
        committer.commit(arrival(spool, batch()))
    assert names(spool) == []
    assert rows() == ([], [])


def test_a_closed_committer_takes_nothing(spool: Spool, committer: Committer) -> None:
    committer.close()
    with pytest.raises(ReceiverClosedError):
        committer.commit(arrival(spool, batch()))
    assert names(spool) == []


def test_ending_is_tried_until_the_ledger_answers(spool: Spool) -> None:
    down = threading.Event()
    told = threading.Event()

    @contextmanager
    def sometimes() -> Iterator[Session]:
        if down.is_set():
            down.clear()
            raise ConnectionError("no ledger")
        with session("dicom") as opened:
            yield opened

    committer = Committer(spool, sometimes, owner="test", on_ready=told.set)
    into = batch()
    committer.commit(arrival(spool, into))
    down.set()
    committer.end(into, "aborted")
    assert told.wait(30)
    committer.close()
    assert [(row.state, row.ended_by) for row in rows()[0]] == [(AssociationState.READY, "aborted")]


def test_adopting_copies_the_file_and_reads_what_it_is(spool: Spool, committer: Committer) -> None:
    source = Path(str(get_testdata_file("CT_small.dcm", download=False)))
    before = source.read_bytes()
    into = Batch(Origin(SourceType.FILE_UPLOAD, "someone"))
    stored = adopt_file(committer, spool, into, source)
    (receipt,) = rows()[1]
    assert (spool.home / receipt.path).read_bytes() == before == source.read_bytes()
    assert receipt.content_sha256 == content_sha256(source)
    assert receipt.original_path == str(source)
    assert receipt.modality == "CT"
    assert receipt.study_instance_uid == "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
    assert stored.association_id == into.id


@pytest.mark.parametrize("content", [b"", b"no DICOM at all", b"\0" * 128 + b"DICM" + b"\2\0\0\0UL\xff\xff"])
def test_adopting_takes_what_is_no_dicom_too(
    spool: Spool, committer: Committer, tmp_path: Path, content: bytes
) -> None:
    source = tmp_path / "letter.txt"
    source.write_bytes(content)
    adopt_file(committer, spool, Batch(Origin(SourceType.FILE_UPLOAD)), source)
    (receipt,) = rows()[1]
    assert (spool.home / receipt.path).read_bytes() == content
    assert (receipt.sop_instance_uid, receipt.state) == (None, ReceiptState.RECEIVED)


def test_adopting_what_is_no_file_is_an_error_and_leaves_nothing(
    spool: Spool, committer: Committer, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, error in (("absent", FileNotFoundError), (".", IsADirectoryError), ("pipe", OSError)):
        with pytest.raises(error):
            adopt_file(committer, spool, batch(), tmp_path / name)
    assert names(spool) == []


@pytest.mark.parametrize("name", ["no_meta.dcm", "rtplan_truncated.dcm", "image_dfl.dcm", "ExplVR_BigEnd.dcm"])
def test_odd_headers_never_fail_the_reading(name: str) -> None:
    identity = read_file_identity(Path(str(get_testdata_file(name, download=False))))
    assert all(value is None or value for value in vars(identity).values())


def test_the_deflated_and_the_big_endian_header_are_read() -> None:
    for name in ("image_dfl.dcm", "ExplVR_BigEnd.dcm"):
        assert read_file_identity(Path(str(get_testdata_file(name, download=False)))).study_instance_uid
