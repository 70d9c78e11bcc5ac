"""Long-lived deployments begin with their worker: which of them, and when not."""

import json
import os
import signal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.states import Completed, Running

from deployments.services.warm_worker.first_runs import start_long_lived
from tasks.foundation.ending import LONG_LIVED
from tests.services.conftest import FLOWS, Pool, eventually


async def deploy(client: Any, pool: str, *, on: bool = True, **options: Any) -> UUID:
    """A deployment whose schedule comes round on New Year."""
    flow_id = await client.create_flow_from_name("warm-endless")
    schedule = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 0 1 1 *"), active=on)
    made = {"tags": [LONG_LIVED], "entrypoint": f"{FLOWS}.warm_endless", "pull_steps": [], **options}
    deployed = await client.create_deployment(
        flow_id=flow_id, name=uuid4().hex, work_pool_name=pool, schedules=[schedule], **made
    )
    return UUID(str(deployed))


async def begun_runs_of(client: Any, deployment: UUID) -> list[FlowRun]:
    """Without those of the New Years to come, which the server's scheduler makes."""
    wanted = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]))
    found = await client.read_flow_runs(flow_run_filter=wanted)
    return [run for run in found if run.state_type != StateType.SCHEDULED]


@pytest.fixture
async def empty_pool(prefect_api: str) -> str:
    name = f"first-{uuid4().hex[:8]}"
    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name=name, type="warm"))
    return name


async def test_what_is_wanted_and_does_not_run_is_started_once(empty_pool: str) -> None:
    async with get_client() as client:
        wanted = await deploy(client, empty_pool)
        await deploy(client, empty_pool, on=False)
        await deploy(client, empty_pool, tags=["other"])
        await deploy(client, empty_pool, paused=True)
        (run,) = await start_long_lived(client, empty_pool)
        assert run.deployment_id == wanted
        # It waits for a worker, then it runs.
        assert await start_long_lived(client, empty_pool) == []
        await client.set_flow_run_state(run.id, Running(), force=True)
        assert await start_long_lived(client, empty_pool) == []
        await client.set_flow_run_state(run.id, Completed(), force=True)
        (again,) = await start_long_lived(client, empty_pool)
        assert again.deployment_id == wanted and again.id != run.id


async def test_each_worker_starts_what_its_own_queues_have(empty_pool: str) -> None:
    async with get_client() as client:
        urgent = await deploy(client, empty_pool, work_queue_name="urgent")
        plain = await deploy(client, empty_pool, work_queue_name="plain")
        (first,) = await start_long_lived(client, empty_pool, queues={"urgent"})
        assert first.deployment_id == urgent
        await client.set_flow_run_state(first.id, Completed(), force=True)
        (second,) = await start_long_lived(client, empty_pool, not_queues={"urgent"})
        assert second.deployment_id == plain


@pytest.mark.timeout(150)
def test_it_goes_on_with_the_next_worker_also_after_a_kill(pool: Pool, tmp_path: Path) -> None:
    deployed = pool.ask(lambda client: deploy(client, pool.name, parameters={"folder": str(tmp_path)}))

    def next_run(known: set[UUID]) -> tuple[FlowRun, int]:
        going_on = tmp_path / "going-on"
        pid = json.loads(eventually(lambda: going_on.exists() and going_on.read_text()))["pid"]
        going_on.unlink()
        (run,) = [run for run in pool.ask(lambda client: begun_runs_of(client, deployed)) if run.id not in known]
        return run, pid

    worker = pool.worker("--drain-seconds", "600")
    first, _ = next_run(set())
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert pool.read(first.id).state_name == "Completed"

    worker = pool.worker()
    second, pid = next_run({first.id})
    worker.kill()
    worker.wait()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not psutil.pid_exists(pid))

    pool.worker()
    third, _ = next_run({first.id, second.id})
    assert pool.state(second.id, "Crashed") and pool.state(third.id, "Running")
