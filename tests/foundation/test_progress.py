"""Progress, reported inside runs and read back by their id."""

import asyncio
from uuid import UUID

from prefect import flow, task
from prefect.context import TaskRunContext
from prefect.runtime import flow_run

from deployments.status import run_status
from tasks.foundation.progress import Progress, ProgressReport, read_progress


@task(name="foundation-count")
async def count(total: int) -> UUID:
    """Report each number; gives the id of this run."""
    report = ProgressReport()
    for done in range(total + 1):
        await report.update(
            Progress(step="count", percent=100 * done / total, total=total, processed=done, current="M_1")
        )
    context = TaskRunContext.get()
    assert context is not None
    return context.task_run.id


@flow(name="foundation-progress")
async def counting() -> UUID:
    """A flow whose task reports."""
    await count(3)
    return UUID(flow_run.get_id())


def test_a_task_reports_for_its_flow_run(prefect_api: str) -> None:
    progress = asyncio.run(read_progress(asyncio.run(counting())))
    assert progress is not None
    assert (progress.step, progress.percent, progress.processed, progress.current) == ("count", 100, 3, "M_1")


def test_a_task_by_itself_is_followed_by_its_own_id(prefect_api: str) -> None:
    async def run() -> None:
        run_id = await count(2)
        progress = await read_progress(run_id)
        assert progress is not None and progress.processed == 2
        # Prefect's server hears of task runs through events, a moment later.
        while (status := await run_status(run_id)).state != "Completed":
            await asyncio.sleep(0.05)
        assert status.flow is None and status.progress == progress

    asyncio.run(asyncio.wait_for(run(), 60))


async def test_outside_a_run_nothing_is_shown() -> None:
    await ProgressReport().update(Progress(step="alone"))
