"""The traders' demo: a market followed through faults, positions tracked, traders ranked, everything counted.

A stand-in of the exchange runs as a process of its own. While its market goes on, it drops connections, lets one fall
silent, sends broken, empty and repeated frames, and answers 502 for a while. Truth is what it keeps of every trade and
of every change of every position, worked out by itself.
"""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from blocks.engine import session
from deployments.demo.processes import running
from deployments.demo.result import DemoResult, Report
from deployments.up import Stack
from tasks.traders.core.addresses import short
from tasks.traders.core.coins import dex_of

DOMAIN = "traders"
TRADES, RATE = 1500, 60
#: Time for the market, its faults, and the last gap to be filled.
FOLLOWED_SECONDS = 38
#: So many traders, with an open position each, change its leverage between two snapshots.
LEVERAGES = 12
#: Ten times what the real exchange permits, so that forty histories take seconds and not minutes.
WEIGHT = 12_000
COINS = ("BTC", "ETH", "SOL", "xyz:AAPL", "@107")
#: Prices are quotients of decimals, which end somewhere.
_TOLERANCE = Decimal("1e-12")

FAULTS = {
    "--drop-rate": "0.04",
    "--replay": "15",
    "--empty-rate": "0.02",
    "--error-frame-rate": "0.01",
    "--malformed-frame-rate": "0.01",
    "--malformed-trade-rate": "0.01",
    "--latency": "0.005:0.03",
    "--error-rate": "0.02",
}
#: Quicker than for the real exchange, so that a fault and its mending fit into half a minute.
SETTINGS = {
    "PING_SECONDS": "3",
    "SILENCE_SECONDS": "5",
    "RECONNECT_BASE_SECONDS": "0.2",
    "RECONNECT_CAP_SECONDS": "2",
    "SETTLE_SECONDS": "1",
    "NEW_CONNECTIONS_PER_MINUTE": "300",
}


@contextmanager
def sandbox(scratch: Path) -> Iterator[dict[str, Any]]:
    """The stand-in as a process of its own, and the settings that lead to it.

    Args:
        scratch: for its log.

    Returns:
        What it says of itself.
    """
    options: tuple[str, ...] = ("--traders", "40", "--days", "75", "--coins", ",".join(COINS), "--rate", str(RATE))
    options += ("--trades", str(TRADES), "--await-subscriptions", str(len(COINS)), "--weight", str(WEIGHT))
    # Its memory reaches back over the silence, so that every gap can be filled to the last trade.
    options += ("--recent", "400", "--new-connections", "300", *(part for fault in FAULTS.items() for part in fault))
    with running("deployments.sandbox.exchange", *options, log=scratch / "exchange.log") as told:
        values = SETTINGS | {"EXCHANGE_URL": told["url"], "EXCHANGE_WS_URL": told["ws_url"]}
        values |= {"COINS": ",".join(COINS), "WEIGHT_PER_MINUTE": str(WEIGHT)}
        for name, value in values.items():
            os.environ[f"QUINTET_TRADERS__{name}"] = value
        yield told


def run_demo(scratch: Path, exchange: dict[str, Any], stack: Stack, report: Report) -> DemoResult:
    """Follow the market, track and rank its traders, and count.

    Args:
        scratch: unused: the stand-in keeps the truth.
        exchange: what the stand-in said of itself.
        stack: what runs.
        report: told the step, how far it is, and of how much.
    """
    began = time.monotonic()
    demo = _Demo(exchange, stack, report)
    demo.follow()
    demo.run("track", "traders-track/every-75-seconds", {"full": True, "seconds": 30})
    demo.run("rank", "traders-leaderboard/every-ten-minutes", {"profile": "balanced"})
    demo.run("health", "traders-health/hourly", {})
    trades = demo.compare_trades()
    changes = demo.compare_changes()
    leverages = demo.compare_leverages()
    demo.compare_positions()
    demo.compare_counts()
    requests = demo.truth("requests")["requests"]
    if refused := requests["http_429"]["weight"]:
        demo.problems.append(f"the exchange refused {refused} requests for their weight")
    (run,) = _rows("SELECT traders, eligible FROM traders_leaderboard_run ORDER BY id DESC LIMIT 1")
    tracked = _rows(
        "SELECT coalesce(sum(compared), 0) AS compared, coalesce(sum(drifted), 0) AS drifted,"
        " coalesce(sum(weight), 0) AS weight FROM traders_tracking_run"
    )[0]
    if tracked["drifted"]:
        demo.problems.append(f"{tracked['drifted']} positions were not what the exchange said")
    if not run["eligible"]:
        demo.problems.append("nobody could be ranked")
    streams = _rows(
        "SELECT count(*) AS connections, sum(trades) AS received, sum(duplicates) AS repeated,"
        " sum(rejected) AS rejected FROM traders_stream"
    )[0]
    return DemoResult(
        domain=DOMAIN,
        lost=trades[0] + changes[0] + leverages[0],
        duplicates=trades[1] + changes[1] + leverages[1],
        seconds=time.monotonic() - began,
        ui=f"{stack.ui_url}/artifacts/key/traders-leaderboard",
        counts={
            "trades": _count("traders_trade"),
            "connections": streams["connections"],
            "received": streams["received"],
            "repeated": streams["repeated"],
            "rejected": streams["rejected"],
            "gaps_filled": len(_rows("SELECT id FROM traders_gap WHERE state = 'FILLED'")),
            "gaps_left": len(_rows("SELECT id FROM traders_gap WHERE state <> 'FILLED'")),
            "traders": run["traders"],
            "position_changes": _count("traders_event"),
            "leverage_changes": len(_rows("SELECT number FROM traders_event WHERE change = 'LEVERAGE'")),
            "published": len(_rows("SELECT id FROM traders_event WHERE published_at IS NOT NULL")),
            "compared": tracked["compared"],
            "drifted": tracked["drifted"],
            "ranked": run["eligible"],
            "weight": tracked["weight"],
            "http_429": requests["http_429"]["weight"],
        },
        problems=demo.problems,
    )


class _Demo:
    def __init__(self, exchange: dict[str, Any], stack: Stack, report: Report) -> None:
        self.problems: list[str] = []
        self._url = exchange["url"]
        self._stack = stack
        self._report = report

    def truth(self, parts: str) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self._url}/__truth", params={"parts": parts}, timeout=60).json()
        return found

    def follow(self) -> None:
        """Discovery, and beside it a tracking that begins everybody's positions and one that compares them."""
        from deployments.demo.runs import start, wait

        self._report("follow the market", 0, 0)
        discovery = start(self._stack.api_url, "traders-discover/every-half-hour", {"seconds": FOLLOWED_SECONDS})
        self._until_it_trades()
        self._fault(kind="stall")
        tracking = start(self._stack.api_url, "traders-track/every-75-seconds", {"seconds": 7})
        self._fault(kind="storm", seconds=3)
        self._ended("track", wait(self._stack.api_url, tracking, self._follower("track")))
        self._change_leverages()
        self.run("track", "traders-track/every-75-seconds", {"seconds": 8})
        self._ended("follow the market", wait(self._stack.api_url, discovery, self._follower("follow the market")))
        if not self.truth("market")["market"]["finished"]:
            self.problems.append("the market had not ended when the discovery did")

    def _fault(self, **what: Any) -> None:
        httpx.post(f"{self._url}/__fault", json=what, timeout=10).raise_for_status()

    def _change_leverages(self) -> None:
        """Traders whose positions a snapshot has shown change their leverage."""
        shown = {
            (row["address"], row["coin"])
            for row in _rows(
                "SELECT t.address, p.coin FROM traders_position p JOIN traders_trader t ON t.id = p.trader_id"
                " WHERE p.leverage IS NOT NULL"
            )
        }
        held = [
            (user, coin)
            for user, positions in self.truth("positions")["positions"].items()
            for coin in positions
            if (user, coin) in shown
        ]
        # What is traded least is kept longest.
        held.sort(key=lambda position: COINS.index(position[1]), reverse=True)
        for user, coin in held[:LEVERAGES]:
            change = {"user": user, "coin": coin, "type": "isolated", "value": 2}
            httpx.post(f"{self._url}/__leverage", json=change, timeout=10).raise_for_status()

    def _until_it_trades(self) -> None:
        deadline = time.monotonic() + 60
        while self.truth("market")["market"]["trades"] < TRADES // 10:
            if time.monotonic() > deadline:
                self.problems.append("nobody subscribed to the market within a minute")
                return
            time.sleep(0.2)

    def _follower(self, step: str) -> Callable[[Any], None]:
        def follow(status: Any) -> None:
            progress = status.progress
            self._report(step, progress.processed if progress else 0, progress.total if progress else 0)

        return follow

    def run(self, step: str, deployment: str, parameters: dict[str, Any]) -> None:
        from deployments.demo.runs import run_to_end

        self._report(step, 0, 0)
        self._ended(step, run_to_end(self._stack.api_url, deployment, parameters, self._follower(step)))

    def _ended(self, step: str, ended: Any) -> None:
        if ended.state != "Completed":
            self.problems.append(f"{step}: the run {ended.id} ended {ended.state}: {ended.message}")

    def compare_trades(self) -> tuple[int, int]:
        """How many trades are absent, and how many are there that never were."""
        stored = {
            (
                row["coin"],
                row["time"],
                row["tid"],
                row["side"],
                Decimal(row["px"]),
                Decimal(row["sz"]),
                row["b"],
                row["s"],
            )
            for row in _rows(
                "SELECT t.*, b.address AS b, s.address AS s FROM traders_trade t"
                " LEFT JOIN traders_trader b ON b.id = t.buyer_id LEFT JOIN traders_trader s ON s.id = t.seller_id"
            )
        }
        there = {
            (
                *(trade[name] for name in ("coin", "time", "tid", "side")),
                Decimal(trade["px"]),
                Decimal(trade["sz"]),
                trade["buyer"],
                trade["seller"],
            )
            for trade in self.truth("trades")["trades"]
        }
        return len(there - stored), len(stored - there)

    def compare_changes(self) -> tuple[int, int]:
        """How many changes of positions are absent or wrong, and how many are there that never were."""
        rows = _rows(
            "SELECT e.*, t.address FROM traders_event e JOIN traders_trader t ON t.id = e.trader_id"
            " WHERE e.change <> 'LEVERAGE'"
        )
        stored = {(row["address"], row["coin"], row["time"], row["change"]): row for row in rows}
        lost, known = 0, set()
        for change in self.truth("changes")["changes"]:
            kind = change["change"].removesuffix("_POSITION")
            key = (change["user"], change["coin"], change["time"], kind)
            known.add(key)
            wrong = _wrong(stored[key], change) if key in stored else "all of it"
            if wrong:
                lost += 1
                what = f"{kind} of {short(change['user'])} in {change['coin']} at {change['time']}"
                self.problems.append(f"a change is lost or wrong ({wrong}): {what}")
        # What a snapshot found and the stream as well is there twice.
        return lost, len(stored.keys() - known) + len(rows) - len(stored)

    def compare_leverages(self) -> tuple[int, int]:
        """How many changes of leverage are absent, and how many are there that never were.

        Only snapshots tell them: of several changes between two the last, and none of a position that was closed since.
        """
        stored = _by_position(
            _rows(
                "SELECT t.address AS user, e.* FROM traders_event e JOIN traders_trader t ON t.id = e.trader_id"
                " WHERE e.change = 'LEVERAGE' ORDER BY e.number"
            )
        )
        first_shown = {
            (row["address"], row["dex"]): row["baseline_time"]
            for row in _rows("SELECT t.address, p.* FROM traders_poll p JOIN traders_trader t ON t.id = p.trader_id")
        }
        told = self.truth("leverages,changes,positions")
        changes, lost, wrong = _by_position(told["changes"]), 0, 0
        leverages = _by_position(told["leverages"])
        for user, coin in sorted(leverages.keys() | stored.keys()):
            since = first_shown.get((user, dex_of(coin)))
            found = [(row["leverage_type_after"], row["leverage_after"]) for row in stored[user, coin]]
            truly = [(one["after"]["type"], one["after"]["value"]) for one in leverages[user, coin]]
            wrong += max(0, len(found) - len(truly)) + len(set(found) - set(truly))
            if since is None or coin not in told["positions"][user]:
                continue
            later = [one for one in leverages[user, coin] if one["time"] > since]
            ended = any(
                one["change"] != "INCREASE_POSITION" and one["change"] != "DECREASE_POSITION"
                for one in changes[user, coin]
                if one["time"] > since
            )
            if later and not ended and later[0]["before"] != later[-1]["after"] and found[-1:] != truly[-1:]:
                lost += 1
                self.problems.append(f"a change of leverage is lost: of {short(user)} in {coin}")
        return lost, wrong

    def compare_positions(self) -> None:
        """What is held at the end."""
        stored = {
            (row["address"], row["coin"]): Decimal(row["szi"])
            for row in _rows(
                "SELECT p.*, t.address FROM traders_position p JOIN traders_trader t ON t.id = p.trader_id"
            )
        }
        there = {
            (address, coin): Decimal(position["szi"])
            for address, held in self.truth("positions")["positions"].items()
            for coin, position in held.items()
        }
        wrong = [key for key in stored.keys() | there.keys() if stored.get(key, Decimal()) != there.get(key, Decimal())]
        for address, coin in sorted(wrong):
            held, truly = (each.get((address, coin), Decimal()) for each in (stored, there))
            self.problems.append(f"{short(address)} holds {truly} {coin} at the exchange, and {held} here")

    def compare_counts(self) -> None:
        """Everything received has become something."""
        for row in _rows("SELECT * FROM traders_stream"):
            if row["trades"] != row["stored"] + row["duplicates"] + row["rejected"]:
                self.problems.append(f"the counts of stream {row['id']} do not add up: {row}")


def _wrong(stored: dict[str, Any], change: dict[str, Any]) -> str:
    """Which number of a change is not the stand-in's; empty where all are."""
    for name in ("size_before", "size_after", "entry_px", "exit_px", "realised"):
        mine, theirs = stored[name], change[name]
        if (mine is None) != (theirs is None):
            return name
        if mine is None:
            continue
        left, right = Decimal(mine), Decimal(theirs)
        if abs(left - right) > _TOLERANCE * max(abs(left), abs(right), Decimal(1)):
            return name
    return ""


def _by_position(rows: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The same by trader and coin, in their order; of others there is none."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row["user"], row["coin"]].append(row)
    return found


def _rows(query: str) -> list[dict[str, Any]]:
    with session(DOMAIN, read_only=True) as opened:
        return [dict(row) for row in opened.connection().execute(text(query)).mappings()]


def _count(table: str) -> int:
    return int(_rows(f"SELECT count(*) AS n FROM {table}")[0]["n"])  # noqa: S608 - names from this file
