"""From an empty server to finished runs: apply, a warm worker, a cron, a trigger, `prefect deployment run`, status."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun, StateType
from typer.testing import CliRunner

from deployments.apply import apply_all, plan_all
from deployments.commands import apply as apply_command
from deployments.commands import check as check_command
from deployments.commands import status as status_command
from deployments.doctor import examine
from deployments.status import run_status, runs_of

SWEEP = "dicom-sweep-associations/every-minute"
CLEAN = "dicom-clean-dustbin/daily"
ROOT = Path(__file__).parent.parent.parent
#: Far beyond what anything here takes; a bound for a machine that is busy with other tests.
PATIENCE_SECONDS = 90


@pytest.fixture
def applied(own_api: str) -> str:
    """Everything applied; gives the server's address."""
    asyncio.run(apply_all(recreate_work_pool=True))
    return own_api


@pytest.fixture
def worker(applied: str, tmp_path: Path) -> Iterator[None]:
    """A warm worker for all queues."""
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.services.warm_worker", "--pool", "quintet", "--drain-seconds", "5"],
            env={**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")},
            stdout=log,
            stderr=log,
        )
        yield
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until(what: str, found: Callable[[], FlowRun | None]) -> FlowRun:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        run = found()
        if run is not None:
            return run
        time.sleep(0.3)
    raise AssertionError(f"{what}: not within {PATIENCE_SECONDS} s")


def _runs(client: SyncPrefectClient, deployment: UUID) -> list[FlowRun]:
    return client.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])))


def test_everything_turns(worker: None, applied: str) -> None:
    with get_client(sync_client=True) as client:
        sweep = client.read_deployment_by_name(SWEEP)

        # A cron that really yields Scheduled runs.
        ahead = _until(
            "a run from the cron",
            lambda: next(
                (run for run in _runs(client, sweep.id) if run.auto_scheduled and run.next_scheduled_start_time), None
            ),
        )
        assert ahead.expected_start_time is not None
        assert ahead.expected_start_time.second == 0

        # `prefect deployment run` that completes.
        command = ["deployment", "run", CLEAN, "--param", "dry_run=true"]
        answer = subprocess.run(
            [sys.executable, "-m", "prefect", *command], capture_output=True, text=True, timeout=60, check=True
        )
        cleaned = client.read_deployment_by_name(CLEAN).id

        def finished(run: FlowRun | None) -> FlowRun | None:
            return run if run is not None and run.state is not None and run.state.is_final() else None

        done = _until(
            f"a finished run ({answer.stdout})",
            lambda: finished(next((run for run in _runs(client, cleaned) if not run.auto_scheduled), None)),
        )
        assert done.state_type is StateType.COMPLETED, done.state
        assert done.parameters == {"dry_run": True}
        status = asyncio.run(run_status(done.id))
        assert (status.flow, status.state) == ("dicom-clean-dustbin", "Completed")
        assert status.progress is not None
        assert (status.progress.step, status.progress.percent) == ("done", 100)
        shown = CliRunner().invoke(status_command.app, [str(done.id), "--json"])
        assert json.loads(shown.stdout) == status.model_dump(mode="json")
        assert done.id in [found.id for found in asyncio.run(runs_of("dicom-clean-dustbin"))]

        findings = {finding.name: finding for finding in examine()}
        assert [
            name for name in ("server", "clock", "workers", "applied", "migrations dicom") if not findings[name].ok
        ] == []

        # A trigger that really fires. The cron is silent meanwhile: a tick at the same moment would win the one place.
        client.update_deployment_schedule(sweep.id, sweep.schedules[0].id, active=False)
        event = {
            "id": "0190b8a0-0000-7000-8000-000000000001",
            "occurred": "2026-01-01T00:00:00Z",
            "event": "quintet.dicom.destination.recovered",
            "resource": {"prefect.resource.id": "quintet.dicom.destination.archive"},
        }
        httpx.post(f"{applied}/events", json=[event]).raise_for_status()
        fired = _until(
            "a run from the trigger",
            lambda: finished(
                next((r for r in _runs(client, sweep.id) if r.created_by and r.created_by.type == "AUTOMATION"), None)
            ),
        )
        assert fired.state_type is StateType.COMPLETED, fired.state


def test_check_and_apply_tell_the_same(applied: str) -> None:
    runner = CliRunner()
    assert (runner.invoke(check_command.app).exit_code, runner.invoke(check_command.app).stdout) == (
        0,
        "nothing to change\n",
    )
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name("dicom-deliveries", 9)
    told = runner.invoke(check_command.app)
    assert told.exit_code == 1
    assert told.stdout.splitlines() == [
        "changed limit dicom-deliveries (limit)",
        "1 difference; `quintet apply` removes it",
    ]
    assert runner.invoke(apply_command.app).stdout == "changed limit dicom-deliveries (limit)\n"
    assert runner.invoke(apply_command.app).stdout == "nothing changed\n"


def test_prefects_own_deploy_makes_the_same(applied: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert asyncio.run(plan_all()) == []
