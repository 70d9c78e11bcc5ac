"""Which part of the permitted rate a limiter reaches without a single 429, from the server's own log.

    uv run python benchmarks/league_rate.py [--quick] [--side-by-side 3] [--periods 3]

Each cell runs against a fresh sandbox of the Riot API with one-way latencies of 5 to 60 ms, on fixed and on sliding
windows: a development key (its 120 s scaled to 12 s) and a production key. `possible` is what the windows let through
in `periods` of the longest one, min over windows of n * ceil(H / t); `fraction` is admitted / possible, and counts
(`valid`) only without any 429. Ours is the real client with the real ledger: one process; two at once; one that is
stopped, or killed, in the middle of the second window and started again. The peers run in environments of their own;
one that cannot be had on this machine is told as absent. Prints one JSON object.
"""

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from blocks.settings import LeagueSettings

ROOT = Path(__file__).resolve().parents[1]
LATENCY = "0.005:0.06"
#: Peer -> its packages; ` x40`: in so many threads.
PEERS = {
    "riotwatcher x1": ("riotwatcher",),
    "limits moving": ("limits",),
    "pulsefire": ("pulsefire",),
    "riotwatcher x40": ("riotwatcher",),
    "limits fixed": ("limits",),
    "pyrate-limiter": ("pyrate-limiter",),
    "aiolimiter": ("aiolimiter",),
}
#: Our requests in flight: the setting's default. The peers' are in `Cell.at_once`.
AT_ONCE = LeagueSettings().requests_at_once
QUICK = ("riotwatcher x1", "limits moving")
_START_SECONDS = 60


@dataclass(frozen=True)
class Cell:
    """One run: who limits, how the server counts, and by which windows."""

    limiter: str
    mode: str
    key: str
    periods: int

    @property
    def windows(self) -> list[tuple[int, float]]:
        """Limit and seconds of each window."""
        return [(int(limit), float(seconds)) for limit, seconds in (each.split(":") for each in self.key.split(","))]

    @property
    def horizon(self) -> float:
        """Seconds of the run."""
        return self.periods * max(seconds for _, seconds in self.windows)

    @property
    def possible(self) -> int:
        """What the windows let through in that time."""
        return min(limit * math.ceil(self.horizon / seconds) for limit, seconds in self.windows)

    @property
    def at_once(self) -> int:
        """Enough to use up the largest window in a second at the mean round trip."""
        return 40 if self.possible / self.periods <= 100 else 120


class Server:
    """A sandbox in a process of its own."""

    def __init__(self, cell: Cell) -> None:
        command = [sys.executable, "-m", "deployments.sandbox.riot", "--players", "40", "--matches", "1"]
        command += ["--app", cell.key, "--windows", cell.mode, "--latency", LATENCY, "--method", "1000000:10"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        self.base_url: str = told["base_url"]
        self.key: str = told["key"]
        self._truth = f"http://{told['host']}:{told['port']}/__truth?times=1"

    def times(self) -> tuple[list[float], list[float]]:
        """When requests were admitted and rejected, by the machine's monotonic clock."""
        routes = httpx.get(self._truth, timeout=30).json()["times"].values()
        return (
            sorted(at for route in routes for at in route["admitted"]),
            sorted(at for route in routes for at in route["rejected"]),
        )

    def first(self) -> float:
        """When the first request was admitted; waits for it."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if admitted := self.times()[0]:
                return admitted[0]
            time.sleep(0.1)
        raise TimeoutError("no request reached the server")

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


def sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


@contextmanager
def client(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that sends as much as it may until it is ended."""
    # A group of its own: `uv run` starts the peer as a child, which must end with it.
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=sys.stderr, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def measure(cell: Cell, scenario: Callable[[Cell, Server], None]) -> dict[str, Any]:
    server = Server(cell)
    try:
        scenario(cell, server)
        admitted, rejected = server.times()
    finally:
        server.close()
    within = sum(at - admitted[0] < cell.horizon for at in admitted)
    return {
        "limiter": cell.limiter,
        "windows": cell.mode,
        "key": cell.key,
        "seconds": cell.horizon,
        "admitted": within,
        "http_429": len(rejected),
        "possible": cell.possible,
        "fraction": round(within / cell.possible, 4),
        "valid": not rejected,
    }


def ours(processes: int = 1, end: signal.Signals | None = None) -> Callable[[Cell, Server], None]:
    """Our client: in so many processes; with `end`, the first gets that signal mid-window and another one follows."""

    def run(cell: Cell, server: Server) -> None:
        with tempfile.TemporaryDirectory(prefix="quintet-benchmark-") as home, ExitStack() as stack:
            environment = {**os.environ, "QUINTET_HOME": home, "PYTHONPATH": str(ROOT), "RIOT_KEY": server.key}
            environment.pop("QUINTET_DATABASE_URL", None)
            migrate = "from deployments.migrations import migrate; migrate('rates')"
            subprocess.run([sys.executable, "-c", migrate], cwd=ROOT, env=environment, check=True)
            command = [sys.executable, "benchmarks/league_rate_ours.py", server.base_url, str(AT_ONCE)]
            running = [stack.enter_context(client(command, environment)) for _ in range(processes)]
            first = server.first()
            if end is not None:
                # A moment after the second window began, while it is being used up.
                longest = cell.horizon / cell.periods
                sleep_until(first + longest + min(0.3, longest / 10))
                running[0].send_signal(end)
                running[0].wait()
                stack.enter_context(client(command, environment))
            sleep_until(first + cell.horizon + 0.5)

    return run


def peer(name: str, python: str) -> Callable[[Cell, Server], None]:
    def run(cell: Cell, server: Server) -> None:
        command = [*environment_of(name, python), "python", "benchmarks/league_rate_peers.py"]
        command += [name, server.base_url, cell.key, str(cell.at_once)]
        environment = {**os.environ, "RIOT_KEY": server.key}
        with client(command, environment):
            sleep_until(server.first() + cell.horizon + 0.5)

    return run


def environment_of(name: str, python: str) -> list[str]:
    wanted = [argument for package in (*PEERS[name], "httpx") for argument in ("--with", package)]
    return ["uv", "run", "--no-project", *(["--python", python] if name == "pulsefire" else []), *wanted]


def can_be_had(name: str, python: str) -> bool:
    """Whether its environment can be made; makes it, so that no run waits for a download."""
    environment = {key: value for key, value in os.environ.items() if key != "UV_NO_SYNC"}
    command = [*environment_of(name, python), "python", "-c", "pass"]
    return subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, check=False).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only ours and two peers")
    parser.add_argument("--keys", nargs="+", default=["20:1,100:12", "500:10"], help="windows of each key")
    parser.add_argument("--periods", type=int, default=3, help="longest windows in a run")
    parser.add_argument("--only", help="only limiters whose name contains this")
    parser.add_argument("--side-by-side", type=int, default=1, help="cells measured at once")
    parser.add_argument("--pulsefire-python", default="3.12", help="a Python that pulsefire runs on")
    options = parser.parse_args()
    scenarios: dict[str, Callable[[Cell, Server], None]] = {
        "quintet": ours(),
        "quintet, stopped and started": ours(end=signal.SIGTERM),
        "quintet, killed and started": ours(end=signal.SIGKILL),
        "quintet, two processes": ours(processes=2),
    }
    scenarios |= {name: peer(name, options.pulsefire_python) for name in (QUICK if options.quick else PEERS)}
    chosen = {name: run for name, run in scenarios.items() if options.only is None or options.only in name}
    absent = [name for name in chosen if name in PEERS and not can_be_had(name, options.pulsefire_python)]
    wanted = [
        (Cell(name, mode, key, options.periods), run)
        for key in options.keys
        for mode in ("fixed", "sliding")
        for name, run in chosen.items()
        if name not in absent
    ]

    def measured(cell: Cell, run: Callable[[Cell, Server], None]) -> dict[str, Any]:
        found = measure(cell, run)
        print(json.dumps(found), file=sys.stderr, flush=True)
        return found

    # Each has a server of its own and waits most of the time.
    with ThreadPoolExecutor(options.side_by_side) as threads:
        cells = list(threads.map(lambda each: measured(*each), wanted))
    print(json.dumps({"latency_seconds": LATENCY, "absent": absent, "cells": cells}, indent=2))


if __name__ == "__main__":
    main()
