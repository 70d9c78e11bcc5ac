"""What the worker tells the template to run, and what the template answers: one JSON object a line."""

from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel

from deployments.processes import ProcessIdentity


class Job(BaseModel):
    """A process to fork.

    Attributes:
        kind: `flow` runs the flow run; the other two run the flow's hooks for a run whose process cannot do it itself.
        flow_run_id: the flow run.
        flow_run: the flow run as the API gave it, so that the child need not ask again.
        module_entrypoint: the dotted path of the flow, when that is all it takes to load it; None lets Prefect's own
            engine find the code (pull steps, storage, paths) in a fresh interpreter.
        env: environment variables to set; None removes one.
        working_dir: folder to start in.
        stream_output: whether stdout and stderr of the run go to the worker's.
        records: folder of the run records; None for hooks.
        worker: the worker that asks.
    """

    kind: Literal["flow", "crashed-hooks", "cancellation-hooks"]
    flow_run_id: UUID
    flow_run: dict[str, Any]
    module_entrypoint: str | None
    env: dict[str, str | None]
    working_dir: Path
    stream_output: bool
    records: Path | None
    worker: ProcessIdentity


class Notice(BaseModel):
    """What became of a job.

    Attributes:
        what: `ready` (the template can fork), `started`, `failed` (no process was made) or `exited`.
        key: the request's number.
        pid: the process.
        code: exit code; minus the signal's number when a signal ended it.
        cpu_seconds: user and system time of the process and of those it waited for.
        error: why no process was made.
    """

    what: Literal["ready", "started", "failed", "exited"]
    key: int = 0
    pid: int = 0
    code: int = 0
    cpu_seconds: float = 0
    error: str = ""


class Request(BaseModel):
    """A numbered job."""

    key: int
    job: Job
