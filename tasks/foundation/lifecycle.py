"""Structured log lines of every task: start, completion and failure, with duration and counts.

Inside a run the lines go to Prefect's run logger (and so to the UI), outside to the standard logger `quintet`. They
carry ids and counts, never a person's data and never a parameter's value.
"""

import functools
import inspect
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, cast

import structlog
from prefect import Task
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.events import emit_event
from prefect.logging import get_run_logger
from pydantic import BaseModel

from blocks.settings import settings

P = ParamSpec("P")
R = TypeVar("R")


def _render(_logger: object, _method: str, fields: structlog.typing.EventDict) -> str:
    if settings().log_format == "json":
        return json.dumps(fields, default=str)
    event = fields.pop("event", "")
    return " ".join([str(event), *(f"{key}={value}" for key, value in fields.items())])


def logger(**bound: object) -> structlog.stdlib.BoundLogger:
    """The structured logger of the current run, or of the process outside one."""
    inside = TaskRunContext.get() or FlowRunContext.get()
    target: Any = get_run_logger() if inside else logging.getLogger("quintet")
    wrapped: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        target, processors=[_render], wrapper_class=structlog.stdlib.BoundLogger
    )
    return wrapped.bind(**bound)


def counts_of(result: object) -> dict[str, int]:
    """The whole numbers of a result that has some: a pydantic model's or a mapping's."""
    fields: Mapping[str, object] = {}
    if isinstance(result, BaseModel):
        fields = dict(result)
    elif isinstance(result, Mapping):
        fields = result
    return {str(key): value for key, value in fields.items() if isinstance(value, int) and not isinstance(value, bool)}


@contextmanager
def _life(name: str) -> Iterator[dict[str, int]]:
    """Log start, and completion with the counts put into what is given, or failure."""
    log = logger(task=name)
    log.info("start")
    began = time.monotonic()
    counts: dict[str, int] = {}
    try:
        yield counts
    except Exception as error:
        # The message may quote data; Prefect's state keeps it for those who may see it.
        log.error("failure", seconds=round(time.monotonic() - began, 3), error=type(error).__name__)
        raise
    log.info("completion", seconds=round(time.monotonic() - began, 3), **counts)


def logged(fn: Callable[P, R]) -> Callable[P, R]:
    """Wrap a task's function so that its start, completion and failure are logged with duration and counts."""
    name = getattr(fn, "__name__", "task")

    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def async_wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
            with _life(name) as counts:
                result = await fn(*args, **kwargs)
                counts.update(counts_of(result))
            return result

        return cast(Callable[P, R], async_wrapper)

    @functools.wraps(fn)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with _life(name) as counts:
            result = fn(*args, **kwargs)
            counts.update(counts_of(result))
        return result

    return wrapper


def report_last_failure(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> None:
    """Prefect hook: the last retry failed. A critical line, and an event that automations can react to."""
    logger(task=task.name).critical("failed for good", task_run_id=str(task_run.id), runs=task_run.run_count)
    emit_event(
        event="quintet.task.failed",
        resource={
            "prefect.resource.id": f"quintet.task.{task.name}",
            "prefect.resource.name": task.name,
            "quintet.task-run-id": str(task_run.id),
        },
        payload={"state": state.name, "runs": task_run.run_count},
    )
