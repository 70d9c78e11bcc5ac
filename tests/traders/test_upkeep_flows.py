"""Tracking, cleaning and health as flows on a Prefect server: what they show, skip and fail with."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import State

from blocks.engine import session
from deployments.limits import LIMITS
from deployments.sandbox.exchange.server import RunningExchange
from flows.skipping import SKIPPED
from flows.submission import MissingLimitError
from flows.traders import cleanup, health, tracking
from flows.traders.cleanup import clean
from flows.traders.health import HealthError
from flows.traders.tracking import track
from tasks.foundation.core.columns import utc_now
from tasks.foundation.progress import read_progress
from tasks.traders.core import leases
from tasks.traders.core.due import poll_failed
from tasks.traders.core.tables import DOMAIN, Cursor, Lease, Trader
from tasks.traders.core.tracking_runs import TRACKING
from tasks.traders.leasing import new_owner
from tasks.traders.tracking_card import CARD_KEY, FAILURES_KEY
from tests.traders.exchanges import exchange_in_use
from tests.traders.ledger_rows import NOW, TIME, add_events, add_traders, address

# Connections to the Prefect server, which its own client leaves to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
async def limits(prefect_api: str) -> AsyncIterator[None]:
    """All limits, wide; none is left for other tests."""
    async with get_client() as client:
        for limit in LIMITS:
            await client.upsert_global_concurrency_limit_by_name(limit.name, 1000, 1000.0)
        yield


async def shown(state: State[Any]) -> dict[str, Any]:
    """The artifacts of a flow run, by key."""
    run_id = state.state_details.flow_run_id
    assert isinstance(run_id, UUID)
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
        )
    return {str(artifact.key): artifact for artifact in found}


def discover(exchange: RunningExchange) -> None:
    with session(DOMAIN) as opened:
        for told in exchange.truth(parts="traders")["traders"]:
            opened.add(Trader(address=told["address"], seen_time=exchange.told["start"], discovered_at=NOW))


async def test_tracking_shows_budget_drift_and_whom_it_could_not_poll(limits: None, traders_files: Path) -> None:
    (failing,) = add_traders(TIME)
    with session(DOMAIN) as opened:
        poll_failed(
            opened,
            failing,
            "",
            reason="answered 422 <b>",
            now=utc_now(),
            base_seconds=7200,
            cap_seconds=7200,
            uniform=lambda low, high: high,
        )
    with exchange_in_use() as exchange:
        exchange.tell("play", n=50)
        discover(exchange)
        state: State[Any] = await track(seconds=60, return_state=True)
    result = await state.aresult()
    assert (result.polled, result.failed, result.histories) == (12, 0, 13)
    artifacts = await shown(state)
    assert set(artifacts) == {CARD_KEY, FAILURES_KEY, "progress", "progress-bar"}
    card = str(artifacts[CARD_KEY].data)
    assert f"{result.weight:,} of 100,000 permitted" in card
    assert "12 of 12 due" in card
    assert card.count("data:image/png;base64,") == 3
    (row,) = json.loads(str(artifacts[FAILURES_KEY].data))
    assert (row["trader"], row["dex"], row["failures"], row["reason"]) == (address(1), "main", 1, "answered 422 <b>")
    progress = await read_progress(state.state_details.flow_run_id)  # type: ignore[arg-type]
    assert progress is not None and (progress.step, progress.percent, progress.processed) == ("done", 100, 12)


async def test_a_second_tracking_ends_as_skipped_and_says_who_is_at_it(limits: None, traders_files: Path) -> None:
    with session(DOMAIN) as opened:
        leases.take(opened, TRACKING, new_owner(), utc_now(), 3600)
    state: State[Any] = await track(return_state=True)
    assert (state.is_completed(), state.name) == (True, SKIPPED)
    assert "Nothing was done: process" in str(state.message) and "is tracking" in str(state.message)
    assert await shown(state) == {}


async def test_cleaning_by_hand_only_reports_and_a_mistake_costs_no_slot(limits: None, traders_files: Path) -> None:
    (trader,) = add_traders(TIME)
    with session(DOMAIN) as opened:
        opened.add(Cursor(name="positions", time=int(utc_now().timestamp() * 1000)))
    old = utc_now() - timedelta(days=40)
    add_events(trader, 3, time=int(old.timestamp() * 1000), published_at=old)
    add_events(trader, 2, time=int(old.timestamp() * 1000))
    with pytest.raises(ValueError, match="days must be from 1"):
        await clean(0)
    state: State[Any] = await clean(return_state=True)
    report: Any = await state.aresult()
    assert (report.dry_run, report.rows, report.events_kept) == (True, 3, 2)
    artifact = (await shown(state))[cleanup.TABLE_KEY]
    assert "Dry run, nothing was changed. To be removed: **3** rows" in artifact.description
    assert "2 old events are kept until they are published" in artifact.description
    assert sum(row["rows"] for row in json.loads(str(artifact.data))) == 3
    for rows in (3, 0):
        state = await clean(dry_run=False, return_state=True)
        report = await state.aresult()
        assert (report.dry_run, report.rows) == (False, rows)
        assert f"Removed: **{rows}** rows" in (await shown(state))[cleanup.TABLE_KEY].description


async def test_health_leaves_a_table_and_fails_with_what_is_failing_only(limits: None, traders_files: Path) -> None:
    with exchange_in_use(days=0):
        state: State[Any] = await health.health(return_state=True)
        assert state.is_completed()
        artifact = (await shown(state))[health.TABLE_KEY]
        assert artifact.description == "**0** failing, **2** degraded, of 11."
        with session(DOMAIN) as opened:
            opened.add(Lease(name="discovery", owner="x", until_at=NOW))
        state = await health.health(return_state=True)
    with pytest.raises(HealthError, match=r"^stream: who followed it was killed"):
        await state.aresult()
    first = json.loads(str((await shown(state))[health.TABLE_KEY].data))[0]
    assert (first["name"], first["state"]) == ("stream", "FAILING")
    assert "start traders-discover" in first["what to do"]


async def test_without_a_slot_they_are_skipped(limits: None, traders_files: Path) -> None:
    with exchange_in_use(days=0):
        async with get_client() as client:
            for flow, name in ((clean, cleanup.SUBMISSION_LIMIT), (health.health, health.SUBMISSION_LIMIT)):
                await client.delete_global_concurrency_limit_by_name(name)
                await client.upsert_global_concurrency_limit_by_name(name, 1, 1 / 3600)
                state: State[Any] = await flow(return_state=True)
                assert state.name != SKIPPED
                state = await flow(return_state=True)
                assert (state.is_completed(), state.name) == (True, SKIPPED)


async def test_a_server_without_the_limits_is_told_to_apply(prefect_api: str, traders_files: Path) -> None:
    async with get_client() as client:
        for limit in await client.read_global_concurrency_limits():
            await client.delete_global_concurrency_limit_by_name(limit.name)
    for flow in (clean, health.health):
        with pytest.raises(MissingLimitError, match="run `quintet apply`"):
            await flow()


def test_the_flows_have_the_names_and_limits_that_are_declared() -> None:
    assert [flow.name for flow in (tracking.track, clean, health.health)] == [
        "traders-track",
        "traders-clean",
        "traders-health",
    ]
    assert {cleanup.SUBMISSION_LIMIT, health.SUBMISSION_LIMIT} <= {limit.name for limit in LIMITS}
