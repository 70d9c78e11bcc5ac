"""Steps of a task: who is tried again, and how often, when Riot's API is away."""

import pytest
from prefect import flow

from tasks.foundation import retries
from tasks.foundation.retries import RetryPolicy
from tasks.league.steps import run_step

TWICE = RetryPolicy("twice", retries=1, base_seconds=0, cap_seconds=0)


async def test_in_a_task_only_that_one_is_tried_again(prefect_api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried, reported = [], []
    monkeypatch.setattr(retries, "report_last_failure", lambda task, run, state: reported.append(task.name))

    @TWICE.task
    async def inner() -> None:
        tried.append("inner")
        raise ConnectionError("the API is away")

    @TWICE.task
    async def outer() -> None:
        tried.append("outer")
        await run_step(inner)

    @flow(name="test-steps-nested")
    async def nested() -> None:
        await outer()

    @flow(name="test-steps-direct")
    async def direct() -> None:
        await run_step(inner)

    with pytest.raises(ConnectionError):
        await nested()
    assert tried == ["outer", "inner"] * 2
    assert reported == ["outer"]
    with pytest.raises(ConnectionError):
        await direct()
    assert tried[4:] == ["inner"] * 2
    assert reported == ["outer", "inner"]
