"""The Prefect worker of type `warm`."""

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio.abc
import httpx
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.exceptions import Abort, InfrastructureNotFound, ObjectNotFound
from prefect.states import Pending
from prefect.types._datetime import now
from prefect.utilities.engine import propose_state
from prefect.workers.base import BaseWorker

from deployments.processes import ProcessIdentity
from deployments.services.warm_worker.alarms import Alarms
from deployments.services.warm_worker.configuration import WarmJobConfiguration, WarmVariables, WarmWorkerResult
from deployments.services.warm_worker.draining import drain
from deployments.services.warm_worker.first_runs import start_long_lived
from deployments.services.warm_worker.fork_server import ForkServer
from deployments.services.warm_worker.reconcile import reconcile
from deployments.services.warm_worker.records import RunRecords
from deployments.services.warm_worker.runs import RunStarter, WarmRun, counted, module_entrypoint
from deployments.services.warm_worker.states import active_runs, mark_crashed
from deployments.services.warm_worker.wakeup import Queue, cancellation_observer, listen_for_runs, wait_for_pool

RECONCILE_SECONDS = 10.0
# Time a run has to end by itself after SIGTERM: its hooks run in it. Prefect's own workers give the same.
GRACE_SECONDS = 30.0
# The worker's labels are written this long after the start: earlier they would compete with the run's first requests.
LABEL_DELAY_SECONDS = 1.0

# Head start of the worker that a standby queue belongs to: it has set Pending by then.
STANDBY_SECONDS = 1.0


class WarmWorker(BaseWorker[WarmJobConfiguration, WarmVariables, WarmWorkerResult]):
    """Forks each flow run from a process that has already imported Prefect and the flows.

    Args:
        work_pool_name: the work pool, of type `warm`.
        preload: packages that are imported before the first fork.
        standby_queues: queues that another worker serves first; this one takes what that one leaves.
        await_pool: wait for somebody else to make the pool, while importing; by default the worker makes it.
        drain_seconds: time that runs have to finish when the worker is stopped; the rest is ended and Crashed.
        state_dir: folder of the run records; by default `run/warm-worker` in `QUINTET_HOME`.
        options: those of Prefect's `BaseWorker` (`work_queues`, `name`, `limit`, ...).
    """

    type = "warm"
    job_configuration = WarmJobConfiguration
    job_configuration_variables = WarmVariables
    _display_name = "Warm"
    _description = "Forks flow runs from a process that has already imported them: a run starts in under half a second."

    def __init__(
        self,
        work_pool_name: str,
        *args: Any,
        preload: Sequence[str] = ("flows",),
        standby_queues: Sequence[str] = (),
        await_pool: bool = False,
        drain_seconds: float = 60,
        state_dir: Path | None = None,
        **options: Any,
    ) -> None:
        super().__init__(work_pool_name, *args, **options)
        self._preload = preload
        self._standby_queues = set(standby_queues)
        self._await_pool = await_pool
        self._drain_seconds = drain_seconds
        self._state_dir = state_dir
        self._runs: dict[UUID, WarmRun] = {}
        self._alarms = Alarms(self._on_run)
        self._background: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._reachable = True
        self._full_queues: set[UUID] = set()
        #: One decision at a time about queues with limits, from asking what they hold until the server counts the new.
        self._deciding = asyncio.Lock()

    # Starting and stopping

    async def setup(self) -> None:
        """Start the template, join the pool, report what a killed worker of this machine left behind."""
        self._stopping = False
        self._me = ProcessIdentity.own()
        self._records = RunRecords(self._state_folder())
        self._records.prepare()
        self._forks = ForkServer(self._preload, self._logger)
        self._forks.start()
        if self._await_pool:
            await wait_for_pool(self._work_pool_name)
        await super().setup()
        self._starter = RunStarter(self.client, self._forks, self._records, self._me, self._logger)
        self._in_background(self._reconcile_for_ever(), "reconcile")
        self._in_background(self._listen(), "listen for runs")

    async def teardown(self, *exc_info: Any) -> None:
        """Stop taking runs, let those that run finish for a bounded time, then leave."""
        self._stopping = True
        with anyio.CancelScope(shield=True):
            self._alarms.stop()
            for task in self._background:
                task.cancel()
            await asyncio.gather(*self._background, return_exceptions=True)
            await drain(self._runs, lambda: self._drain_seconds, self._logger)
        try:
            await super().teardown(*exc_info)
        finally:
            with anyio.CancelScope(shield=True):
                await self._forks.stop()

    def hurry(self) -> None:
        """Do not wait for runs while stopping."""
        self._drain_seconds = 0

    def _state_folder(self) -> Path:
        from blocks.settings import settings

        folder = self._state_dir or settings().root / "run" / "warm-worker"
        return folder / self._work_pool_name

    def _in_background(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=f"warm worker: {name}")
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _reconcile_for_ever(self) -> None:
        begun = False
        while True:
            try:
                await reconcile(self.client, self._records, me=self._me, mine=self._runs.keys(), logger=self._logger)
                if not begun:
                    # After that: a killed run would stand in the way of its successor.
                    await start_long_lived(
                        self.client,
                        self._work_pool_name,
                        queues=self._work_queues,
                        not_queues=self._standby_queues,
                    )
                    begun = True
            except httpx.HTTPError as error:
                self._logger.info("Runs of killed workers could not be looked up: %s", error)
            await asyncio.sleep(RECONCILE_SECONDS)

    # Taking runs

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Poll, start what is due, and set an alarm for what soon will be.

        An API that is away is waited for: Prefect's own loop would end the worker after some minutes, and with it runs
        that do not need the API at all.
        """
        async with self._deciding:
            if self._stopping or not self._has_successfully_synced:
                return []
            try:
                responses = await self._get_scheduled_flow_runs()
            except (httpx.TransportError, httpx.HTTPStatusError) as error:
                if isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500:
                    raise
                if self._reachable:
                    self._logger.warning("The Prefect API does not answer (%s); trying again until it does.", error)
                self._reachable = False
                return []
            if not self._reachable:
                self._logger.info("The Prefect API answers again.")
            self._reachable = True
            self._last_polled_time = now("UTC")
            due = [response for response in responses if not self._postpone(response.flow_run)]
            submitted = await self._submit_scheduled_flow_runs(due)
            await counted(submitted, self._submitting_flow_run_ids, self._runs)
            return submitted

    def _postpone(self, flow_run: FlowRun) -> bool:
        return self._alarms.postpone(flow_run, self._prefetch_seconds)

    async def _listen(self) -> None:
        # An API that was away at the start is asked every second: Prefect's own loop asks again after a heartbeat.
        while self._work_pool is None or not self._has_successfully_synced:
            await asyncio.sleep(1)
            with suppress(httpx.HTTPError):
                await self._sync_and_initialize()
        await listen_for_runs(
            work_pool_id=self._work_pool.id,
            on_run=self._on_run,
            on_connected=self.get_and_submit_flow_runs,
            logger=self._logger,
        )

    def _on_run(self, flow_run_id: UUID, queue: Queue | None) -> None:
        self._alarms.forget(flow_run_id)
        known = flow_run_id in self._runs or flow_run_id in self._submitting_flow_run_ids
        if self._stopping or known or self._runs_task_group is None:
            return
        if queue is not None and self._work_queues and queue.name not in self._work_queues:
            return
        # Not in the task group: an alarm rings outside of any task, where a task group takes nothing.
        self._in_background(self._take(flow_run_id, queue), f"take {flow_run_id}")

    async def _take(self, flow_run_id: UUID, of: Queue | None) -> None:
        """Start one run without a poll, as far as its queue has room; poll where order or another limit matters."""
        if of is not None and of.name in self._standby_queues:
            await asyncio.sleep(STANDBY_SECONDS)
        if of is None or self._limit is not None or of.id in self._full_queues:
            await self.get_and_submit_flow_runs()
            return
        try:
            flow_run, queue, pool = await asyncio.gather(
                self.client.read_flow_run(flow_run_id),
                self.client.read_work_queue(of.id),
                self.client.read_work_pool(self._work_pool_name),
            )
            if flow_run.state_type != StateType.SCHEDULED or pool.is_paused or queue.is_paused:
                return
            response = WorkerFlowRunResponse(work_pool_id=pool.id, work_queue_id=queue.id, flow_run=flow_run)
            if pool.concurrency_limit is not None:
                await self.get_and_submit_flow_runs()
            elif queue.concurrency_limit is not None:
                await self._take_if_room(response, queue.concurrency_limit)
            elif not self._postpone(flow_run):
                await self._submit_scheduled_flow_runs([response])
        except ObjectNotFound:
            return
        except httpx.HTTPError as error:
            self._logger.info("Flow run %s is left to the next poll: %s", flow_run_id, error)

    async def _take_if_room(self, response: WorkerFlowRunResponse, limit: int) -> None:
        async with self._deciding:
            # Meanwhile another decision may have started it.
            flow_run, active = await asyncio.gather(
                self.client.read_flow_run(response.flow_run.id), active_runs(self.client, response.work_queue_id)
            )
            if active >= limit:
                self._full_queues.add(response.work_queue_id)
            elif flow_run.state_type == StateType.SCHEDULED and not self._postpone(flow_run):
                submitted = await self._submit_scheduled_flow_runs([response])
                await counted(submitted, self._submitting_flow_run_ids, self._runs)

    # Running them

    async def _submit_run(self, flow_run: FlowRun) -> None:
        run = WarmRun(flow_run)
        self._runs[flow_run.id] = run
        try:
            self._records.submit(flow_run.id, self._me)
            await self._run_to_its_end(run)
            if not run.in_doubt:
                self._records.remove(flow_run.id)
        except httpx.HTTPError as error:
            # The record stays, and with it the end is reported when the API is back.
            self._logger.warning("The end of flow run %s cannot be reported yet: %s", flow_run.id, error)
        finally:
            del self._runs[flow_run.id]
            run.over.set()
            self._release_limit_slot(flow_run.id)
            self._submitting_flow_run_ids.discard(flow_run.id)
            if self._cancelling_observer is not None:
                self._cancelling_observer.remove_in_flight_flow_run_id(flow_run.id)
        # Its end makes room. A queue that has nothing for it has nothing that waits any more.
        if (self._full_queues or self._limit is not None) and not self._stopping:
            taken = await self.get_and_submit_flow_runs()
            if run.work_queue_id not in {each.work_queue_id for each in taken}:
                self._full_queues -= {run.work_queue_id}

    async def _run_to_its_end(self, run: WarmRun) -> None:
        flow_run = run.flow_run
        # Neither needs the other's answer.
        configured, pending = await asyncio.gather(
            self._configure(flow_run), self._propose_pending(run), return_exceptions=True
        )
        if configured is None:
            await self._mark_flow_run_as_cancelled(flow_run, {"message": "The run's deployment no longer exists."})
            return
        if isinstance(pending, BaseException):
            raise pending
        if not pending:
            return
        try:
            if isinstance(configured, BaseException):
                raise configured
            configuration, run.entrypoint = configured
            submitted = self._emit_flow_run_submitted_event(configuration)
            result = await self.run(run.flow_run, configuration)
        except httpx.HTTPError:
            raise
        except Exception as error:  # noqa: BLE001  a run that cannot be started must not end the worker
            self.get_flow_run_logger(flow_run).exception("The run could not be started.")
            await mark_crashed(self.client, flow_run, f"The run could not be started: {error}", self._logger)
            return
        if submitted:
            self._emit_flow_run_executed_event(result, configuration, submitted)

    async def _configure(self, flow_run: FlowRun) -> tuple[WarmJobConfiguration, str | None] | None:
        """How the run is started; None when its deployment is gone."""
        deployment = None
        if flow_run.deployment_id is not None:
            try:
                deployment = await self.client.read_deployment(flow_run.deployment_id)
            except ObjectNotFound:
                return None
        configuration = await self.job_configuration.resolve_for_flow_run(
            flow_run.model_copy(deep=True),
            client=self.client,
            work_pool=self.work_pool.model_copy(deep=True),
            worker_name=self.name,
            worker_id=self.backend_id,
            deployment=deployment,
        )
        return configuration, module_entrypoint(deployment)

    async def _propose_pending(self, run: WarmRun) -> bool:
        try:
            state = await propose_state(self.client, Pending(), flow_run_id=run.flow_run.id)
        except (Abort, ObjectNotFound) as refusal:
            self._logger.debug("Flow run %s is not ours to run: %s", run.flow_run.id, refusal)
            return False
        run.accepted = True
        run.flow_run.state = state
        run.flow_run.state_type, run.flow_run.state_name = state.type, state.name
        return state.is_pending()

    async def run(
        self,
        flow_run: FlowRun,
        configuration: WarmJobConfiguration,
        task_status: anyio.abc.TaskStatus[int] | None = None,
    ) -> WarmWorkerResult:
        """Fork a process for the run and wait for its end."""
        run = self._runs.setdefault(flow_run.id, WarmRun(flow_run))
        announced = asyncio.create_task(self._announce(run, task_status))
        labelled = asyncio.create_task(self._label(run))
        try:
            code = await self._starter.run(run, configuration)
            await announced
        finally:
            announced.cancel()
            labelled.cancel()
            await asyncio.gather(announced, labelled, return_exceptions=True)
        return WarmWorkerResult(identifier=run.infrastructure_pid, status_code=code)

    async def _announce(self, run: WarmRun, task_status: anyio.abc.TaskStatus[int] | None) -> None:
        """Tell the API which process it is."""
        await run.started.wait()
        if task_status is not None and run.process is not None:
            task_status.started(run.process.pid)
        await self._tell(run, self.client.update_flow_run(run.flow_run.id, infrastructure_pid=run.infrastructure_pid))

    async def _label(self, run: WarmRun) -> None:
        """Tell the API which worker it is on, out of the way of the run's start."""
        await run.started.wait()
        await asyncio.sleep(LABEL_DELAY_SECONDS)
        await self._tell(run, self._give_worker_labels_to_flow_run(run.flow_run.id))

    async def _tell(self, run: WarmRun, request: Awaitable[object]) -> None:
        try:
            await request
        except (httpx.HTTPError, ObjectNotFound) as error:
            self._logger.warning("The API was not told about the process of flow run %s: %s", run.flow_run.id, error)

    # Cancelling them

    async def _setup_cancellation_observer(self) -> None:
        """Listen for cancellations always: Prefect leaves them to its runners unless a setting says otherwise."""
        group = self._runs_task_group
        if self._cancelling_observer is not None or self._work_pool is None or group is None:
            return

        def on_cancelling(flow_run_id: UUID) -> None:
            group.start_soon(self._cancel_run, flow_run_id)

        observer = cancellation_observer(self._work_pool.id, on_cancelling)
        self._cancelling_observer = await self._exit_stack.enter_async_context(observer)

    async def _cancel_run(self, flow_run_id: UUID) -> None:
        run = self._runs.get(flow_run_id)
        if run is None:
            return
        self.get_flow_run_logger(run.flow_run).info("Ending the run's process: it is being cancelled.")
        await run.end(GRACE_SECONDS, as_cancelled=True)

    async def kill_infrastructure(
        self, infrastructure_pid: str, configuration: WarmJobConfiguration, grace_seconds: int = 30
    ) -> None:
        """End the process of a run of this worker.

        Raises:
            InfrastructureNotFound: this worker runs no such process.
        """
        for run in self._runs.values():
            if run.process is not None and run.infrastructure_pid == infrastructure_pid:
                await run.end(grace_seconds, as_cancelled=True)
                return
        raise InfrastructureNotFound(f"{self.name} runs no process {infrastructure_pid}")
