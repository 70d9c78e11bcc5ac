"""What runs now, and where one run stands: state, step, percent and counts. `quintet status` prints it.

From Python: `asyncio.run(run_status(run_id))`.
"""

from datetime import datetime
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType, TaskRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from pydantic import BaseModel

from deployments.apply.server import connect
from deployments.catalogue.checks import TAG
from deployments.errors import ExpectedError
from tasks.foundation.progress import Progress, read_progress

#: States of runs that a worker has, or is about to have.
_NOW = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
#: What the server gives in one answer; more runs than this at once are shown in part.
_MOST = 200


class RunStatus(BaseModel):
    """Where one run stands: a flow run, or a background task (`task.delay(...)`)."""

    id: UUID
    name: str
    #: None where a background task runs by itself.
    flow: str | None
    #: The state's name, as the UI shows it: Running, AwaitingRetry, Completed, ...
    state: str
    message: str | None
    started_at: datetime | None
    seconds: float
    #: None where the run has reported nothing.
    progress: Progress | None


async def run_status(run_id: UUID) -> RunStatus:
    """State and progress of one run.

    Raises:
        ExpectedError: no server answers, or it knows no such run.
    """
    async with connect() as client:
        try:
            return await _status(client, await client.read_flow_run(run_id))
        except ObjectNotFound:
            pass
        try:
            return await _task_status(await client.read_task_run(run_id))
        except ObjectNotFound as error:
            raise ExpectedError(f"the server knows no run {run_id}; `quintet status` lists what runs now") from error


async def running() -> list[RunStatus]:
    """All of quintet's runs that run now, or are being started, the longest first.

    Raises:
        ExpectedError: no server answers.
    """
    wanted = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_NOW)), tags=FlowRunFilterTags(all_=[TAG])
    )
    async with connect() as client:
        runs = await client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.START_TIME_ASC, limit=_MOST)
        return [await _status(client, run) for run in runs]


async def runs_of(flow_name: str, limit: int = 20) -> list[RunStatus]:
    """The newest runs of a flow, whatever became of them.

    Args:
        flow_name: `dicom-process-association`, ...
        limit: how many.
    """
    wanted = FlowFilter(name=FlowFilterName(any_=[flow_name]))
    async with connect() as client:
        runs = await client.read_flow_runs(flow_filter=wanted, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=limit)
        return [await _status(client, run) for run in runs]


async def _status(client: PrefectClient, run: FlowRun) -> RunStatus:
    flow = await client.read_flow(run.flow_id)
    return RunStatus(
        id=run.id,
        name=run.name,
        flow=flow.name,
        state=run.state_name or "Unknown",
        message=run.state.message if run.state is not None else None,
        started_at=run.start_time,
        seconds=run.estimated_run_time.total_seconds(),
        progress=await read_progress(run.id),
    )


async def _task_status(run: TaskRun) -> RunStatus:
    return RunStatus(
        id=run.id,
        name=run.name,
        flow=None,
        state=run.state_name or "Unknown",
        message=run.state.message if run.state is not None else None,
        started_at=run.start_time,
        seconds=run.estimated_run_time.total_seconds(),
        progress=await read_progress(run.id),
    )
