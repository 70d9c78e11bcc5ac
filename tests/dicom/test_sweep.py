"""The sweep: which associations it starts a run for, as Prefect tells of the last one."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, StateType

from tasks.dicom import sweeps
from tasks.dicom.core.tables import Association, AssociationState
from tests.dicom.test_dispatch import NOW, add

AGO, LONG_AGO = NOW - timedelta(minutes=2), NOW - timedelta(minutes=10)


class Prefect:
    """Flow runs and what was started, without a server."""

    def __init__(self) -> None:
        self.runs: dict[UUID, FlowRun] = {}
        self.started: list[UUID] = []

    def add(self, state: StateType) -> UUID:
        """A run in a state."""
        run = FlowRun(flow_id=uuid4(), state_type=state)
        self.runs[run.id] = run
        return run.id

    def start_runs(self, associations: Sequence[Association]) -> int:
        """Takes the place of the real one."""
        self.started += [row.id for row in associations]
        return len(associations)


@pytest.fixture
def prefect(ledger: str, monkeypatch: pytest.MonkeyPatch) -> Prefect:
    """At the time NOW."""
    there = Prefect()
    monkeypatch.setattr(sweeps, "start_runs", there.start_runs)
    monkeypatch.setattr(sweeps, "_runs", lambda ids: {key: there.runs[key] for key in ids if key in there.runs})
    monkeypatch.setattr(sweeps, "utc_now", lambda: NOW)
    return there


STANDINGS: dict[AssociationState, dict[str, Any]] = {
    AssociationState.READY: {},
    AssociationState.PROCESSING: {"lease_owner": "run", "lease_until": AGO},
    AssociationState.WAITING: {"due_at": AGO},
}
READY, PROCESSING, WAITING = STANDINGS
RUNS = [
    (READY, StateType.SCHEDULED, LONG_AGO, False),
    (READY, StateType.PENDING, AGO, False),
    (READY, StateType.PENDING, LONG_AGO, True),
    (READY, StateType.RUNNING, AGO, False),
    # Killed between the end of its claim and telling so; nobody else will say that it is gone.
    (READY, StateType.RUNNING, LONG_AGO, True),
    (READY, StateType.FAILED, LONG_AGO, True),
    # Started by an earlier sweep, and waiting for a worker: another one each minute would flood the queue.
    (WAITING, StateType.SCHEDULED, LONG_AGO, False),
    (PROCESSING, StateType.SCHEDULED, LONG_AGO, False),
    (WAITING, StateType.RUNNING, AGO, True),
    (WAITING, StateType.COMPLETED, AGO, True),
    (PROCESSING, StateType.CRASHED, AGO, True),
]


def test_a_run_is_started_where_the_last_one_does_no_more(prefect: Prefect) -> None:
    wanted: dict[UUID, bool] = {}
    for state, run, dispatched, again in RUNS:
        about = STANDINGS[state] | {"dispatched_at": dispatched, "dispatches": 1, "flow_run_id": prefect.add(run)}
        wanted[add(state, **about)] = again
    counts = sweeps.sweep_associations.fn()
    assert {key: key in prefect.started for key in wanted} == wanted
    assert (counts.started_again, counts.left) == (6, 5)


def test_those_that_are_left_alone_do_not_stand_in_the_way(prefect: Prefect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "PAGE", 2)
    for _ in range(5):
        waiting = prefect.add(StateType.SCHEDULED)
        add(AssociationState.READY, dispatched_at=LONG_AGO, dispatches=1, flow_run_id=waiting)
    due = {add(AssociationState.WAITING, due_at=AGO, dispatched_at=AGO) for _ in range(3)}
    # The claim of `dicom-process-file`, which nobody dispatched.
    due.add(add(AssociationState.PROCESSING, lease_owner="run", lease_until=AGO))
    counts = sweeps.sweep_associations.fn()
    assert set(prefect.started) == due
    assert (counts.started_again, counts.left) == (4, 5)
