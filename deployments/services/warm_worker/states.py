"""What the worker tells the API about runs whose own process cannot."""

import logging
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkQueueFilter,
    WorkQueueFilterId,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import Abort, ObjectNotFound
from prefect.states import Cancelled, Crashed
from prefect.utilities.engine import propose_state

Logger = logging.Logger | logging.LoggerAdapter[logging.Logger]


async def unfinished(client: PrefectClient, flow_run_id: UUID) -> FlowRun | None:
    """The flow run, when the API does not know its end; None when it ended or was deleted.

    A run that waits to be started again (Scheduled) or is paused belongs to no process either: it counts as ended here.
    """
    try:
        flow_run = await client.read_flow_run(flow_run_id)
    except ObjectNotFound:
        return None
    state = flow_run.state
    if state is None or not (state.is_running() or state.is_pending() or state.is_cancelling()):
        return None
    return flow_run


async def active_runs(client: PrefectClient, work_queue_id: UUID) -> int:
    """How many runs of a queue count against its limit."""
    active = FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING, StateType.CANCELLING])
    response = await client.request(
        "POST",
        "/flow_runs/count",
        json={
            "flow_runs": FlowRunFilter(state=FlowRunFilterState(type=active)).model_dump(mode="json"),
            "work_pool_queues": WorkQueueFilter(id=WorkQueueFilterId(any_=[work_queue_id])).model_dump(mode="json"),
        },
    )
    return int(response.json())


async def mark_crashed(client: PrefectClient, flow_run: FlowRun, reason: str, logger: Logger) -> FlowRun | None:
    """Propose Crashed for a run whose process is gone.

    Returns:
        The run in its new state; None when the API refused, because it knows another end.
    """
    try:
        state = await propose_state(client, Crashed(message=reason), flow_run_id=flow_run.id)
    except (Abort, ObjectNotFound) as refusal:
        logger.info("Flow run %s was not marked Crashed: %s", flow_run.id, refusal)
        return None
    if not state.is_crashed():
        return None
    logger.error("Reported flow run %s as crashed: %s", flow_run.id, reason)
    return flow_run.model_copy(update={"state": state, "state_type": state.type, "state_name": state.name})


async def mark_cancelled(client: PrefectClient, flow_run: FlowRun, reason: str) -> None:
    """Set Cancelled for a run that is being cancelled and whose process is gone."""
    try:
        await client.set_flow_run_state(flow_run.id, Cancelled(message=reason), force=True)
    except ObjectNotFound:
        return
