"""The flow of discovery on a Prefect server: what a run leaves to see, and a second one."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import StateType

from blocks.engine import session
from blocks.settings import settings
from flows.skipping import SKIPPED
from flows.traders.discovery import discover
from tasks.foundation import ending
from tasks.foundation.progress import read_progress
from tasks.traders import discovery_report
from tasks.traders.core.leases import DISCOVERY, take
from tasks.traders.discovery import DiscoveryResult
from tests.traders.core.trades import NOW
from tests.traders.discovering import COINS, QUICK, stored_trades
from tests.traders.exchanges import exchange_in_use

# Connections to the Prefect server, which its own client leaves to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


async def artifacts_of(flow_run_id: UUID) -> dict[str, Any]:
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
        )
    assert len({artifact.key for artifact in found}) == len(found)
    return {str(artifact.key): artifact.data for artifact in found}


async def test_a_run_shows_its_progress_and_the_rate_of_discovery(
    prefect_api: str, traders_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    # Several of each, so that they are seen to be one.
    monkeypatch.setattr(discovery_report, "PROGRESS_SECONDS", 0.3)
    monkeypatch.setattr(discovery_report, "RATE_SECONDS", 0.5)
    with exchange_in_use(coins=tuple(COINS), paused=False, rate=200, await_subscriptions=3):
        state = await discover(seconds=2.5, return_state=True)
    result = await state.aresult()
    assert isinstance(result, DiscoveryResult) and result.stored == stored_trades() > 0
    flow_run_id = state.state_details.flow_run_id
    assert flow_run_id is not None
    progress = await read_progress(flow_run_id)
    assert progress is not None and progress.percent == 100
    assert (progress.total, progress.processed, progress.failed) == (result.trades, result.stored, result.rejected)
    artifacts = await artifacts_of(flow_run_id)
    page = artifacts[discovery_report.KEY]
    assert result.new_traders > 0 and f"new traders: **{result.new_traders:,}**" in page, "of less than a minute, too"
    assert f"stored: **{result.stored:,}**" in page and page.count("data:image/png;base64,") == 2
    assert all(coin in page.replace("\\", "") for coin in COINS)
    # Whose stream it is stands in the ledger; a picture of it names nobody.
    assert "0x" not in page.replace("data:image/png;base64,", "").split("|", 1)[1]


async def test_a_second_run_is_completed_and_says_who_runs(
    prefect_api: str, traders_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.cache_clear()
    with session("traders") as opened:
        take(opened, DISCOVERY, "somebody else", NOW, 10**9)
    state = await discover(["BTC"], return_state=True)
    assert (state.type, state.name) == (StateType.COMPLETED, SKIPPED)
    assert state.message == "Nothing was done: another process follows the stream already."


async def test_one_that_is_asked_to_end_is_completed_and_says_so(
    prefect_api: str, traders_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    # As for a run whose worker is stopped while it starts.
    monkeypatch.setattr(ending._Wish, "asked", True)
    with exchange_in_use(coins=tuple(COINS)):
        state = await discover(return_state=True)
    assert (state.type, state.name) == (StateType.COMPLETED, "Completed")
    assert state.message == "Ended, because its worker was stopped: 0 trades were stored."
    result = await state.aresult()
    assert isinstance(result, DiscoveryResult) and result.ended_for == "its worker was stopped"


async def test_a_run_whose_coins_are_all_refused_is_failed_and_names_them(
    prefect_api: str, traders_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    with exchange_in_use(coins=tuple(COINS)):
        state = await discover(["NADA"], seconds=60, return_state=True)
    assert (state.type, state.name) == (StateType.FAILED, "Failed")
    assert "refused every coin" in str(state.message) and "NADA" in str(state.message)


async def test_a_prefect_api_that_is_away_takes_no_report_and_stops_nothing(
    traders_files: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import httpx

    async def refused(*_arguments: object, **_options: object) -> None:
        raise httpx.ConnectError("away")

    monkeypatch.setattr("tasks.foundation.progress.ProgressReport.update", refused)
    monkeypatch.setattr(discovery_report, "PROGRESS_SECONDS", 0.05)
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
    from tasks.traders.discovery import manage_discovery_stream

    with exchange_in_use(coins=tuple(COINS), paused=False, rate=200, await_subscriptions=3):
        result = await asyncio.wait_for(manage_discovery_stream.fn(seconds=0.8), 60)
    assert result.ended_for == "its time is over"
    said = [record.getMessage() for record in caplog.records if "takes no report" in record.getMessage()]
    assert len(said) == 1
