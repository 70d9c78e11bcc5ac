"""What lets deliveries go on that waited for a person: a destination resumed, the dead replayed."""

from datetime import timedelta

import pytest
from sqlmodel import select

from blocks.engine import session
from tasks.dicom import deliveries
from tasks.dicom.core import breaker, replay
from tasks.dicom.core.tables import Association, AssociationState, Delivery, DeliveryState
from tasks.foundation.core.columns import utc_now
from tests.dicom.test_delivery import add_deliveries, kill, later

pytestmark = pytest.mark.usefixtures("ledger")


def test_resuming_wakes_the_associations_that_wait() -> None:
    add_deliveries(1)
    with session("dicom") as opened:
        association = opened.exec(select(Association)).one()
        association.state, association.due_at = AssociationState.WAITING, later(600)
        opened.add(association)
        breaker.resume(opened, "other", now=later(4))
    with session("dicom") as opened:
        assert opened.exec(select(Association)).one().due_at == later(600)
        breaker.resume(opened, "archive", now=later(5))
    with session("dicom", read_only=True) as opened:
        assert opened.exec(select(Association)).one().due_at == later(5)


def test_more_than_a_statement_has_room_for_are_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "REPLAY_PAGE", 2)
    ids = add_deliveries(5)
    for each in ids:
        kill(each)
    assert sorted(deliveries.replay_deliveries.fn(ids)) == sorted(ids)
    assert sorted(deliveries.replay_deliveries.fn(ids)) == []


def test_what_waits_for_a_destination_that_is_gone_can_be_given_up_and_sent_elsewhere() -> None:
    ids = add_deliveries(3)
    with session("dicom") as opened:
        association = opened.exec(select(Association)).one()
        association.state, association.due_at = AssociationState.WAITING, later(600)
        opened.add(association)
    assert deliveries.give_up_destination("elsewhere") == 0
    assert deliveries.give_up_destination("archive") == 3
    assert deliveries.give_up_destination("archive") == 0
    with session("dicom") as opened:
        rows = opened.exec(select(Delivery)).all()
        assert {(row.state, row.reason) for row in rows} == {(DeliveryState.DEAD, "given up by a person")}
        association = opened.exec(select(Association)).one()
        assert association.due_at != later(600), "the sweep goes on with its files"
        assert len(replay.replay(opened, ids, now=later(1), to="other")) == 3


def test_what_a_worker_is_sending_is_left_to_it() -> None:
    ids = add_deliveries(2)
    with session("dicom") as opened:
        row = opened.exec(select(Delivery).where(Delivery.id == ids[0])).one()
        row.state, row.lease_owner, row.lease_until = DeliveryState.SENDING, "worker", utc_now() + timedelta(minutes=1)
        opened.add(row)
    assert deliveries.give_up_destination("archive") == 1
