"""`quintet apply` on a real server: it makes true, it prunes, and the second time it has nothing to do."""

import asyncio
from collections.abc import Iterator

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import VariableCreate

from blocks.settings import settings
from deployments import block_documents, limits, variables, work_pools
from deployments.apply import apply_all, apply_to_server, plan_all, validated_catalogue
from deployments.apply.ownership import APPLIED
from deployments.catalogue import Catalogue, read_catalogue
from deployments.errors import ExpectedError

SWEEP = "dicom-sweep-associations/every-minute"
TRIGGER = "dicom-sweep-when-a-destination-recovers"


@pytest.fixture
async def applied(own_api: str) -> PrefectClient:
    """Everything applied, whatever type the pool was left with."""
    await apply_all(recreate_work_pool=True)
    return get_client()


async def _apply(client: PrefectClient, catalogue: Catalogue | None = None) -> list[str]:
    async with client:
        return [str(change) for change in await apply_to_server(client, catalogue or validated_catalogue())]


def _without(name: str) -> Catalogue:
    catalogue = read_catalogue()
    catalogue.model.deployments = [found for found in catalogue.deployments if found.name != name]
    return catalogue


async def test_the_second_run_changes_nothing(applied: PrefectClient) -> None:
    assert await apply_all() == []
    assert await plan_all() == []


async def test_what_stands_in_the_files_is_on_the_server(applied: PrefectClient) -> None:
    async with applied as client:
        sweep = await client.read_deployment_by_name(SWEEP)
        queues = await client.read_work_queues(work_pool_name="quintet")
        limit = await client.read_global_concurrency_limit_by_name("dicom-deliveries")
        trigger = await client.read_automations_by_name(TRIGGER)
        record = await client.read_variable_by_name(APPLIED)
    assert (sweep.work_queue_name, sweep.pull_steps, sweep.path) == ("dicom-maintenance", [], None)
    assert sweep.global_concurrency_limit is not None
    assert sweep.global_concurrency_limit.limit == 1
    assert [schedule.active for schedule in sweep.schedules] == [True]
    declared = {queue.name: queue.priority for queue in work_pools.WORK_QUEUES}
    assert {queue.name: queue.priority for queue in queues if queue.name != "default"} == declared
    assert limit.limit == 4
    assert [action.model_dump()["deployment_id"] for action in trigger[0].actions] == [sweep.id]
    assert record is not None
    assert SWEEP in record.value["deployment"]  # type: ignore[index,call-overload]


async def test_what_was_changed_by_hand_is_put_right(applied: PrefectClient) -> None:
    async with applied as client:
        sweep = await client.read_deployment_by_name(SWEEP)
        await client.update_deployment_schedule(sweep.id, sweep.schedules[0].id, active=False)
        await client.upsert_global_concurrency_limit_by_name("dicom-deliveries", 9)
        (trigger,) = await client.read_automations_by_name(TRIGGER)
        await client.pause_automation(trigger.id)
    expected = [
        "changed limit dicom-deliveries (limit)",
        f"changed deployment {SWEEP} (schedules)",
        f"changed automation {TRIGGER} (enabled)",
    ]
    assert [str(change) for change in await plan_all()] == expected
    assert [str(change) for change in await apply_all()] == expected
    assert await plan_all() == []


async def test_what_is_no_longer_declared_is_removed_and_nothing_else(
    applied: PrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with applied as client:
        await client.upsert_global_concurrency_limit_by_name("somebody-elses", 3)
    queues = tuple(queue for queue in work_pools.WORK_QUEUES if queue.name != "dicom-maintenance")
    monkeypatch.setattr(work_pools, "WORK_QUEUES", queues)
    declared = sorted(limits.LIMITS, key=lambda limit: limit.name)
    monkeypatch.setattr(limits, "LIMITS", ())
    catalogue = _without("every-minute")
    catalogue.model.deployments = [d for d in catalogue.deployments if d.name != "daily"]
    assert await _apply(get_client(), catalogue) == [
        f"removed automation {TRIGGER}",
        "removed deployment dicom-clean-dustbin/daily",
        f"removed deployment {SWEEP}",
        *(f"removed limit {limit.name}" for limit in declared),
        "removed work queue dicom-maintenance",
    ]
    assert await _apply(get_client(), catalogue) == []
    async with get_client() as client:
        assert (await client.read_global_concurrency_limit_by_name("somebody-elses")).limit == 3
        await client.delete_global_concurrency_limit_by_name("somebody-elses")


async def test_a_schedule_and_a_limit_that_are_gone_from_the_file_are_gone_from_the_server(
    applied: PrefectClient,
) -> None:
    catalogue = read_catalogue()
    for deployment in catalogue.deployments:
        if deployment.name == "every-minute":
            deployment.schedules, deployment.concurrency_limit = None, None
    changes = await _apply(get_client(), catalogue)
    assert changes == [f"changed deployment {SWEEP} (concurrency_limit, concurrency_options, schedules)"]
    async with get_client() as client:
        sweep = await client.read_deployment_by_name(SWEEP)
    assert sweep.schedules == []
    assert sweep.global_concurrency_limit is None


async def test_queues_swap_places(applied: PrefectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *rest = work_pools.WORK_QUEUES
    swapped = (first.model_copy(update={"priority": 2}), second.model_copy(update={"priority": 1}), *rest)
    monkeypatch.setattr(work_pools, "WORK_QUEUES", swapped)
    assert await _apply(get_client()) == [
        f"changed work queue {second.name} (priority)",
        f"changed work queue {first.name} (priority)",
    ]
    assert await _apply(get_client()) == []


async def test_variables_and_block_documents(applied: PrefectClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.blocks.system import Secret

    monkeypatch.setattr(variables, "VARIABLES", {"greeting": {"text": "hello"}})
    monkeypatch.setattr(block_documents, "BLOCK_DOCUMENTS", {"key": Secret(value="one")})
    assert await _apply(get_client()) == ["created variable greeting", "created block document secret/key"]
    assert await _apply(get_client()) == []
    monkeypatch.setattr(block_documents, "BLOCK_DOCUMENTS", {"key": Secret(value="two")})
    assert await _apply(get_client()) == ["changed block document secret/key (data)"]
    monkeypatch.setattr(variables, "VARIABLES", {})
    monkeypatch.setattr(block_documents, "BLOCK_DOCUMENTS", {})
    assert await _apply(get_client()) == ["removed block document secret/key", "removed variable greeting"]


async def test_a_record_of_unknown_kinds_is_dropped(applied: PrefectClient) -> None:
    async with applied as client:
        record = await client.read_variable_by_name(APPLIED)
        assert record is not None
        await client.delete_variable_by_name(APPLIED)
        await client.create_variable(
            VariableCreate(name=APPLIED, value={**record.value, "former kind": ["x"]})  # type: ignore[dict-item]
        )
    assert await _apply(get_client()) == []
    async with get_client() as client:
        assert "former kind" not in (await client.read_variable_by_name(APPLIED)).value  # type: ignore[operator,union-attr]


@pytest.fixture
def process_pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("QUINTET_WORK_POOL_TYPE", "process")
    settings.cache_clear()
    yield
    settings.cache_clear()


async def test_a_pool_of_another_type_is_recreated_only_when_told(applied: PrefectClient, process_pool: None) -> None:
    assert "changed work pool quintet (type)" in [str(change) for change in await plan_all()]
    with pytest.raises(ExpectedError, match=r"is of type 'warm' .* 'process'.*--recreate-work-pool"):
        await apply_all()
    changes = [str(change) for change in await apply_all(recreate_work_pool=True)]
    assert f"changed deployment {SWEEP} (work_pool_name)" in changes
    assert await plan_all() == []


async def test_many_at_once_end_in_one_of_each(applied: PrefectClient) -> None:
    async with get_client() as client:
        for name in (TRIGGER, "quintet-alert-dicom-dead-letter"):
            for automation in await client.read_automations_by_name(name):
                await client.delete_automation(automation.id)
        for queue in await client.read_work_queues(work_pool_name="quintet"):
            if queue.name == "dicom":
                await client.delete_work_queue_by_id(queue.id)
    await asyncio.gather(*(_apply(get_client()) for _ in range(3)))
    assert await plan_all() == []
    async with get_client() as client:
        assert len(await client.read_automations_by_name(TRIGGER)) == 1
