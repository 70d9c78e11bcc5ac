"""Warm worker against Prefect's process worker: latency to a flow's first line, and CPU time of a run.

    uv run python benchmarks/warm_worker.py [--runs 20]

Both serve the same deployment of the same server, one after the other, each polling as it does by default in quintet
(warm) and in Prefect (process), and the process worker once more polling every half second. Prints one JSON object;
`ratio` is process by warm.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

PACE_SECONDS = 1.5
START_SECONDS = 12.0


def first_line_flow_module(folder: Path) -> None:
    """A flow whose first line writes down when it was reached."""
    (folder / "measured_flow.py").write_text(
        "import time\n"
        "from prefect import flow\n"
        "@flow\n"
        "async def measured(out: str, asked: float) -> None:\n"
        "    now = time.time()\n"
        "    with open(out, 'a') as file:\n"
        "        file.write(f'{now - asked}\\n')\n"
    )


@contextmanager
def worker(kind: str, pool: str, environment: dict[str, str], log: Path) -> Iterator[psutil.Process]:
    """A worker process of the given kind."""
    module = ["deployments.services.warm_worker", "--pool", pool, "--preload", "measured_flow"]
    if kind != "warm":
        module = ["prefect", "worker", "start", "--type", "process", "--pool", pool]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *module], env=environment, stdout=output, stderr=output, start_new_session=True
        )
    time.sleep(START_SECONDS)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process, its children, and all that these have waited for."""
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        times = each.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


async def start_run(deployment: str, parameters: dict[str, Any]) -> None:
    """Start a run and do not wait for it."""
    from prefect.deployments.flow_runs import arun_deployment

    await arun_deployment(deployment, parameters=parameters, timeout=0)


def measure(kind: str, serving: psutil.Process, deployment: str, runs: int, out: Path) -> dict[str, Any]:
    """Start runs one after the other; latency of each, CPU time of one without what the idle worker uses."""

    def one() -> None:
        done = len(out.read_text().splitlines())
        asyncio.run(start_run(deployment, {"out": str(out), "asked": time.time()}))
        while len(out.read_text().splitlines()) == done:
            time.sleep(0.02)
        # The process ends after its first line, and its logs are sent.
        time.sleep(PACE_SECONDS)

    out.write_text("")
    one()
    before, began = cpu_seconds(serving), time.monotonic()
    time.sleep(10)
    idle = (cpu_seconds(serving) - before) / (time.monotonic() - began)
    out.write_text("")
    before, began = cpu_seconds(serving), time.monotonic()
    for _ in range(runs):
        one()
    used = cpu_seconds(serving) - before - idle * (time.monotonic() - began)
    latencies = sorted(float(line) for line in out.read_text().split())
    return {
        "worker": kind,
        "runs": runs,
        "p50_seconds": round(statistics.median(latencies), 3),
        "p95_seconds": round(latencies[min(len(latencies) - 1, int(0.95 * len(latencies)))], 3),
        "cpu_seconds_per_run": round(used / runs, 3),
        "idle_cpu_percent": round(100 * idle, 1),
    }


async def deploy(name: str, kind: str) -> str:
    """A pool and a deployment of the measured flow."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.workers.base import BaseWorker

    worker_class = BaseWorker.get_worker_class_from_type(kind)
    assert worker_class is not None
    async with get_client() as client:
        template = worker_class.get_default_base_job_template()
        await client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template))
        flow_id = await client.create_flow_from_name("measured")
        await client.create_deployment(
            flow_id=flow_id, name=name, work_pool_name=name, entrypoint="measured_flow.measured", pull_steps=[]
        )
    return f"measured/{name}"


def compare(folder: Path, runs: int) -> dict[str, Any]:
    """Measure all kinds on the server in use."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PREFECT_LOGGING_LEVEL": "WARNING"}
    first_line_flow_module(folder)
    results = {}
    for name, kind, extra, count in (
        ("warm", "warm", {}, runs),
        ("process", "process", {}, max(3, runs // 4)),
        ("process-0.5s", "process", {"PREFECT_WORKER_QUERY_SECONDS": "0.5"}, max(3, runs // 4)),
    ):
        deployment = asyncio.run(deploy(name, kind))
        with worker(kind, name, environment | extra, folder / f"{name}.log") as serving:
            results[name] = measure(name, serving, deployment, count, folder / f"{name}.txt")
    warm = results["warm"]
    ratio = {
        name: {key: round(other[key] / warm[key], 1) for key in ("p50_seconds", "p95_seconds", "cpu_seconds_per_run")}
        for name, other in results.items()
        if name != "warm"
    }
    return {"cores": os.cpu_count(), "results": list(results.values()), "ratio": ratio}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="runs on the warm worker; a quarter of it on the others")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="quintet-benchmark-") as scratch:
        folder = Path(scratch)
        os.environ |= {"QUINTET_HOME": str(folder / "home"), "PREFECT_HOME": str(folder / "home/prefect")}
        os.environ.pop("PREFECT_API_URL", None)
        from deployments.up import Stack, StackOptions

        with Stack(StackOptions(port=0, workers=False, task_worker=False, listener=False)):
            print(json.dumps(compare(folder, runs), indent=2))


if __name__ == "__main__":
    main()
