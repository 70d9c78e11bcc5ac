"""Discovery, tracking and scoring killed and run again: the short form of `tests/campaigns/test_traders_kills.py`."""

from pathlib import Path

from tests.traders.killed_market import survive
from tests.traders.killed_work import DISCOVERY, LEADERBOARD, TRACKING


def test_killed_anywhere_nothing_is_lost_or_doubled(traders_databases: str, tmp_path: Path) -> None:
    folder = tmp_path / "said"
    folder.mkdir()
    kills = {DISCOVERY: 2, TRACKING: 2, LEADERBOARD: 1}
    print(survive(folder, seed=f"kills {traders_databases}", kills=kills, rate=40, traders=12))
