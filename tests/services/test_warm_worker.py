"""Runs through the warm worker, against a real Prefect server."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.states import Cancelling

from deployments.services.warm_worker import WarmWorker
from tests.services.conftest import FLOWS, Pool, eventually

pytestmark = pytest.mark.timeout(150)


def noted(folder: Path, name: str) -> dict[str, Any]:
    """What the flow left behind, as soon as it did."""
    content: dict[str, Any] = json.loads(eventually(lambda: (folder / name).exists() and (folder / name).read_text()))
    return content


def test_a_run_sees_parameters_environment_and_settings_of_its_own(shared_pool: Pool, tmp_path: Path) -> None:
    run = shared_pool.run(
        "warm-echo",
        {"folder": str(tmp_path), "values": [1, 2]},
        job_variables={"env": {"GIVEN": "yes", "QUINTET_HOME": str(tmp_path / "other")}, "image": "ignored"},
    )
    ended = shared_pool.state(run, "Completed")
    seen = noted(tmp_path, "echo")
    assert seen["values"] == [1, 2]
    assert seen["given"] == "yes"
    assert seen["home"] == str(tmp_path / "other")
    eventually(lambda: not Path(seen["cwd"]).exists())  # a folder of its own, gone with the run
    pid = ended.infrastructure_pid or eventually(lambda: shared_pool.read(run).infrastructure_pid)
    assert pid.endswith(f":{seen['pid']}")

    def logs() -> list[str]:
        wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]))
        return [log.message for log in shared_pool.ask(lambda client: client.read_logs(wanted))]

    eventually(lambda: "echo [1, 2]" in logs())
    assert "on stdout" in shared_pool.log.read_text()


def test_runs_are_processes_of_their_own_from_one_template(shared_pool: Pool, tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(3)]
    for folder in folders:
        folder.mkdir()
        shared_pool.run("warm-echo", {"folder": str(folder), "values": []})
    seen = [noted(folder, "echo") for folder in folders]
    assert len({each["pid"] for each in seen}) == 3
    assert len({each["parent"] for each in seen}) == 1


def test_a_failing_flow_is_failed_and_not_crashed(shared_pool: Pool, tmp_path: Path) -> None:
    run = shared_pool.run("warm-fail", {"folder": str(tmp_path)})
    ended = shared_pool.state(run, "Failed", "Crashed")
    assert ended.state is not None and ended.state.name == "Failed"
    assert "on purpose" in str(ended.state.message)


def test_a_flow_that_takes_too_long_times_out(shared_pool: Pool, tmp_path: Path) -> None:
    run = shared_pool.run("warm-timeout", {"folder": str(tmp_path)})
    assert shared_pool.state(run, "TimedOut", "Completed", "Crashed").state_name == "TimedOut"


def test_retries_are_declared_by_the_deployments_environment(shared_pool: Pool, tmp_path: Path) -> None:
    env = {"PREFECT_TASKS_DEFAULT_RETRIES": "2", "PREFECT_TASKS_DEFAULT_RETRY_DELAY_SECONDS": "0"}
    run = shared_pool.run("warm-retry", {"folder": str(tmp_path)}, job_variables={"env": env})
    assert shared_pool.state(run, "Completed", "Failed").state_name == "Completed"
    assert len(list(tmp_path.glob("try-*"))) == 3
    other = tmp_path / "without"
    other.mkdir()
    # The settings of one run are not those of the next.
    run = shared_pool.run("warm-retry", {"folder": str(other)})
    assert shared_pool.state(run, "Completed", "Failed").state_name == "Failed"


def test_path_entrypoints_are_run_by_prefects_engine(shared_pool: Pool, tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "elsewhere.py").write_text(
        "from pathlib import Path\n"
        "from prefect import flow\n"
        "@flow\n"
        "def elsewhere(folder: str) -> None:\n"
        "    (Path(folder) / 'echo').write_text('{}')\n"
    )
    run = shared_pool.run(
        "elsewhere",
        {"folder": str(tmp_path)},
        entrypoint="elsewhere.py:elsewhere",
        pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(code)}}],
    )
    shared_pool.state(run, "Completed")
    noted(tmp_path, "echo")


@pytest.mark.parametrize(
    "variables", [{"working_dir": "/does/not/exist"}, {"env": {"GIVEN": "{{ prefect.blocks.secret.is-not-there }}"}}]
)
def test_a_run_that_cannot_be_started_is_crashed(shared_pool: Pool, tmp_path: Path, variables: dict[str, Any]) -> None:
    run = shared_pool.run("warm-echo", {"folder": str(tmp_path), "values": []}, job_variables=variables)
    shared_pool.state(run, "Crashed")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_is_crashed_at_once_and_its_hook_runs(shared_pool: Pool, tmp_path: Path) -> None:
    run = shared_pool.run("warm-sleep", {"folder": str(tmp_path)})
    pid = noted(tmp_path, "sleeping")["pid"]
    os.kill(pid, signal.SIGKILL)
    ended = shared_pool.state(run, "Crashed", "Completed")
    assert "exit code -9" in str(ended.state and ended.state.message)
    hook = noted(tmp_path, "crashed-hook")
    assert hook["state"] == "Crashed"
    assert hook["pid"] != pid


def test_a_cancelled_run_ends_as_cancelled_and_its_hook_runs(shared_pool: Pool, tmp_path: Path) -> None:
    run = shared_pool.run("warm-sleep", {"folder": str(tmp_path)})
    pid = noted(tmp_path, "sleeping")["pid"]
    shared_pool.state(run, "Running")
    shared_pool.ask(lambda client: client.set_flow_run_state(run, Cancelling()))
    shared_pool.state(run, "Cancelled")
    eventually(lambda: not psutil.pid_exists(pid))
    assert noted(tmp_path, "cancellation-hook")["state"] == "Cancelling"
    assert not (tmp_path / "crashed-hook").exists()
    assert not (tmp_path / "slept").exists()


def test_a_queue_limit_holds_and_room_is_used_at_once(shared_pool: Pool, tmp_path: Path) -> None:
    async def limit(client: Any, runs: int | None) -> None:
        queue = (await client.read_work_queues(work_pool_name=shared_pool.name))[0]
        await client.update_work_queue(queue.id, concurrency_limit=runs)

    shared_pool.ask(lambda client: limit(client, 1))
    folders = [tmp_path / str(number) for number in range(5)]
    for folder in folders:
        folder.mkdir()
    # At once: the worker must not find room for two before the server knows of the first.
    with ThreadPoolExecutor(len(folders)) as threads:
        started = [
            threads.submit(copy_context().run, shared_pool.run, "warm-sleep", {"folder": str(folder), "seconds": 0.3})
            for folder in folders
        ]
    runs = [each.result() for each in started]
    ended = [shared_pool.state(run, "Completed") for run in runs]
    spans = sorted((run.start_time, run.end_time) for run in ended if run.start_time and run.end_time)
    assert len(spans) == 5
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    shared_pool.ask(lambda client: limit(client, None))


def test_a_dead_template_is_started_again_and_its_runs_go_on(shared_pool: Pool, tmp_path: Path) -> None:
    run = shared_pool.run("warm-sleep", {"folder": str(tmp_path), "seconds": 2})
    sleeping = noted(tmp_path, "sleeping")["pid"]
    template = psutil.Process(sleeping).parent()
    assert template is not None and template.ppid() == shared_pool.workers[0].pid
    template.kill()
    second = tmp_path / "second"
    second.mkdir()
    other = shared_pool.run("warm-echo", {"folder": str(second), "values": []})
    shared_pool.state(other, "Completed")
    assert noted(second, "echo")["parent"] != template.pid
    assert shared_pool.state(run, "Completed", "Crashed").state_name == "Completed"


def test_a_run_outlives_its_killed_worker(pool: Pool, tmp_path: Path) -> None:
    worker = pool.worker()
    run = pool.run("warm-sleep", {"folder": str(tmp_path), "seconds": 1.5})
    noted(tmp_path, "sleeping")
    worker.kill()
    worker.wait()
    pool.worker()  # which must not take it for lost
    assert pool.state(run, "Completed", "Crashed").state_name == "Completed"


def test_a_run_killed_with_its_worker_is_crashed_by_the_next_one(pool: Pool, tmp_path: Path) -> None:
    worker = pool.worker()
    run = pool.run("warm-sleep", {"folder": str(tmp_path)})
    pid = noted(tmp_path, "sleeping")["pid"]
    worker.kill()
    worker.wait()
    os.kill(pid, signal.SIGKILL)
    assert pool.read(run).state_name == "Running"
    pool.worker()
    ended = pool.state(run, "Crashed", "Completed")
    assert f"as process {pid}" in str(ended.state and ended.state.message)


def test_a_stopped_worker_lets_runs_finish_and_crashes_the_rest(pool: Pool, tmp_path: Path) -> None:
    worker = pool.worker("--drain-seconds", "3")
    short, long = tmp_path / "short", tmp_path / "long"
    for folder in (short, long):
        folder.mkdir()
    brief = pool.run("warm-sleep", {"folder": str(short), "seconds": 1.5})
    endless = pool.run("warm-sleep", {"folder": str(long)})
    for folder in (short, long):
        noted(folder, "sleeping")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert pool.read(brief).state_name == "Completed"
    assert pool.read(endless).state_name == "Crashed"
    assert noted(long, "crashed-hook")["state"] == "Crashed"


@pytest.mark.parametrize("in_a_fresh_interpreter", [False, True])
def test_a_stopped_worker_has_long_lived_runs_end_by_themselves(
    pool: Pool, tmp_path: Path, in_a_fresh_interpreter: bool
) -> None:
    """One that is not asked would keep this worker for ten minutes."""
    worker = pool.worker("--drain-seconds", "600")
    module = FLOWS.replace(".", "/")
    steps = [{"prefect.deployments.steps.set_working_directory": {"directory": str(Path.cwd())}}]
    elsewhere = {"entrypoint": f"{module}.py:warm_endless", "pull_steps": steps} if in_a_fresh_interpreter else {}
    short = tmp_path / "short"
    short.mkdir()
    brief = pool.run("warm-sleep", {"folder": str(short), "seconds": 1.5})
    endless = pool.run("warm-endless", {"folder": str(tmp_path)}, tags=["long-lived"], **elsewhere)
    noted(short, "sleeping")
    noted(tmp_path, "going-on")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert (tmp_path / "ended-well").exists()
    assert pool.read(endless).state_name == "Completed"
    assert (short / "slept").exists() and pool.read(brief).state_name == "Completed"


def test_prefect_finds_the_worker_type() -> None:
    from prefect.workers.base import BaseWorker

    assert BaseWorker.get_worker_class_from_type("warm") is WarmWorker


def test_job_variables_of_other_workers_are_accepted(warm_template: dict[str, Any]) -> None:
    assert {"env", "command", "name", "labels"} <= warm_template["variables"]["properties"].keys()
    assert FLOWS not in str(warm_template)
