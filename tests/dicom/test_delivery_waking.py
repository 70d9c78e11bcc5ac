"""What lets deliveries go on that waited for a person: a destination resumed, the dead replayed."""

import pytest
from sqlmodel import select

from blocks.engine import session
from tasks.dicom import deliveries
from tasks.dicom.core import breaker
from tasks.dicom.core.tables import Association, AssociationState
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
