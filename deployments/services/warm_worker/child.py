"""What a freshly forked process does: become the run that the job describes, run it, and end.

It must leave nothing of the template behind that a fresh interpreter would not have: environment, settings, random
state and signal handlers are set before the flow is touched.
"""

import asyncio
import atexit
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from prefect.client.schemas.objects import FlowRun
from prefect.engine import _drive_run_flow_result, handle_engine_signals
from prefect.exceptions import TerminationSignal
from prefect.flow_engine import load_flow, run_flow
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.logging.configuration import setup_logging
from prefect.logging.loggers import flow_run_logger

from deployments.services.warm_worker.defaults import give_defaults
from deployments.services.warm_worker.intent import CANCEL_SIGNAL, listen
from deployments.services.warm_worker.jobs import Job
from deployments.services.warm_worker.records import RunRecords
from deployments.services.warm_worker.shortcuts import SettingsOf, apply


def run_job(job: Job, settings_of: SettingsOf) -> NoReturn:
    """Run the job in this process and end the process with its exit code.

    Args:
        job: what to run.
        settings_of: has the settings that hold with the job's environment.
    """
    # A session of its own: a terminal's Ctrl-C passes it by, and what it starts can be killed with it.
    os.setsid()
    if job.records is not None and not RunRecords(job.records).start(job.flow_run_id, job.worker):
        os._exit(0)
    _take_on(job, settings_of)
    if job.kind != "flow":
        _end(lambda: _run_hooks(job))
    if job.module_entrypoint is None:
        # Survives the exec, so that a cancellation cannot kill the interpreter before it listens.
        signal.signal(CANCEL_SIGNAL, signal.SIG_IGN)
        os.execv(sys.executable, [sys.executable, "-m", "deployments.services.warm_worker.engine"])  # noqa: S606
    listen()
    _end(lambda: _run_flow(job))


def _take_on(job: Job, settings_of: SettingsOf) -> None:
    logging_changed = settings_of.use(job.env)
    apply(job.env)
    give_defaults()
    if not job.stream_output:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
    os.chdir(job.working_dir)
    if logging_changed:
        setup_logging()
    project_settings = sys.modules.get("blocks.settings")
    if project_settings is not None:
        project_settings.settings.cache_clear()
    # `random` seeds itself after a fork; NumPy's global generator does not.
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def _flow(job: Job, flow_run: FlowRun) -> Flow[..., Any]:
    if job.module_entrypoint is None:
        return load_flow(flow_run)
    return load_flow_from_entrypoint(job.module_entrypoint, use_placeholder_flow=False)


def _run_flow(job: Job) -> None:
    """The steps of `python -m prefect.engine`, with the flow run and the flow at hand."""
    flow_run = FlowRun.model_validate(job.flow_run)
    with handle_engine_signals(flow_run.id):
        logger = flow_run_logger(flow_run=flow_run)
        try:
            flow = _flow(job, flow_run)
        except Exception:
            logger.error("Unexpected exception encountered when trying to load flow", exc_info=True)
            raise
        _drive_run_flow_result(flow, run_flow(flow, flow_run=flow_run, error_logger=logger.logger))


def _run_hooks(job: Job) -> None:
    from prefect.runner._hook_runner import HookRunner

    flow_run = FlowRun.model_validate(job.flow_run)
    if flow_run.state is None:
        return

    async def resolve(_: FlowRun) -> Flow[..., Any]:
        return await asyncio.to_thread(_flow, job, flow_run)

    runner = HookRunner(resolve_flow=resolve)
    hooks = runner.run_crashed_hooks if job.kind == "crashed-hooks" else runner.run_cancellation_hooks
    asyncio.run(hooks(flow_run, flow_run.state))


def _end(run: Callable[[], None]) -> NoReturn:
    """Run, flush what a finishing interpreter would flush, and end without its teardown."""
    code = 0
    try:
        run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except TerminationSignal as end:
        code = 128 + end.signal
    except BaseException:  # noqa: BLE001  as the interpreter does: print it and exit with 1
        traceback.print_exc()
        code = 1
    try:
        # What Python does at the end of a program: logs and events still queued are sent here.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
