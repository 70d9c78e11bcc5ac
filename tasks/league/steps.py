"""Steps of a task: nested task runs inside a run, plain calls outside of one; one after the other or side by side."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext

from blocks.riot.errors import RiotKeyError

P = ParamSpec("P")
R = TypeVar("R")


async def run_step(step: Task[P, Coroutine[Any, Any, R]], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run an async task as part of what runs now.

    Inside a flow or task run it becomes a task run of its own and is shown in the UI. In a flow it is retried by its
    own policy. In a task only that task is, which then asks for what is still open and nothing else: were both, one
    would wait six times as long for an API that is away before anybody is told.

    Outside (a task called through `.fn`, in a script or a test) it is called as it is, and needs no Prefect server.
    """
    if TaskRunContext.get() is not None:
        return await step.with_options(retries=0, on_failure=[_left_to_the_task_around])(*args, **kwargs)
    if FlowRunContext.get() is not None:
        return await step(*args, **kwargs)
    return await step.fn(*args, **kwargs)


def _left_to_the_task_around(_task: Task[..., Any], _run: TaskRun, _state: State[Any]) -> None:
    """In place of the report of a last failure: it is none while the task around can be tried again."""


@asynccontextmanager
async def side_by_side() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group that stops all when one fails, and raises that one's error as it is.

    An error of the key goes before all others, for it is why others follow.
    """
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except ExceptionGroup as errors:
        failure = next((error for error in errors.exceptions if isinstance(error, RiotKeyError)), errors.exceptions[0])
    else:
        return
    raise failure
