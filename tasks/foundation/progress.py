"""Progress of a run, readable by its id while it runs: step, percent, counts and the item at hand.

It is shown in the Prefect UI as a progress bar and a one-line table on the run's page, and read back by `quintet status
RUN` or `read_progress(run_id)`; the run is a flow run, or the task run of a background task.
"""

import time
from uuid import UUID

from prefect.artifacts import ProgressArtifact, TableArtifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    ArtifactFilterTaskRunId,
)
from prefect.client.schemas.sorting import ArtifactSort
from prefect.context import FlowRunContext, TaskRunContext
from pydantic import BaseModel, Field

#: Key of the table that carries the numbers; the bar has its own.
TABLE_KEY = "progress"
BAR_KEY = "progress-bar"
#: Two API calls an update: more often than this only costs.
MINIMUM_SECONDS = 1.0


class Progress(BaseModel):
    """Where a run stands."""

    step: str
    percent: float = Field(0, ge=0, le=100)
    total: int = 0
    processed: int = 0
    failed: int = 0
    #: An id, never a name.
    current: str | None = None


class ProgressReport:
    """Reports one run's progress; updates closer together than a second are left out, steps never are."""

    def __init__(self) -> None:
        self._last_at = 0.0
        self._last_step: str | None = None
        self._artifacts: tuple[UUID, UUID] | None = None

    async def update(self, progress: Progress) -> None:
        """Show the progress. Outside a run nothing is shown."""
        now = time.monotonic()
        if FlowRunContext.get() is None and TaskRunContext.get() is None:
            return
        if progress.step == self._last_step and progress.percent < 100 and now - self._last_at < MINIMUM_SECONDS:
            return
        self._last_at, self._last_step = now, progress.step
        row = f"[{progress.model_dump_json()}]"
        if self._artifacts is None:
            bar = await ProgressArtifact(key=BAR_KEY, progress=progress.percent, description=progress.step).acreate()
            table = await TableArtifact(key=TABLE_KEY, table=[progress.model_dump()]).acreate()
            self._artifacts = bar.id, table.id
            return
        # The same two artifacts, so that a run has one bar and not a list of them.
        async with get_client() as client:
            changed = ArtifactUpdate(data=progress.percent, description=progress.step)
            await client.update_artifact(artifact_id=self._artifacts[0], artifact=changed)
            await client.update_artifact(artifact_id=self._artifacts[1], artifact=ArtifactUpdate(data=row))


async def read_progress(run_id: UUID) -> Progress | None:
    """The newest progress of a run, or None where it reported none.

    Args:
        run_id: a flow run (progress of the tasks inside it counts as its own), or a background task's run.
    """
    of_run = (
        ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]), key=ArtifactFilterKey(any_=[TABLE_KEY])),
        ArtifactFilter(task_run_id=ArtifactFilterTaskRunId(any_=[run_id]), key=ArtifactFilterKey(any_=[TABLE_KEY])),
    )
    async with get_client() as client:
        for wanted in of_run:
            found = await client.read_artifacts(artifact_filter=wanted, sort=ArtifactSort.UPDATED_DESC, limit=1)
            if found and isinstance(found[0].data, str):
                return Progress.model_validate_json(found[0].data.removeprefix("[").removesuffix("]"))
    return None
