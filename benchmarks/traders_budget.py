"""Which part of the exchange's weight a method uses without a single 429, from the server's own log.

    uv run python benchmarks/traders_budget.py [--window 60] [--periods 3]

Each cell runs against a fresh sandbox of the exchange that permits an address 1,200 weight in `window` seconds (60 as
the real one; less is a scaled run, which favours nobody but makes a round trip count for more), with one-way latencies
of 20 to 120 ms, while there is always work: positions (weight 2) and, for a quarter of the weight, fills, funding and
portfolios (20, and one more for 20 items). `possible` is what the window lets through in `periods` of it; `fraction` is
what was admitted, surcharges included, as a part of that. It counts (`valid`) only without any 429 and where no
interval of the window's length held more than 1,200. Ours is the real client with the real ledger in several processes.
The peers: a token bucket for each process, as trading platforms have it, in one process and in several; and the former
system's pace, one request of weight 2 and a pause of 100 ms. All cells run side by side. Prints one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
LATENCY = "0.02:0.12"
PERMITTED = 1200
TRADERS = 200
GOAL = 0.95
_START_SECONDS = 120
_END_SECONDS = 60


@dataclass(frozen=True)
class Cell:
    """One run: who asks, from how many processes, and how the server counts."""

    method: str
    processes: int
    windows: str


CELLS = (
    Cell("ours", 3, "sliding"),
    Cell("ours", 3, "fixed"),
    Cell("token bucket", 1, "sliding"),
    Cell("token bucket", 3, "sliding"),
    Cell("token bucket", 1, "fixed"),
    Cell("sequential", 1, "sliding"),
)


class Server:
    """A sandbox in a process of its own."""

    def __init__(self, cell: Cell, window: float) -> None:
        command = [sys.executable, "-m", "deployments.sandbox.exchange", "--traders", str(TRADERS), "--paused", "on"]
        command += ["--windows", cell.windows, "--weight", str(PERMITTED), "--weight-window", str(window)]
        command += ["--latency", LATENCY]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url: str = json.loads(self._process.stdout.readline())["url"]

    def truth(self, part: str) -> Any:
        """A part of what really happened."""
        answer = httpx.get(f"{self.url}/__truth", params={"parts": part}, timeout=60)
        return answer.raise_for_status().json()[part]

    def uses(self) -> list[dict[str, Any]]:
        """Every request and surcharge, by the machine's monotonic clock; all come from one address."""
        return [use for uses in self.truth("uses").values() for use in uses]

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


def first_use(server: Server) -> float:
    """When the first request was weighed; waits for it."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if uses := server.uses():
            return float(uses[0]["at"])
        time.sleep(0.2)
    raise TimeoutError("no request reached the server")


def most(uses: list[tuple[float, int]], seconds: float) -> int:
    """The greatest weight in any interval of this length."""
    greatest = first = held = 0
    for at, weight in uses:
        held += weight
        while at - uses[first][0] >= seconds:
            held -= uses[first][1]
            first += 1
        greatest = max(greatest, held)
    return greatest


def run(cell: Cell, window: float, periods: int) -> dict[str, Any]:
    """One cell."""
    with tempfile.TemporaryDirectory(prefix="quintet-budget-") as home:
        environment = {**os.environ, "QUINTET_HOME": home}
        environment.pop("QUINTET_DATABASE_URL", None)
        subprocess.run(
            [sys.executable, "-c", _MAKE_TABLES], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL
        )
        server = Server(cell, window)
        try:
            traders = "\n".join(trader["address"] for trader in server.truth("traders"))
            asked = [sys.executable, "benchmarks/traders_budget_client.py", cell.method, server.url, str(window)]
            clients = [
                subprocess.Popen([*asked, str(seed)], cwd=ROOT, env=environment, stdin=subprocess.PIPE, text=True)
                for seed in range(cell.processes)
            ]
            try:
                for client in clients:
                    assert client.stdin is not None
                    client.stdin.write(traders)
                    client.stdin.close()
                began = first_use(server)
                time.sleep(max(0.0, began + window * periods - time.monotonic()))
            finally:
                for client in clients:
                    client.terminate()
                codes = [client.wait(_END_SECONDS) for client in clients]
            return _result(cell, server, began, window, periods) | {"clients_ended_well": not any(codes)}
        finally:
            server.close()


def _result(cell: Cell, server: Server, began: float, window: float, periods: int) -> dict[str, Any]:
    uses, requests = server.uses(), server.truth("requests")
    admitted = [(use["at"], use["weight"]) for use in uses if use["admitted"]]
    used = sum(weight for at, weight in admitted if at < began + window * periods)
    refused = requests["http_429"]["weight"]
    greatest = most(admitted, window)
    return {
        **asdict(cell),
        "fraction": round(used / (PERMITTED * periods), 4),
        "weight": used,
        "http_429": refused,
        "refused_part": round(refused / requests["requests"], 4),
        "most_in_a_window": greatest,
        "valid": not refused and greatest <= PERMITTED,
        "by_type": requests["by_type"],
    }


_MAKE_TABLES = "from blocks.engine import engine; from blocks.rate_tables import RateTable; "
_MAKE_TABLES += "RateTable.metadata.create_all(engine('rates'))"


def main() -> None:
    """Run all cells and print what they gave."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window", type=float, default=60.0, help="seconds of the window")
    parser.add_argument("--periods", type=int, default=3, help="windows that a cell runs")
    chosen = parser.parse_args()
    with ThreadPoolExecutor(len(CELLS)) as pool:
        cells = list(pool.map(lambda cell: run(cell, chosen.window, chosen.periods), CELLS))
    own = min((cell for cell in cells if cell["method"] == "ours"), key=lambda cell: float(cell["fraction"]))
    peers = [cell for cell in cells if cell["method"] != "ours"]
    best = max((float(cell["fraction"]) for cell in peers if cell["valid"]), default=None)
    result = {
        "window_seconds": chosen.window,
        "periods": chosen.periods,
        "latency_one_way": LATENCY,
        "permitted": PERMITTED,
        "cells": cells,
        "fraction": own["fraction"],
        "http_429": sum(cell["http_429"] for cell in cells if cell["method"] == "ours"),
        "best_valid_peer": best,
        "ratio_to_best_valid_peer": best and round(own["fraction"] / best, 2),
        "goal": GOAL,
        "goal_met": all(cell["valid"] and cell["fraction"] >= GOAL for cell in cells if cell["method"] == "ours"),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
