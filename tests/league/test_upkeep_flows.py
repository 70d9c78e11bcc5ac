"""Recovery, retries, cleaning, health and statistics as flows on a Prefect server: tables, limits, failures."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import State
from prefect.client.schemas.sorting import ArtifactSort

from deployments.limits import LIMITS
from flows.league import cleanup, health, recovery, retries, statistics
from flows.league.cleanup import clean
from flows.league.health import HealthError
from flows.league.recovery import recover_player
from flows.league.retries import retry_failed
from flows.league.statistics import recompute_statistics
from flows.skipping import SKIPPED, slot_or_skipped
from flows.submission import MissingLimitError
from tasks.foundation.core.columns import utc_now
from tasks.league.players import sync_player_data
from tests.league.conftest import riot
from tests.league.damage import choose, everything, execute, rows

# Connections to the Prefect server, which its own client leaves to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
STEADY: dict[str, Any] = {"late_match_rate": 0.0, "missing_match_rate": 0.0, "missing_timeline_rate": 0.0, "matches": 5}


@pytest.fixture
async def limits(prefect_api: str) -> AsyncIterator[None]:
    """All limits, wide; none is left for other tests."""
    async with get_client() as client:
        for limit in LIMITS:
            await client.upsert_global_concurrency_limit_by_name(limit.name, 1000, 1000.0)
        yield


async def table(key: str) -> tuple[list[dict[str, Any]], str]:
    """The newest table of this key, and the text above it."""
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])), sort=ArtifactSort.CREATED_DESC, limit=1
        )
    read: list[dict[str, Any]] = json.loads(str(found[0].data))
    return read, found[0].description or ""


async def test_a_recovery_shows_its_plan_does_it_and_leaves_a_card(limits: None, league_files: Path) -> None:
    with riot(**STEADY) as sandbox:
        name = (sandbox.player["game_name"], sandbox.player["tag_line"])
        victim = choose((await sync_player_data.fn(*name)).puuid)[0]
        clean_rows = rows()
        execute("DELETE FROM league_payload WHERE match_id = :id AND kind = 'TIMELINE'", **victim)
        execute("UPDATE league_participant SET kills = 77 WHERE match_id = :id", **victim)
        before = everything()
        planned = await recover_player(*name, dry_run=True)
        assert everything() == before
        shown, text = await table(recovery.TABLE_KEY)
        assert [(row["match"], row["kind"], row["action"]) for row in shown] == [
            (victim["id"], "match", "derive"),
            (victim["id"], "timeline", "fetch"),
        ]
        assert "Dry run, nothing was changed. To do: **1** matches and timelines to fetch" in text
        assert sandbox.player["game_name"] not in json.dumps(shown) + text

        done = await recover_player(*name)
        assert (done.derived, done.timelines_stored, planned.to_fetch) == (1, 1, 1)
        assert rows() == clean_rows
        assert "Done: **0** matches and **1** timelines fetched" in (await table(recovery.TABLE_KEY))[1]

        execute("UPDATE league_fetch SET state = 'FAILED', due_at = '2020-01-01' WHERE match_id = :id", **victim)
        assert (await retry_failed()).due == 2
        execute("UPDATE league_yearly_stats SET wins = 99 WHERE puuid = :player", **victim)
        assert (await recompute_statistics(*name)).wrong_players == 1
        shown, text = await table(statistics.TABLE_KEY)
        assert {row["column"] for row in shown} == {"wins"}
        assert "Dry run, nothing was changed" in text
        await recompute_statistics(dry_run=False)
        assert rows() == clean_rows


async def test_cleaning_by_hand_only_reports_and_a_mistake_costs_no_slot(limits: None, league_files: Path) -> None:
    with riot(**STEADY) as sandbox:
        await sync_player_data.fn(sandbox.player["game_name"], sandbox.player["tag_line"])
    with pytest.raises(ValueError, match="days must be from 1"):
        await clean(0)
    before = everything()
    report = await clean(1)
    assert report is not None and report.dry_run and report.matches == 5
    assert everything() == before
    shown, text = await table(cleanup.TABLE_KEY)
    assert sum(row["matches"] for row in shown) == 5
    assert "Dry run, nothing was changed. To be removed: **5** games" in text
    report = await clean(1, dry_run=False)
    assert report is not None and report.matches == 5
    assert "Removed: **5** games" in (await table(cleanup.TABLE_KEY))[1]


async def test_health_leaves_a_table_and_fails_with_what_is_wrong(limits: None, league_files: Path) -> None:
    with riot(**STEADY) as sandbox:
        assert (await health.health()) is not None
        assert (await table(health.TABLE_KEY))[1] == "All is well."
        sandbox.app.set({"expired": "on"})
        with pytest.raises(HealthError, match=r"^key: Riot refuses it \(403\)$"):
            await health.health()
        shown, text = await table(health.TABLE_KEY)
        assert [row["name"] for row in shown if row["ok"] == "NO"] == [shown[0]["name"]] == ["key"]
        assert "**1** of 6 need a person" in text


async def test_a_run_without_a_slot_ends_as_skipped_and_says_when_to_come_again(
    limits: None, league_files: Path, prefect_api: str
) -> None:
    async with get_client() as client:
        await client.delete_global_concurrency_limit_by_name(cleanup.SUBMISSION_LIMIT)
        await client.upsert_global_concurrency_limit_by_name(cleanup.SUBMISSION_LIMIT, 1, 1 / 3600)
        assert (await clean(1)) is not None
        taken = (await client.read_global_concurrency_limit_by_name(cleanup.SUBMISSION_LIMIT)).updated
        state: State[Any] = await clean(1, return_state=True)
        assert (state.is_completed(), state.name) == (True, SKIPPED)
        assert taken is not None
        again = taken + timedelta(hours=1)
        assert f"{again:%Y-%m-%d %H:%M:%S} UTC" in str(state.message)
        # Asked in one's own process it gives None, and looking has not moved the hour.
        assert await clean(1) is None
        assert (await client.read_global_concurrency_limit_by_name(cleanup.SUBMISSION_LIMIT)).updated == taken


async def test_a_slot_that_another_run_took_in_between_skips_too(limits: None, monkeypatch: pytest.MonkeyPatch) -> None:
    async def taken(_limit: str, timeout_seconds: float | None = None) -> None:
        assert timeout_seconds is not None
        raise TimeoutError

    monkeypatch.setattr("flows.skipping.take_slot", taken)
    before = utc_now()
    state = await slot_or_skipped(cleanup.SUBMISSION_LIMIT)
    assert state.name == SKIPPED
    assert f"{before:%Y-%m-%d}" in str(state.message)


async def test_a_server_without_the_limits_is_told_to_apply(prefect_api: str, league_files: Path) -> None:
    async with get_client() as client:
        for limit in await client.read_global_concurrency_limits():
            await client.delete_global_concurrency_limit_by_name(limit.name)
    for flow in (clean, health.health, retries.retry_failed):
        with pytest.raises(MissingLimitError, match="run `quintet apply`"):
            await flow()
