"""A whole player sync against the optimum that the key's limits permit: database, statistics and payloads included.

    uv run python benchmarks/league_job.py [--matches 1000] [--app 500:10,30000:600] [--windows fixed]

The job is `sync_player_data` on an empty SQLite ledger with everything as in production; the Riot API is the sandbox
in a process of its own, with one-way latencies of 5 to 60 ms and timelines of the real ones' size. `optimum_seconds` is
the least time in which a server with these windows answers that many requests on the busiest route, were its client
infinitely fast. CPU and memory are of this process alone; they should be flat from one half of the job to the other.
Prints one JSON object.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[1]
LATENCY = "0.005:0.06"


@contextmanager
def riot_api(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A sandbox of the Riot API with a production key, in a process of its own."""
    options = ["--matches", arguments.matches, "--app", arguments.app, "--windows", arguments.windows]
    command = [sys.executable, "-m", "deployments.sandbox.riot", *options, "--latency", LATENCY]
    process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def configure(home: str, api: dict[str, Any]) -> None:
    """Settings and tables of a fresh home."""
    os.environ["QUINTET_HOME"] = home
    os.environ["QUINTET_LEAGUE__RIOT_API_KEY"] = api["key"]
    os.environ["QUINTET_LEAGUE__RIOT_BASE_URL"] = api["base_url"]
    os.environ["QUINTET_LEAGUE__RIOT_KEY_PROFILE"] = "production"
    os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"
    from deployments.migrations import migrate

    for domain in ("league", "rates"):
        migrate(domain)


class Meter:
    """CPU time and memory of this process at every item of the job."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        #: CPU seconds and resident bytes.
        self.samples: list[tuple[float, int]] = []

    def attach(self) -> None:
        """Sample whenever the job counts an item."""
        from tasks.league.tracking import Tracker

        counted = Tracker.item

        async def item(tracker: Tracker, current: str, *, failed: bool) -> None:
            self.samples.append((time.process_time(), self._process.memory_info().rss))
            await counted(tracker, current, failed=failed)

        Tracker.item = item  # type: ignore[assignment, method-assign]

    def halves(self, matches: int) -> dict[str, list[float]]:
        """CPU milliseconds per match and peak resident MiB, of the first and of the second half."""
        middle = len(self.samples) // 2
        parts = self.samples[: middle + 1], self.samples[middle:]
        return {
            "cpu_ms_per_match": [round(1000 * (part[-1][0] - part[0][0]) / (matches / 2), 2) for part in parts],
            "peak_rss_mib": [round(max(rss for _, rss in part) / 2**20, 1) for part in parts],
        }


def optimum_seconds(requests: int, windows: str) -> float:
    """The least time for that many requests on a cold bucket: of each window as many as needed, but for the last."""
    pairs = (window.split(":") for window in windows.split(","))
    return max((-(-requests // int(limit)) - 1) * float(seconds) for limit, seconds in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--matches", type=int, default=1000)
    parser.add_argument("--app", default="500:10,30000:600", help="windows of the key")
    parser.add_argument("--windows", choices=("fixed", "sliding"), default="fixed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="quintet-job-") as home, riot_api(arguments) as api:
        configure(home, api)
        from tasks.league.players import sync_player_data

        meter = Meter()
        meter.attach()
        player = api["player"]
        began = time.monotonic()
        result = asyncio.run(sync_player_data.fn(player["game_name"], player["tag_line"]))
        seconds = time.monotonic() - began
        truth = httpx.get(f"http://{api['host']}:{api['port']}/__truth", timeout=60).json()
        busiest = max(route["requests"] for route in truth["routes"].values())
        optimum = optimum_seconds(busiest, arguments.app)
        told = {
            "matches": result.listed,
            "stored": result.matches_stored + result.timelines_stored,
            "missing": result.missing,
            "requests": result.requests,
            "http_429": sum(truth["totals"]["http_429"].values()),
            "optimum_seconds": optimum,
            "seconds": round(seconds, 2),
            "ratio": round(seconds / optimum, 4) if optimum else None,
            "cpu_ms_per_match": round(1000 * time.process_time() / result.listed, 2),
            "first_and_second_half": meter.halves(result.listed),
            "database_mib": round(sum(path.stat().st_size for path in Path(home).rglob("league.db*")) / 2**20, 1),
        }
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
