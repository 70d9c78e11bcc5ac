"""Finds what fell by the wayside: files and ledger rows that disagree, associations whose run never came or died."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, StateType
from pydantic import BaseModel

from blocks.engine import session
from blocks.settings import settings
from tasks.dicom.core.dispatch import dispatched_and_stuck, may_retry, never_dispatched
from tasks.dicom.core.tables import DOMAIN, Association, AssociationState
from tasks.dicom.runs import start_runs
from tasks.foundation.core.columns import utc_now
from tasks.foundation.retries import INGEST

#: A run claims its association at once. One that has not for so long is dead, whatever Prefect says: a worker that is
#: killed between taking a run and starting it leaves it Pending, and a request that a killed run had sent may reach a
#: busy server after the report of its crash, and make it Running again.
CLAIM_PATIENCE = timedelta(minutes=5)
#: Prefect's API answers at most this many runs a request.
PAGE = 200


class SweepCounts(BaseModel):
    """What the sweep found."""

    never_started: int = 0
    #: Runs started again: the last one died, failed, or a delivery is due.
    started_again: int = 0
    #: Left alone: their run is on its way, or it failed too recently.
    left: int = 0


@INGEST.task
def sweep_associations() -> SweepCounts:
    """Start a run for every association that needs one and has none.

    Raises:
        ConnectionError: Prefect's API is away; the ledger keeps what waits.
    """
    now = utc_now()
    with session(DOMAIN, read_only=True) as opened:
        new = never_dispatched(opened, limit=PAGE)
    counts = SweepCounts(never_started=start_runs(new) if new else 0)
    after: UUID | None = None
    while True:
        # Page by page to the end: those that are left alone must not stand in the way of the others.
        with session(DOMAIN, read_only=True) as opened:
            stuck = dispatched_and_stuck(opened, now=now, after=after, limit=PAGE)
        if not stuck:
            return counts
        after = stuck[-1].id
        again = _to_start_again(stuck, now)
        counts.started_again += start_runs(again) if again else 0
        counts.left += len(stuck) - len(again)


def _to_start_again(stuck: Sequence[Association], now: datetime) -> list[Association]:
    runs = _runs([row.flow_run_id for row in stuck if row.flow_run_id])
    lease = timedelta(seconds=settings().dicom.delivery.lease_seconds)
    again = []
    for row in stuck:
        run = runs.get(row.flow_run_id) if row.flow_run_id else None
        killed = run is not None and run.state_type is StateType.CRASHED
        if may_retry(row, now=now, killed_lease=lease if killed else None) and not _on_its_way(row, run, now):
            again.append(row)
    return again


def _runs(ids: list[UUID]) -> dict[UUID, FlowRun]:
    if not ids:
        return {}
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=ids)), limit=PAGE)
    return {run.id: run for run in found}


def _on_its_way(association: Association, run: FlowRun | None, now: datetime) -> bool:
    """Whether the run last started will still do the work."""
    if run is None or run.state_type is None:
        return False
    if run.state_type is StateType.SCHEDULED:
        # Its turn has not come, however late it is; another one would only stand behind it.
        return True
    if association.state is not AssociationState.READY:
        # A claim that ran out or a due time: whatever the run's state says, it no longer works on this.
        return False
    claiming = run.state_type in {StateType.PENDING, StateType.RUNNING}
    return claiming and association.dispatched_at is not None and now - association.dispatched_at < CLAIM_PATIENCE
