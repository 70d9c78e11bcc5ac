"""Job variables of the warm worker: those of Prefect's process worker, so that a deployment fits both."""

from pathlib import Path

from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorkerResult
from pydantic import Field


class WarmJobConfiguration(BaseJobConfiguration):
    """How one run is started. `command` is accepted and unused: there is no command, only a fork."""

    stream_output: bool = Field(default=True)
    working_dir: Path | None = Field(default=None)


class WarmVariables(BaseVariables):
    """What a deployment may set."""

    stream_output: bool = Field(default=True, description="Whether output of runs goes to the worker's output.")
    working_dir: Path | None = Field(
        default=None, description="Folder in which runs start; by default a temporary one for each run."
    )


class WarmWorkerResult(BaseWorkerResult):
    """How a run's process ended: its pid and its exit code."""
