"""Progress: one bar for a task and those inside it, and no reason to stop where it cannot be shown."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks.foundation.progress import Progress, ProgressReport
from tasks.league.core.tables import FetchKind
from tasks.league.matches import sync_matches
from tasks.league.players import sync_player_data
from tests.league.conftest import riot


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Progress]:
    """What would be shown."""
    found: list[Progress] = []

    async def update(_report: ProgressReport, progress: Progress) -> None:
        found.append(progress)

    monkeypatch.setattr(ProgressReport, "update", update)
    return found


def test_progress_counts_all_batches_in_one(
    league_files: Path, shown: list[Progress], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUINTET_LEAGUE__BATCH_SIZE", "3")
    with riot(missing_match_rate=0.2) as sandbox:
        player = sandbox.player
        result = asyncio.run(sync_player_data.fn(player["game_name"], player["tag_line"]))
    assert list(dict.fromkeys(progress.step for progress in shown)) == [
        "account, ranked standing and masteries",
        "list matches",
        "fetch matches and timelines",
        "standing",
        "done",
    ]
    assert [progress.percent for progress in shown] == sorted(progress.percent for progress in shown)
    assert (shown[0].percent, shown[-1].percent) == (0, 100)
    items = [progress for progress in shown if progress.current]
    assert [progress.processed for progress in items] == list(range(1, 29))
    assert {progress.total for progress in items} == {28}
    assert items[-1].failed == result.missing > 0
    assert (shown[-1].processed, shown[-1].total, shown[-1].failed) == (28, 28, result.missing), "what it came to"
    assert {progress.current for progress in items} <= set(sandbox.app.truth()["player"]["match_ids"])


def test_a_batch_by_itself_has_a_bar_of_its_own(league_files: Path, shown: list[Progress]) -> None:
    with riot() as sandbox:
        match_id = sandbox.app.truth()["player"]["match_ids"][0]
        asyncio.run(sync_matches.fn([(match_id, kind) for kind in FetchKind]))
    assert [(progress.processed, progress.total, progress.percent) for progress in shown] == [
        (0, 2, 0),
        (1, 2, 50),
        (2, 2, 100),
    ]


def test_a_server_that_cannot_show_it_stops_nothing(
    league_files: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    async def update(_report: ProgressReport, progress: Progress) -> None:
        raise httpx.ConnectError("away")

    monkeypatch.setattr(ProgressReport, "update", update)
    with riot(matches=3, missing_match_rate=0) as sandbox, caplog.at_level(logging.WARNING, "quintet"):
        result = asyncio.run(sync_player_data.fn(sandbox.player["game_name"], sandbox.player["tag_line"]))
    assert result.standing.matches == 3
    assert "progress cannot be shown" in caplog.text
