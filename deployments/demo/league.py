"""The player system's demo: a player synced, damaged, recovered and synced again, everything counted.

A stand-in of the Riot API runs as a process of its own, with the limits of a production key and answers of 404 here
and there. Truth is what it keeps of its own corpus and of every request; the yearly statistics are counted once more in
plain SQL that shares nothing with the code that made them.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from blocks.engine import session
from deployments.demo.processes import running
from deployments.demo.result import DemoResult, Report
from deployments.up import Stack

DOMAIN = "league"
MATCHES = 200

#: What somebody's slip of the hand might do to a database.
DAMAGE = (
    "DELETE FROM league_participant WHERE match_id IN (SELECT match_id FROM league_match ORDER BY match_id LIMIT 12)",
    "DELETE FROM league_match WHERE match_id IN (SELECT match_id FROM league_match ORDER BY match_id LIMIT 12)",
    "DELETE FROM league_payload WHERE match_id IN"
    " (SELECT match_id FROM league_payload WHERE kind = 'MATCH' ORDER BY match_id LIMIT 6)",
    "DELETE FROM league_timeline WHERE match_id IN (SELECT match_id FROM league_timeline ORDER BY match_id LIMIT 9)",
    "UPDATE league_yearly_stats SET wins = wins + 1, total_kills = 0 WHERE total_matches > 1",
)

#: A player's years, from the rows of the games alone.
RECOUNT = """
SELECT CAST(strftime('%Y', m.game_start) AS INTEGER) AS year, m.platform AS platform, count(*) AS total_matches,
       sum(CASE WHEN p.win THEN 1 ELSE 0 END) AS wins, sum(p.kills) AS total_kills, sum(p.deaths) AS total_deaths,
       sum(p.assists) AS total_assists, sum(p.gold_earned) AS total_gold_earned,
       sum(p.total_damage_dealt_to_champions) AS total_damage_dealt_to_champions,
       count(DISTINCT p.champion_id) AS unique_champions
FROM league_participant p JOIN league_match m ON m.match_id = p.match_id
WHERE p.puuid = :puuid AND m.game_start IS NOT NULL
GROUP BY 1, 2 ORDER BY 1, 2
"""
STATED = """
SELECT year, platform, total_matches, wins, total_kills, total_deaths, total_assists, total_gold_earned,
       total_damage_dealt_to_champions, unique_champions
FROM league_yearly_stats WHERE puuid = :puuid ORDER BY year, platform
"""


@contextmanager
def sandbox(scratch: Path) -> Iterator[dict[str, Any]]:
    """The stand-in as a process of its own, and the settings that lead to it.

    Args:
        scratch: for its log.

    Returns:
        What it says of itself: its address, the key, and who the player is.
    """
    # Late matches would be asked for again in an hour, which nobody waits for here.
    options = ("--matches", str(MATCHES), "--app", "500:10,30000:600", "--latency", "0.005:0.03")
    with running("deployments.sandbox.riot", *options, "--late-match-rate", "0", log=scratch / "riot.log") as told:
        os.environ["QUINTET_LEAGUE__RIOT_API_KEY"] = told["key"]
        os.environ["QUINTET_LEAGUE__RIOT_BASE_URL"] = told["base_url"]
        os.environ["QUINTET_LEAGUE__RIOT_KEY_PROFILE"] = "production"
        yield told


def run_demo(scratch: Path, riot: dict[str, Any], stack: Stack, report: Report) -> DemoResult:
    """Sync, damage, recover, sync again, and count.

    Args:
        scratch: unused: the stand-in keeps the truth.
        riot: what the stand-in said of itself.
        stack: what runs.
        report: told the step, how far it is, and of how much.
    """
    began = time.monotonic()
    demo = _Demo(riot, stack, report)
    demo.sync("sync")
    after_sync = demo.truth()
    stored = _scalars("SELECT match_id FROM league_match")
    timelines = _scalars("SELECT match_id FROM league_timeline")
    clean = _dump()
    _damage()
    damaged = _dump() != clean
    demo.recover()
    recovered = _dump() == clean
    if not damaged or not recovered:
        demo.problems.append("the ledger after recovery is not what it was before the damage")
    before = demo.truth()
    demo.sync("sync again")
    again = _asked(demo.truth(), before)
    player = after_sync["player"]
    # The stand-in gives matches by their fate, and so what can be had of each.
    matches = {match["match_id"] for match in player["matches"] if match["match"] != "missing"}
    with_timeline = {match["match_id"] for match in player["matches"] if match["timeline"] != "missing"}
    demo.check_statistics(player)
    if again.get("match-v5.getMatch", 0) or again.get("match-v5.getTimeline", 0):
        demo.problems.append(f"the second sync asked for what was stored: {again}")
    return DemoResult(
        domain=DOMAIN,
        lost=len(matches - stored) + len(with_timeline - timelines),
        duplicates=len(stored - matches) + len(timelines - with_timeline),
        seconds=time.monotonic() - began,
        ui=f"{stack.ui_url}/artifacts/key/league-player-card",
        counts={
            "listed": len(player["match_ids"]),
            "matches": len(stored),
            "timelines": len(timelines),
            "not_found": len(player["missing_matches"]) + len(player["missing_timelines"]),
            "years": len(player["statistics"]),
            "damaged_and_recovered": recovered and damaged,
            "second_sync_id_requests": again.get("match-v5.getMatchIdsByPUUID", 0),
            "second_sync_match_requests": again.get("match-v5.getMatch", 0) + again.get("match-v5.getTimeline", 0),
            "requests": demo.truth()["totals"]["requests"],
            "http_429": sum(demo.truth()["totals"]["http_429"].values()),
        },
        problems=demo.problems,
    )


class _Demo:
    def __init__(self, riot: dict[str, Any], stack: Stack, report: Report) -> None:
        self.problems: list[str] = []
        self._riot = riot
        self._stack = stack
        self._report = report

    def truth(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{self._riot['port']}/__truth", timeout=60).json()
        return found

    def sync(self, step: str) -> None:
        self._run(step, "league-sync-player/on-demand")

    def recover(self) -> None:
        self._run("recover", "league-recover-player/on-demand")

    def _run(self, step: str, deployment: str) -> None:
        from deployments.demo.runs import run_to_end
        from deployments.status import RunStatus

        def follow(status: RunStatus) -> None:
            progress = status.progress
            self._report(step, progress.processed if progress else 0, progress.total if progress else 0)

        self._report(step, 0, 0)
        player = self._riot["player"]
        asked = {name: player[name] for name in ("game_name", "tag_line", "platform")} | {"routing": player["regional"]}
        ended = run_to_end(self._stack.api_url, deployment, asked, follow)
        if ended.state != "Completed":
            self.problems.append(f"{step}: the run {ended.id} ended {ended.state}: {ended.message}")

    def check_statistics(self, player: dict[str, Any]) -> None:
        """The statistics against a recount in SQL, and against the stand-in's own."""
        stated, counted = (_rows(query, puuid=player["puuid"]) for query in (STATED, RECOUNT))
        if stated != counted:
            self.problems.append(f"the yearly statistics are not what SQL counts: {stated} and {counted}")
        for row, truth in zip(stated, player["statistics"], strict=False):
            if {name: truth[name] for name in row} != row:
                self.problems.append(f"the statistics of {row['year']} are not the stand-in's: {row} and {truth}")
        if len(stated) != len(player["statistics"]):
            self.problems.append(f"{len(stated)} years are counted, there are {len(player['statistics'])}")


def _asked(now: dict[str, Any], before: dict[str, Any]) -> dict[str, int]:
    """Requests by method between two looks at the truth."""

    def by_method(truth: dict[str, Any]) -> dict[str, int]:
        found: dict[str, int] = {}
        for route in truth["routes"].values():
            for method, record in route["methods"].items():
                found[method] = found.get(method, 0) + record["requests"]
        return found

    earlier = by_method(before)
    return {method: count - earlier.get(method, 0) for method, count in by_method(now).items()}


def _rows(query: str, **parameters: str) -> list[dict[str, Any]]:
    with session(DOMAIN, read_only=True) as opened:
        return [dict(row) for row in opened.connection().execute(text(query), parameters).mappings()]


def _scalars(query: str) -> set[str]:
    with session(DOMAIN, read_only=True) as opened:
        return set(opened.connection().execute(text(query)).scalars())


def _dump() -> str:
    from tasks.league.core.dump import dump

    with session(DOMAIN, read_only=True) as opened:
        return dump(opened)


def _damage() -> None:
    with session(DOMAIN) as opened:
        for statement in DAMAGE:
            opened.connection().execute(text(statement))
