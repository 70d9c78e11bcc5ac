"""Campaign: discovery, tracking and scoring killed thirty times each; nothing is lost, and nothing doubled."""

import time
from pathlib import Path

import pytest

from tests.traders.conftest import traders_databases
from tests.traders.killed_market import survive, survive_fetching
from tests.traders.killed_work import DISCOVERY, LEADERBOARD, TRACKING

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1800)]

KILLS = 30
#: Connections break, and what comes twice or is broken must not confuse the counts.
FAULTS = {"drop_rate": 0.05, "replay": 20, "empty_rate": 0.05, "malformed_trade_rate": 0.02, "error_rate": 0.02}

__all__ = ["traders_databases"]


def test_thirty_kills_of_each_lose_and_double_nothing(traders_databases: str, tmp_path: Path) -> None:
    folder, began = tmp_path / "said", time.monotonic()
    folder.mkdir()
    kills = dict.fromkeys((DISCOVERY, TRACKING, LEADERBOARD), KILLS)
    seed = f"4301 {traders_databases}"
    said = survive(folder, seed=seed, kills=kills, rate=30, traders=30, faults=FAULTS)
    print(f"{traders_databases}: {time.monotonic() - began:.0f} s: {said}")


def test_pasts_fetched_through_thirty_kills_are_those_fetched_once(traders_databases: str, tmp_path: Path) -> None:
    folder, began = tmp_path / "said", time.monotonic()
    folder.mkdir()
    said = survive_fetching(folder, seed=f"4302 {traders_databases}", kills=KILLS, traders=40)
    print(f"{traders_databases}: {time.monotonic() - began:.0f} s: {said}")
