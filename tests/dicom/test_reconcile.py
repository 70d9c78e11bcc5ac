"""Spool and ledger after a crash; and beside processes that are alive."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from pydicom.data import get_testdata_file
from sqlmodel import Session, select

from blocks.engine import session
from blocks.settings import settings
from tasks.dicom.core.arrivals import Arrival, Batch, Origin
from tasks.dicom.core.header import content_sha256
from tasks.dicom.core.identity import Identity
from tasks.dicom.core.presence import Presence, is_alive, remove_dead
from tasks.dicom.core.receiving import Committer
from tasks.dicom.core.reconcile import Reconciliation, reconcile
from tasks.dicom.core.spool import Spool
from tasks.dicom.core.tables import Association, AssociationState, Output, Receipt, ReceiptState, SourceType

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def begin() -> AbstractContextManager[Session]:
    return session("dicom")


@pytest.fixture
def spool(ledger: str) -> Iterator[Spool]:
    opened = Spool(settings().domain_home("dicom"))
    yield opened
    opened.close()


def receive(spool: Spool, owner: str) -> Receipt:
    committer = Committer(spool, begin, owner=owner)
    part = spool.create()
    part.write_data_set(b"data")
    stored = committer.commit(Arrival(Batch(Origin(SourceType.DIMSE_LISTENER)), part, Identity()))
    committer.close()
    with session("dicom", read_only=True) as opened:
        return opened.get_one(Receipt, stored.receipt_id)


def associations() -> list[Association]:
    with session("dicom", read_only=True) as opened:
        return list(opened.exec(select(Association)).all())


def test_nothing_to_do_is_nothing_done(spool: Spool) -> None:
    assert reconcile(spool.home, begin, now=NOW).clean


def test_rows_of_the_dead_become_ready_and_those_of_the_living_stay_open(spool: Spool) -> None:
    alive, dead = Presence(spool.home, "listener"), Presence(spool.home, "listener")
    receive(spool, alive.name)
    of_dead = receive(spool, dead.name)
    dead.close()
    assert reconcile(spool.home, begin, now=NOW) == Reconciliation(closed=(of_dead.association_id,))
    states = {row.id: (row.state, row.ended_by) for row in associations()}
    assert states[of_dead.association_id] == (AssociationState.READY, "restarted")
    assert sorted(states.values(), key=str) == sorted(
        [(AssociationState.READY, "restarted"), (AssociationState.OPEN, None)], key=str
    )
    assert reconcile(spool.home, begin, now=NOW).clean
    alive.close()


def test_files_in_flight_are_left_alone_and_leftovers_removed(spool: Spool) -> None:
    writing, whole = spool.create(), spool.create()
    whole.write_data_set(b"data")
    whole.publish()
    leftover = spool.folder / f"{uuid4()}.part"
    leftover.write_bytes(b"half")
    assert reconcile(spool.home, begin, now=NOW) == Reconciliation(removed=1)
    assert writing.path.exists() and whole.path.exists() and not leftover.exists()
    writing.discard()
    whole.discard()


def test_a_whole_file_without_a_row_gets_one(spool: Spool) -> None:
    source = Path(str(get_testdata_file("MR_small.dcm", download=False)))
    identifier = uuid4()
    (spool.folder / f"{identifier}.dcm").write_bytes(source.read_bytes())
    assert reconcile(spool.home, begin, now=NOW) == Reconciliation(adopted=(identifier,))
    with session("dicom", read_only=True) as opened:
        receipt = opened.get_one(Receipt, identifier)
    assert receipt.content_sha256 == content_sha256(source)
    assert (receipt.modality, receipt.path) == ("MR", f"spool/{identifier}.dcm")
    assert [(row.state, row.ended_by) for row in associations()] == [(AssociationState.READY, "restarted")]
    assert reconcile(spool.home, begin, now=NOW).clean


def test_files_of_others_in_the_spool_are_left_alone(spool: Spool) -> None:
    for name in ("letter.txt", "not-a-receipt.dcm"):
        (spool.folder / name).write_bytes(b"x")
    assert reconcile(spool.home, begin, now=NOW).clean
    assert len(list(spool.folder.iterdir())) == 2


def test_a_row_without_its_file_is_reported_until_somebody_decides(spool: Spool) -> None:
    receipt = receive(spool, "nobody")
    (spool.home / receipt.path).unlink()
    assert reconcile(spool.home, begin, now=NOW).missing == (receipt.id,)
    assert reconcile(spool.home, begin, now=NOW).missing == (receipt.id,)
    with session("dicom") as opened:
        opened.get_one(Receipt, receipt.id).state = ReceiptState.QUARANTINED
    assert reconcile(spool.home, begin, now=NOW).clean


def test_a_file_that_a_run_is_moving_is_not_missed(spool: Spool) -> None:
    receipt = receive(spool, "nobody")
    reconcile(spool.home, begin, now=NOW)
    with session("dicom") as opened:
        opened.get_one(Association, receipt.association_id).state = AssociationState.PROCESSING
    (spool.home / receipt.path).unlink()
    assert reconcile(spool.home, begin, now=NOW).clean


def test_presence_ends_with_its_process(tmp_path: Path) -> None:
    with Presence(tmp_path, "listener") as presence:
        assert is_alive(tmp_path, presence.name)
        assert remove_dead(tmp_path) == 0
    assert not is_alive(tmp_path, presence.name)
    (tmp_path / "presence" / "listener-gone.lock").touch()
    assert not is_alive(tmp_path, "listener-gone")
    assert remove_dead(tmp_path) == 1


@pytest.mark.parametrize("name", ["x.part", "6f1d4a0e-0000-4000-8000-000000000000.dcm"])
def test_what_is_no_file_stops_nothing(spool: Spool, name: str) -> None:
    dead = Presence(spool.home, "listener")
    receive(spool, dead.name)
    dead.close()
    (spool.folder / name).mkdir()
    (spool.folder / f"link-{name}").symlink_to("nowhere")
    assert len(reconcile(spool.home, begin, now=NOW).closed) == 1
    assert (spool.folder / name).is_dir()


def test_staged_copies_that_no_output_names_go_after_a_day(spool: Spool) -> None:
    staging = spool.home / "staging"
    staging.mkdir()
    names = [".half.part", "whole.dcm", "wanted.dcm"]
    for name in names:
        (staging / name).write_bytes(b"x")
    with session("dicom") as opened:
        opened.add(
            Output(
                path="staging/wanted.dcm",
                staged=True,
                content_sha256="0" * 64,
                sop_class_uid="1.2",
                sop_instance_uid="1.3",
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                size=1,
            )
        )
    written = datetime.fromtimestamp((staging / names[0]).stat().st_mtime, UTC)
    assert reconcile(spool.home, begin, now=written + timedelta(hours=1)).clean
    assert sorted(path.name for path in staging.iterdir()) == sorted(names)
    assert reconcile(spool.home, begin, now=written + timedelta(days=1, seconds=1)).removed == 2
    assert [path.name for path in staging.iterdir()] == ["wanted.dcm"]
