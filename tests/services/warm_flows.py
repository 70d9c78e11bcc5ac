"""Flows that the tests of the warm worker run."""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task

from blocks.settings import settings
from tasks.foundation.ending import end_asked


def note(folder: str, name: str, **content: Any) -> None:
    """Leave a file that the test reads."""
    temporary = Path(folder) / f".{name}"
    temporary.write_text(json.dumps(content))
    temporary.replace(Path(folder) / name)


def _on_cancellation(flow: Any, flow_run: Any, state: Any) -> None:
    note(flow_run.parameters["folder"], "cancellation-hook", state=state.name)


def _on_crashed(flow: Any, flow_run: Any, state: Any) -> None:
    note(flow_run.parameters["folder"], "crashed-hook", state=state.name, pid=os.getpid())


@flow
async def warm_echo(folder: str, values: list[int]) -> None:
    """Tell what the run sees."""
    get_run_logger().info("echo %s", values)
    print("on stdout")
    note(
        folder,
        "echo",
        values=values,
        pid=os.getpid(),
        parent=os.getppid(),
        home=str(settings().root),
        given=os.environ.get("GIVEN"),
        cwd=str(Path.cwd()),
    )


@flow
async def warm_sleep(folder: str, seconds: float = 60) -> None:
    """Wait, so that something can be done to the run."""
    note(folder, "sleeping", pid=os.getpid())
    await asyncio.sleep(seconds)
    note(folder, "slept")


warm_sleep.on_cancellation_hooks.append(_on_cancellation)
warm_sleep.on_crashed_hooks.append(_on_crashed)


@flow
async def warm_endless(folder: str) -> str:
    """Go on until asked to end."""
    with end_asked() as asked:
        note(folder, "going-on", pid=os.getpid())
        await asked.wait()
    note(folder, "ended-well")
    return "all is stored"


@task
def fails_twice(folder: str) -> int:
    """Succeed the third time."""
    tries = len(list(Path(folder).glob("try-*"))) + 1
    note(folder, f"try-{tries}")
    if tries < 3:
        raise RuntimeError("not yet")
    return tries


@flow
async def warm_retry(folder: str) -> int:
    """Succeeds if the deployment's environment says that tasks are retried."""
    return fails_twice(folder)


@flow
def warm_fail(folder: str) -> None:
    """Fail, in a sync flow."""
    raise ValueError("on purpose")


@flow(timeout_seconds=0.3)
def warm_timeout(folder: str) -> None:
    """Take longer than allowed."""
    time.sleep(30)
