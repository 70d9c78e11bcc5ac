"""Runs that are to go on for ever begin with their worker, not at the next tick of their schedule.

A deployment tagged `long-lived` whose schedule is on is wanted to run. Its schedule only sees to it that it runs again
after it ended; who starts a worker, or switches the schedule on, has waited long enough.
"""

from collections.abc import Collection
from datetime import timedelta

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.types._datetime import now

from tasks.foundation.ending import LONG_LIVED

_UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
# A run that is due so soon is not overtaken by another.
_SOON = timedelta(seconds=5)


async def start_long_lived(
    client: PrefectClient, pool: str, *, queues: Collection[str] = (), not_queues: Collection[str] = ()
) -> list[FlowRun]:
    """Start what is wanted of a pool and does not run.

    Args:
        client: the API.
        pool: the work pool.
        queues: only of these, where some are given.
        not_queues: of all but these.

    Returns:
        The new runs.
    """
    found = await client.read_deployments(
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
        deployment_filter=DeploymentFilter(tags=DeploymentFilterTags(all_=[LONG_LIVED])),
    )
    here = [each for each in found if not queues or each.work_queue_name in queues]
    started = [await start_now(client, each) for each in here if each.work_queue_name not in not_queues]
    return [run for run in started if run is not None]


async def start_now(client: PrefectClient, deployment: DeploymentResponse) -> FlowRun | None:
    """Start a run of a long-lived deployment whose schedule is on.

    Returns:
        The run; None where the deployment is of another kind, its schedule is off, or it runs already or is about to.
    """
    on = not deployment.paused and any(schedule.active for schedule in deployment.schedules)
    if LONG_LIVED not in deployment.tags or not on or await _runs(client, deployment):
        return None
    return await client.create_flow_run_from_deployment(deployment.id)


async def _runs(client: PrefectClient, deployment: DeploymentResponse) -> bool:
    of = FlowRunFilterDeploymentId(any_=[deployment.id])
    under_way = FlowRunFilterState(type=FlowRunFilterStateType(any_=_UNDER_WAY))
    scheduled = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
    due = FlowRunFilterNextScheduledStartTime(before_=now("UTC") + _SOON)
    for wanted in (
        FlowRunFilter(deployment_id=of, state=under_way),
        FlowRunFilter(deployment_id=of, state=scheduled, next_scheduled_start_time=due),
    ):
        if await client.read_flow_runs(flow_run_filter=wanted, limit=1):
            return True
    return False
