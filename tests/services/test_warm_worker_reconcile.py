"""The end of a killed run is looked at for a while: a late request of the dead process may undo it."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State
from prefect.states import Crashed, Running

from deployments.processes import ProcessIdentity
from deployments.services.warm_worker import reconcile as module
from deployments.services.warm_worker.reconcile import reconcile
from deployments.services.warm_worker.records import RunRecords

LOGGER = logging.getLogger(__name__)


class Api:
    """Knows one run, and lets its state be changed by requests that come late."""

    def __init__(self) -> None:
        self.state: State[Any] = Running()

    async def read_flow_run(self, flow_run_id: UUID) -> Any:
        return SimpleNamespace(id=flow_run_id, state=self.state)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    known = Api()

    async def mark_crashed(client: Api, flow_run: Any, reason: str, logger: logging.Logger) -> None:
        client.state = Crashed(message=reason)

    monkeypatch.setattr(module, "mark_crashed", mark_crashed)
    return known


async def test_a_crash_that_a_late_request_undid_is_reported_again(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = ProcessIdentity.own()
    dead = ProcessIdentity(me.host, me.boot, me.pid, me.started + 1)
    records, flow_run_id = RunRecords(tmp_path), uuid4()
    monkeypatch.setattr(ProcessIdentity, "own", classmethod(lambda cls: dead))
    records.submit(flow_run_id, me)
    assert records.start(flow_run_id, me)

    async def look() -> list[UUID]:
        return await reconcile(cast(PrefectClient, api), records, me=me, mine=(), logger=LOGGER)

    assert await look() == []
    assert api.state.is_crashed()
    api.state = Running()
    assert await look() == []
    assert api.state.is_crashed()
    monkeypatch.setattr(module, "DOUBT_SECONDS", 0.0)
    assert await look() == [flow_run_id]
    assert list(records) == []
