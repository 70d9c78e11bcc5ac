"""One flow run on the warm worker, from the fork to its end."""

import asyncio
import logging
import signal
import tempfile
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from uuid import UUID

from prefect._internal.infrastructure_exit_codes import get_infrastructure_exit_info
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import DeploymentResponse

from deployments.processes import ProcessIdentity, host_name
from deployments.services.warm_worker.configuration import WarmJobConfiguration
from deployments.services.warm_worker.fork_server import ForkedProcess, ForkServer, ForkServerError
from deployments.services.warm_worker.intent import END_SIGNAL, cancel
from deployments.services.warm_worker.jobs import Job
from deployments.services.warm_worker.records import RunRecords
from deployments.services.warm_worker.states import mark_cancelled, mark_crashed, unfinished
from tasks.foundation.ending import LONG_LIVED

# Forks tried for one run when the template dies under it.
FORK_ATTEMPTS = 3
# A template that lost its worker's question may still have forked: the child says so within this time.
CLAIM_SECONDS = 1.0


def module_entrypoint(deployment: DeploymentResponse | None) -> str | None:
    """The dotted path of the deployment's flow when importing it is all it takes; else None.

    Pull steps, storage and path entrypoints (`file.py:flow`) are left to Prefect's engine in a fresh interpreter:
    they may bring another version of modules that the template has already imported.
    """
    if deployment is None or not deployment.entrypoint or ":" in deployment.entrypoint:
        return None
    if deployment.pull_steps or deployment.storage_document_id:
        return None
    return deployment.entrypoint


@dataclass
class WarmRun:
    """A run that this worker looks after.

    Attributes:
        flow_run: the flow run.
        accepted: whether the API took it as Pending, so that its queue's limit counts it.
        entrypoint: see `module_entrypoint`.
        process: its process, once there is one.
        cancelling: whether its cancellation was asked for.
        in_doubt: whether its process was killed, so that a request of it may still be under way (`reconcile`).
        started: set when there is a process.
        over: set when its end has been dealt with.
    """

    flow_run: FlowRun
    accepted: bool = False
    entrypoint: str | None = None
    process: ForkedProcess | None = None
    cancelling: bool = False
    in_doubt: bool = False
    started: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def work_queue_id(self) -> UUID | None:
        """The queue it came from."""
        return self.flow_run.work_queue_id

    @property
    def infrastructure_pid(self) -> str:
        """What the API knows its process by: `machine:pid`."""
        return f"{host_name()}:{self.process.pid if self.process else 0}"

    @property
    def long_lived(self) -> bool:
        """Whether it goes on until it is asked to end, as its deployment's tag says."""
        return LONG_LIVED in self.flow_run.tags

    def ask_to_end(self) -> None:
        """Ask it to end by itself; one that does not listen yet hears nothing."""
        if self.process is not None and not self.process.ended.done():
            self.process.signal(END_SIGNAL)

    async def end(self, grace_seconds: float, *, as_cancelled: bool) -> None:
        """End its process: SIGTERM, then SIGKILL for it and what it started after the grace time.

        Args:
            grace_seconds: time for hooks and for reporting.
            as_cancelled: end as Cancelled rather than as Crashed.
        """
        self.cancelling = self.cancelling or as_cancelled
        process = self.process
        if process is None or process.ended.done():
            return
        with suppress(ProcessLookupError):
            if as_cancelled:
                cancel(process.pid)
            else:
                process.signal(signal.SIGTERM)
        done, _ = await asyncio.wait([process.ended], timeout=grace_seconds)
        if not done:
            process.signal(signal.SIGKILL, group=True)


async def counted(submitted: Iterable[FlowRun], submitting: Container[UUID], runs: Mapping[UUID, WarmRun]) -> None:
    """Wait until the server counts runs against the limits of their queues, or they came to nothing.

    Args:
        submitted: the runs.
        submitting: those that have not come to their end.
        runs: those that this worker has begun with.
    """
    for flow_run in submitted:
        # Prefect's base worker ends them without an event.
        while flow_run.id in submitting and not (flow_run.id in runs and runs[flow_run.id].accepted):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@dataclass
class RunStarter:
    """Forks runs and deals with how they end.

    Attributes:
        client: the API.
        forks: the template.
        records: the pool's run records.
        me: this worker.
        logger: the worker's logger.
    """

    client: PrefectClient
    forks: ForkServer
    records: RunRecords
    me: ProcessIdentity
    logger: logging.Logger | logging.LoggerAdapter[logging.Logger]

    async def fork(
        self,
        run: WarmRun,
        configuration: WarmJobConfiguration,
        working_dir: Path,
        kind: Literal["flow", "crashed-hooks", "cancellation-hooks"] = "flow",
    ) -> ForkedProcess:
        """Fork a process for the run, again if the template dies meanwhile.

        Raises:
            ForkServerError: no process could be made.
        """
        job = Job(
            kind=kind,
            flow_run_id=run.flow_run.id,
            flow_run=run.flow_run.model_dump(mode="json"),
            module_entrypoint=run.entrypoint,
            # The process itself owns cancellation: it has the flow and its hooks.
            env=configuration.env | {"PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "true"},
            working_dir=working_dir,
            stream_output=configuration.stream_output,
            records=self.records.folder if kind == "flow" else None,
            worker=self.me,
        )
        for attempt in range(1, FORK_ATTEMPTS + 1):
            try:
                return await self.forks.fork(job)
            except ForkServerError:
                if kind == "flow":
                    await asyncio.sleep(CLAIM_SECONDS)
                    record = self.records.read(run.flow_run.id)
                    if record is not None and record.child is not None:
                        return self.forks.adopt(record.child)
                if attempt == FORK_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    async def run(self, run: WarmRun, configuration: WarmJobConfiguration) -> int:
        """Run it to its end and make the API know that end.

        Returns:
            The exit code, 0 when the run's state tells how it ended.

        Raises:
            ForkServerError: no process could be made.
        """
        with tempfile.TemporaryDirectory(prefix="quintet-run-", ignore_cleanup_errors=True) as scratch:
            working_dir = configuration.working_dir or Path(scratch)
            process = await self.fork(run, configuration, working_dir)
            run.process = process
            run.started.set()
            if run.cancelling:
                # Asked for while the fork was under way.
                process.signal(signal.SIGTERM)
            # Shielded: a worker that stops does not end what it started.
            code = await asyncio.shield(process.ended)
            return await self._conclude(run, configuration, working_dir, code)

    async def _conclude(
        self, run: WarmRun, configuration: WarmJobConfiguration, working_dir: Path, code: int | None
    ) -> int:
        run.in_doubt = code != 0
        # Asked even when it ended well: a run that was being cancelled cannot report that it completed.
        flow_run = await unfinished(self.client, run.flow_run.id)
        if flow_run is None:
            return 0
        run.flow_run = flow_run
        hooks: Literal["crashed-hooks", "cancellation-hooks"]
        if run.cancelling or (flow_run.state is not None and flow_run.state.is_cancelling()):
            hooks = "cancellation-hooks"
        else:
            info = get_infrastructure_exit_info(code if code is not None else -signal.SIGKILL)
            how = f"exit code {code}" if code is not None else "unknown exit code"
            crashed = await mark_crashed(
                self.client, flow_run, f"The run's process ended with {how}. {info.explanation}", self.logger
            )
            if crashed is None:
                return 0
            run.flow_run = crashed
            hooks = "crashed-hooks"
        try:
            process = await self.fork(run, configuration, working_dir, hooks)
            await asyncio.shield(process.ended)
        except ForkServerError as error:
            self.logger.error("Hooks of flow run %s could not be run: %s", flow_run.id, error)
        if hooks == "cancellation-hooks":
            await mark_cancelled(self.client, flow_run, "The run's process was ended.")
            return 0
        return code or -signal.SIGKILL
