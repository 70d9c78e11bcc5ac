"""The worker's decisions whether a queue has room, against an API that answers late."""

import asyncio
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, StateType

from deployments.services.warm_worker import WarmWorker, worker
from deployments.services.warm_worker.runs import WarmRun
from deployments.services.warm_worker.wakeup import Queue


class LateApi:
    """Knows a run as Pending some time after it was taken."""

    def __init__(self, queue_id: UUID, limit: int | None) -> None:
        self._flow_id = uuid4()
        self.queue = SimpleNamespace(id=queue_id, is_paused=False, concurrency_limit=limit)
        self.active: set[UUID] = set()

    async def read_flow_run(self, run_id: UUID) -> Any:
        await asyncio.sleep(0.01)
        state = StateType.PENDING if run_id in self.active else StateType.SCHEDULED
        return FlowRun(id=run_id, flow_id=self._flow_id, state_type=state, work_queue_id=self.queue.id)

    async def read_work_queue(self, _queue_id: UUID) -> Any:
        await asyncio.sleep(0.01)
        return self.queue

    async def read_work_pool(self, _name: str) -> Any:
        await asyncio.sleep(0.01)
        return SimpleNamespace(id=uuid4(), is_paused=False, concurrency_limit=None)


class Taking(WarmWorker):
    """A worker of which only the decisions are real."""

    type = "taking"

    def __init__(self, api: LateApi) -> None:
        super().__init__("pool")
        self._client = self._api = api  # type: ignore[assignment]
        self._work_pool = SimpleNamespace(id=uuid4())  # type: ignore[assignment]
        self._has_successfully_synced = True
        self.waiting: list[UUID] = []

    def _postpone(self, flow_run: Any) -> bool:
        return False

    async def _get_scheduled_flow_runs(self) -> list[Any]:
        """As the server does it: as many as there is room for, by what it knows."""
        room = (self._api.queue.concurrency_limit or len(self.waiting)) - len(self._api.active)
        await asyncio.sleep(0.01)
        found = [run for run in self.waiting if run not in self._api.active][: max(0, room)]
        return [SimpleNamespace(flow_run=await self._api.read_flow_run(run)) for run in found]

    async def _submit_scheduled_flow_runs(self, flow_run_response: list[Any]) -> list[Any]:
        runs = [each.flow_run for each in flow_run_response]
        for run in runs:
            self._submitting_flow_run_ids.add(run.id)
            self._in_background(self._accept(run), "accept")
        return runs

    async def _accept(self, run: Any) -> None:
        taken = self._runs[run.id] = WarmRun(run)
        await asyncio.sleep(0.05)
        self._api.active.add(run.id)
        taken.accepted = True


@pytest.mark.parametrize("limit", [1, 2, None])
@pytest.mark.parametrize("polls", [0, 3])
async def test_many_decisions_at_once_keep_to_the_limit(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, polls: int
) -> None:
    api = LateApi(uuid4(), limit)

    async def active(_client: Any, _queue_id: UUID) -> int:
        await asyncio.sleep(0.01)
        return len(api.active)

    monkeypatch.setattr(worker, "active_runs", active)
    taking = Taking(api)
    taking.waiting = [uuid4() for _ in range(6)]
    of = Queue(api.queue.id, "queue")
    await asyncio.gather(
        *(taking._take(run, of) for run in taking.waiting), *(taking.get_and_submit_flow_runs() for _ in range(polls))
    )
    assert len(taking._submitting_flow_run_ids) == (6 if limit is None else limit)
    await asyncio.gather(*taking._background)
