"""Dispatch from the ledger: what needs a run, who may claim it, and that two never both do."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlmodel import select

from blocks.engine import session
from tasks.dicom.core import dispatch
from tasks.dicom.core.tables import Association, AssociationState, SourceType

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
LEASE = timedelta(seconds=120)


def add(state: AssociationState, **fields: Any) -> UUID:
    with session("dicom") as opened:
        row = Association(source_type=SourceType.DIMSE_LISTENER, state=state, closed_at=NOW, **fields)
        opened.add(row)
        opened.flush()
        return row.id


def read(association_id: UUID) -> Association:
    with session("dicom", read_only=True) as opened:
        return opened.exec(select(Association).where(Association.id == association_id)).one()


def test_only_ready_ones_without_a_run_are_new(ledger: str) -> None:
    wanted = add(AssociationState.READY)
    for state in AssociationState:
        if state is not AssociationState.READY:
            add(state)
    add(AssociationState.READY, dispatched_at=NOW)
    with session("dicom", read_only=True) as opened:
        assert [row.id for row in dispatch.never_dispatched(opened)] == [wanted]


def test_the_sweep_finds_what_died_and_what_is_due(ledger: str) -> None:
    past, future = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)
    stuck = {
        add(AssociationState.READY, dispatched_at=past),
        add(AssociationState.PROCESSING, lease_until=past, lease_owner="dead"),
        add(AssociationState.WAITING, due_at=past),
    }
    add(AssociationState.PROCESSING, lease_until=future, lease_owner="alive")
    add(AssociationState.WAITING, due_at=future)
    add(AssociationState.DONE)
    with session("dicom", read_only=True) as opened:
        assert {row.id for row in dispatch.dispatched_and_stuck(opened, now=NOW)} == stuck


def test_a_dispatch_counts_once(ledger: str) -> None:
    association_id, run = add(AssociationState.READY), uuid4()
    assert dispatch.dispatch_key(read(association_id)).endswith("-1")
    for expected in (True, False):
        with session("dicom") as opened:
            done = dispatch.record_dispatch(opened, association_id, number=1, flow_run_id=run, now=NOW)
        assert done is expected
    row = read(association_id)
    assert (row.dispatches, row.flow_run_id, row.dispatched_at) == (1, run, NOW)
    assert dispatch.dispatch_key(row).endswith("-2")


def test_one_claim_at_a_time_until_it_runs_out(ledger: str) -> None:
    association_id = add(AssociationState.READY)

    def claim(owner: str, at: datetime) -> bool:
        with session("dicom") as opened:
            return dispatch.claim(opened, association_id, owner=owner, now=at, lease=LEASE) is not None

    assert claim("first", NOW)
    assert not claim("second", NOW + LEASE / 2)
    assert claim("first", NOW + LEASE / 2), "a retried run keeps its own claim"
    with session("dicom") as opened:
        assert dispatch.renew(opened, association_id, owner="first", now=NOW + LEASE / 2, lease=LEASE)
    assert not claim("second", NOW + LEASE * 1.2)
    assert claim("second", NOW + LEASE * 2)
    with session("dicom") as opened:
        assert not dispatch.renew(opened, association_id, owner="first", now=NOW, lease=LEASE)
        assert not dispatch.release(opened, association_id, owner="first", state=AssociationState.DONE)
        assert dispatch.release(opened, association_id, owner="second", state=AssociationState.DONE)
    assert not claim("third", NOW + LEASE * 9)
    assert read(association_id).state is AssociationState.DONE


@pytest.mark.parametrize("state", [AssociationState.OPEN, AssociationState.DONE])
def test_open_and_done_ones_cannot_be_claimed(ledger: str, state: AssociationState) -> None:
    association_id = add(state)
    with session("dicom") as opened:
        assert dispatch.claim(opened, association_id, owner="x", now=NOW, lease=LEASE) is None


def test_failing_runs_come_ever_later_but_due_deliveries_do_not_wait() -> None:
    def row(state: AssociationState, dispatches: int) -> Association:
        return Association(source_type=SourceType.UNKNOWN, state=state, dispatches=dispatches, dispatched_at=NOW)

    ready = AssociationState.READY
    assert not dispatch.may_retry(row(ready, 1), now=NOW + timedelta(seconds=59))
    assert dispatch.may_retry(row(ready, 1), now=NOW + timedelta(seconds=60))
    assert not dispatch.may_retry(row(ready, 3), now=NOW + timedelta(seconds=239))
    assert dispatch.may_retry(row(ready, 500), now=NOW + timedelta(hours=1))
    assert dispatch.may_retry(row(AssociationState.WAITING, 500), now=NOW)


@pytest.mark.parametrize("dispatches", [1, 2, 500])
def test_an_association_whose_run_was_killed_waits_for_a_lease_at_most(dispatches: int) -> None:
    row = Association(
        source_type=SourceType.UNKNOWN, state=AssociationState.READY, dispatches=dispatches, dispatched_at=NOW
    )
    lease = timedelta(seconds=30)
    assert not dispatch.may_retry(row, now=NOW + lease - timedelta(seconds=1), killed_lease=lease)
    assert dispatch.may_retry(row, now=NOW + lease, killed_lease=lease)
    assert dispatch.may_retry(row, now=NOW + timedelta(hours=1), killed_lease=timedelta(hours=2))
