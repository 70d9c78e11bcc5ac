"""The flows of players, matches and timelines on a Prefect server: runs, retries, progress and what is left to see."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext
from pydantic import SecretStr
from sqlmodel import select

from blocks.engine import session
from blocks.riot.block import RiotApi
from blocks.riot.errors import RiotKeyError
from blocks.settings import settings
from deployments.limits import LIMITS
from flows.league import matches, players, timelines
from flows.league.matches import sync_match
from flows.league.players import sync_player
from flows.league.timelines import sync_timeline
from flows.submission import MissingLimitError, take_slot
from tasks.foundation.progress import read_progress
from tasks.league.core.tables import DOMAIN, Match, Timeline
from tasks.league.players import PlayerSync, sync_player_data
from tests.league.conftest import riot

# Connections to the Prefect server, which its own client leaves to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
async def limits(prefect_api: str) -> None:
    """All limits, wide: how long a slot lasts is Prefect's, and waiting for it tests nothing of ours."""
    async with get_client() as client:
        for limit in LIMITS:
            await client.upsert_global_concurrency_limit_by_name(limit.name, 1000, 1000.0)


async def of_run(flow_run_id: UUID) -> tuple[list[Any], dict[str, Any]]:
    """The task runs of a flow run, and its artifacts by key."""
    async with get_client() as client:
        runs = await client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))
        artifacts = await client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
        )
    return runs, {str(artifact.key): artifact for artifact in artifacts}


def run_id_of(result: Any) -> UUID:
    """The flow run of a final state."""
    run_id = result.state_details.flow_run_id
    assert isinstance(run_id, UUID)
    return run_id


async def test_a_players_sync_is_a_flow_of_task_runs_with_progress_card_and_failures(
    limits: None, league_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUINTET_LEAGUE__BATCH_SIZE", "5")
    with riot(missing_match_rate=0.2) as sandbox:
        player = sandbox.player
        state = await sync_player(player["game_name"], player["tag_line"], return_state=True)
    result = await state.aresult()
    assert isinstance(result, PlayerSync) and result.matches_stored > 0 and result.standing.pending == 0
    runs, artifacts = await of_run(run_id_of(state))
    names = sorted(run.name.rpartition("-")[0] for run in runs)
    # 14 matches in batches of 5: no task run for each match.
    assert [name for name in names if not name.startswith("show_")] == [
        "fetch_player",
        "list_matches",
        "player_standing",
        *["sync_matches"] * 3,
        "sync_player_data",
    ]
    assert {run.state_type for run in runs} == {StateType.COMPLETED}
    assert {"league-player-card", "league-failures", "progress", "progress-bar"} == set(artifacts)
    gone = sandbox.app.truth()["player"]["missing_matches"]
    assert all(match_id in str(artifacts["league-failures"].data) for match_id in gone)
    assert player["game_name"] in str(artifacts["league-player-card"].data)
    progress = await read_progress(run_id_of(state))
    assert progress is not None and (progress.step, progress.percent) == ("done", 100)
    # Nothing that Prefect keeps of a run has the key.
    assert sandbox.key not in str([*runs, *artifacts.values(), state])


async def test_a_background_task_needs_no_flow_and_reports_its_own_progress(
    prefect_api: str, league_files: Path
) -> None:
    with riot(matches=4) as sandbox:
        # Prefect's types do not know that the state of a coroutine's task has to be awaited.
        task: Any = sync_player_data
        state = await task(sandbox.player["game_name"], sandbox.player["tag_line"], return_state=True)
    result = await state.aresult()
    assert result.standing.listed == 4
    task_run_id = state.state_details.task_run_id
    assert task_run_id is not None
    progress = await read_progress(task_run_id)
    assert progress is not None and progress.step == "done"


async def test_a_match_brings_its_timeline_where_the_player_took_part(limits: None, league_files: Path) -> None:
    with riot(missing_match_rate=0, missing_timeline_rate=0) as sandbox:
        first, second, third = sandbox.app.truth()["player"]["match_ids"][:3]
        with_player = await sync_match(first, puuid=sandbox.player["puuid"])
        with_another = await sync_match(second, puuid=sandbox.accounts["idle"]["puuid"])
        alone = await sync_match(third)
        timeline = await sync_timeline(third)
        again = await sync_match(third)
    assert (with_player.took_part, with_player.timeline_synced) == (True, True)
    assert (with_another.took_part, with_another.timeline_synced) == (False, False)
    assert (alone.took_part, alone.timeline_synced, timeline.status) == (None, False, "created")
    assert (again.created, again.timeline_synced) == (False, True)
    with session(DOMAIN, read_only=True) as opened:
        assert set(opened.exec(select(Match.match_id)).all()) == {first, second, third}
        assert set(opened.exec(select(Timeline.match_id)).all()) == {first, third}


async def test_an_error_fails_the_run_and_a_permanent_one_is_not_tried_again(limits: None, league_files: Path) -> None:
    with riot(missing_match_rate=0.2) as sandbox:
        gone = sandbox.app.truth()["player"]["missing_matches"][0]
        state = await sync_match(gone, return_state=True)
        assert sandbox.app.truth()["totals"]["requests"] == 1
    assert state.is_failed()
    (run,), _ = await of_run(run_id_of(state))
    assert (run.run_count, run.state_type) == (1, StateType.FAILED)


async def test_a_key_that_ends_half_way_fails_the_run_at_once(
    limits: None, league_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUINTET_LEAGUE__BATCH_SIZE", "5")
    monkeypatch.setenv("QUINTET_LEAGUE__REQUESTS_AT_ONCE", "2")
    with riot() as sandbox:
        answered = sandbox.app._answers.of

        def then_end(method: str, call: Any) -> Any:
            if method == "match-v5.getTimeline":
                sandbox.app.set({"expired": True})
            return answered(method, call)

        monkeypatch.setattr(sandbox.app._answers, "of", then_end)
        state = await sync_player(sandbox.player["game_name"], sandbox.player["tag_line"], return_state=True)
        refused = sandbox.app.truth()["totals"]["by_status"]["403"]
    assert state.is_failed()
    with pytest.raises(RiotKeyError):
        await state.aresult()
    # Requests in flight and those that took their places before the first refusal was known: nothing was tried again.
    assert refused <= 4
    runs, _ = await of_run(run_id_of(state))
    assert {run.run_count for run in runs} == {1}


async def test_a_server_without_the_limit_says_what_to_do(prefect_api: str) -> None:
    with pytest.raises(MissingLimitError, match="no limit league-no-such-limit: run `quintet apply`"):
        await take_slot("league-no-such-limit")


def test_every_flow_takes_a_slot_of_a_limit_that_is_declared() -> None:
    declared = {limit.name for limit in LIMITS}
    assert {module.SUBMISSION_LIMIT for module in (players, matches, timelines)} <= declared
    assert FlowRunContext.get() is None


def test_the_flow_runs_from_plain_python(limits: None, league_files: Path) -> None:
    with riot(matches=3) as sandbox:
        result = asyncio.run(sync_player(sandbox.player["game_name"], sandbox.player["tag_line"]))
    assert result.listed == 3


def test_the_key_may_stand_in_a_block_document(league_files: Path, prefect_api: str) -> None:
    with riot(matches=3) as sandbox, pytest.MonkeyPatch.context() as patch:
        RiotApi(api_key=SecretStr(sandbox.key), base_url=sandbox.base_url).save("sync-test")
        patch.delenv("QUINTET_LEAGUE__RIOT_API_KEY")
        patch.setenv("QUINTET_LEAGUE__RIOT_API_BLOCK", "sync-test")
        settings.cache_clear()
        player = sandbox.player
        assert asyncio.run(sync_player_data.fn(player["game_name"], player["tag_line"])).listed == 3
