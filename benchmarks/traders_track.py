"""How much of the weight that the exchange permits the tracking uses, from the exchange's own log.

    uv run python benchmarks/traders_track.py [--seconds 70] [--traders 1500]

`track_traders_batch` runs twice in a row as in production: all settings as they are by default, an SQLite ledger whose
traders are all due, both positions and histories, and the rate ledger that it shares with nobody. The exchange is the
sandbox in a process of its own, which permits 1,200 weight in any 60 seconds, with one-way latencies of 20 to 120 ms;
its market stands still, so that nobody becomes due again. `permitted` is the most that its window lets through from the
call of the task to its return, given what its log has of the time before: a client that is infinitely fast spends
everything at once, and again whenever it counts no more. What the log has in that time, surcharges included, is `used`.

`former` is the former method against a fresh sandbox: a batch of 50 positions, one request at a time with a pause of
100 ms after each, every 75 seconds. One batch is run and measured; its fraction is reckoned from that, without waiting
for the 75 seconds. `ratio_to_former` compares the lesser of our two fractions with its one. Prints one JSON object.
Ends with 1 where a fraction is below 0.95, where anything was answered with 429, or where there was not enough to do.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from tasks.traders.tracking import TrackingResult

ROOT = Path(__file__).resolve().parents[1]
LATENCY = "0.02:0.12"
PERMITTED, WINDOW_SECONDS = 1200, 60.0
GOAL = 0.95
RUNS = 2
#: Of the former method.
BATCH, PAUSE_SECONDS, EVERY_SECONDS = 50, 0.1, 75.0


class Exchange:
    """A sandbox in a process of its own, as its first line told."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.url: str = told["url"]
        self.ws_url: str = told["ws_url"]
        #: Time of the newest block, as long as the market stands still.
        self.time: int = told["start"]

    def truth(self, part: str) -> Any:
        """A part of what really happened."""
        answer = httpx.get(f"{self.url}/__truth", params={"parts": part}, timeout=60)
        return answer.raise_for_status().json()[part]

    def addresses(self) -> list[str]:
        """Of all who trade there."""
        return [trader["address"] for trader in self.truth("traders")]

    def admitted(self) -> list[tuple[float, int]]:
        """When which weight was spent, by the machine's monotonic clock; surcharges are entries of their own."""
        uses = (use for each in self.truth("uses").values() for use in each)
        return sorted((use["at"], use["weight"]) for use in uses if use["admitted"])


@contextmanager
def sandbox(traders: int) -> Iterator[Exchange]:
    """A fresh one."""
    command = [sys.executable, "-m", "deployments.sandbox.exchange", "--traders", str(traders), "--paused", "on"]
    command += ["--weight", str(PERMITTED), "--weight-window", str(WINDOW_SECONDS), "--windows", "sliding"]
    command += ["--latency", LATENCY]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Exchange(json.loads(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait(30)


def configure(home: str, exchange: Exchange, seconds: float | None) -> None:
    """Settings of a fresh home, all others as by default; and its tables."""
    for name in list(os.environ):
        if name.startswith(("QUINTET_", "PREFECT_")):
            del os.environ[name]
    os.environ["QUINTET_HOME"] = home
    os.environ["QUINTET_TRADERS__EXCHANGE_URL"] = exchange.url
    os.environ["QUINTET_TRADERS__EXCHANGE_WS_URL"] = exchange.ws_url
    if seconds is not None:
        os.environ["QUINTET_TRADERS__TRACK_SECONDS"] = str(seconds)
    os.environ["PREFECT_HOME"] = str(Path(home) / "prefect")
    os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"
    from deployments.migrations import migrate

    for domain in ("traders", "rates"):
        migrate(domain)


def discover(exchange: Exchange) -> None:
    """Make all of its traders known as seen trading, so that everybody's positions and history are due."""
    from blocks.engine import session
    from tasks.foundation.core.columns import utc_now
    from tasks.traders.core.tables import DOMAIN, Trader

    now, seen = utc_now(), exchange.time
    with session(DOMAIN) as opened:
        opened.add_all(
            Trader(address=address, first_time=seen, seen_time=seen, discovered_at=now)
            for address in exchange.addresses()
        )


@dataclass(frozen=True)
class Run:
    """One run of the task, and from when to when it went."""

    began: float
    ended: float
    result: "TrackingResult"


def track() -> Run:
    """The task as its flow calls it."""
    from tasks.traders.tracking import track_traders_batch

    began = time.monotonic()
    result = asyncio.run(track_traders_batch.fn())
    return Run(began, time.monotonic(), result)


def measured(run: Run, admitted: list[tuple[float, int]]) -> dict[str, Any]:
    """What a run used of what was permitted."""
    from tasks.traders.core.budget import permitted

    before = [(run.began - at, weight) for at, weight in admitted if at < run.began]
    possible = permitted(PERMITTED, WINDOW_SECONDS, run.ended - run.began, before)
    used = sum(weight for at, weight in admitted if run.began <= at <= run.ended)
    result = run.result
    return {
        "seconds": round(run.ended - run.began, 2),
        "used": used,
        "permitted": possible,
        "fraction": round(used / possible, 4),
        "polled": result.polled,
        "histories": result.histories,
        "failed": result.failed + result.failed_histories,
        "polls_left": result.left,
        "as_the_task_says": {
            "used": result.weight,
            "permitted": result.permitted_weight,
            "http_429": result.http_429,
        },
    }


def refused(exchange: Exchange) -> int:
    """How many requests were answered with 429."""
    return sum(exchange.truth("requests")["http_429"].values())


def ours(seconds: float | None, traders: int) -> dict[str, Any]:
    """The tracking, in this process."""
    with tempfile.TemporaryDirectory(prefix="quintet-track-") as home, sandbox(traders) as exchange:
        configure(home, exchange, seconds)
        from blocks.engine import dispose_engines

        discover(exchange)
        try:
            done = [track() for _ in range(RUNS)]
        finally:
            dispose_engines()
        admitted = exchange.admitted()
        weights = exchange.truth("requests")
        return {
            "runs": [measured(run, admitted) for run in done],
            "http_429": refused(exchange),
            "most_in_a_window": max(host["peak"] for host in weights["hosts"].values()),
            "by_type": weights["by_type"],
        }


def former() -> dict[str, Any]:
    """One batch of the former method, and what that comes to at its pace."""
    with sandbox(BATCH) as exchange:
        addresses = exchange.addresses()
        began = time.monotonic()
        with httpx.Client(timeout=20) as http:
            for address in addresses:
                asked = {"type": "clearinghouseState", "user": address}
                http.post(f"{exchange.url}/info", json=asked).raise_for_status()
                time.sleep(PAUSE_SECONDS)
        seconds = time.monotonic() - began
        used = sum(weight for _, weight in exchange.admitted())
    # A batch that takes longer than that would keep the next one waiting.
    every = max(EVERY_SECONDS, seconds)
    possible = PERMITTED * every / WINDOW_SECONDS
    return {
        "batch": BATCH,
        "batch_seconds": round(seconds, 2),
        "every_seconds": round(every, 2),
        "used": used,
        "permitted": round(possible),
        "fraction": round(used / possible, 4),
    }


def main() -> int:
    """Measure both and print what they gave."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, help="of each run; as in production (70) where it is left out")
    parser.add_argument("--traders", type=int, default=1500, help="more where runs are longer: all have to be due")
    chosen = parser.parse_args()
    if chosen.seconds is not None and chosen.seconds <= WINDOW_SECONDS:
        # The first run spends a whole window at once, which would leave the second one nothing.
        parser.error(f"--seconds has to be above {WINDOW_SECONDS:.0f}")
    tracking, before = ours(chosen.seconds, chosen.traders), former()
    least = min(run["fraction"] for run in tracking["runs"])
    enough = all(run["polls_left"] > 0 for run in tracking["runs"])
    met = least >= GOAL and not tracking["http_429"] and enough
    result = {
        "traders": chosen.traders,
        "latency_one_way": LATENCY,
        "weight": PERMITTED,
        "window_seconds": WINDOW_SECONDS,
        **tracking,
        "fraction": least,
        "former": before,
        "ratio_to_former": round(least / before["fraction"], 1),
        "enough_to_do": enough,
        "goal": GOAL,
        "goal_met": met,
    }
    print(json.dumps(result, indent=2))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
