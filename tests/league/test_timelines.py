"""Timelines: stored once, also without their match."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from blocks.engine import session
from blocks.riot.errors import RiotNotFoundError
from tasks.league.core.tables import DOMAIN, Fetch, FetchKind, FetchState, Match, Timeline
from tasks.league.timelines import TimelineStatus, TimelineSync, sync_match_timeline_atomic
from tests.league.conftest import riot


def sync_one(match_id: str, **options: Any) -> TimelineSync:
    return asyncio.run(sync_match_timeline_atomic.fn(match_id, **options))


def test_a_timeline_is_created_once_and_needs_no_match(league_databases: str) -> None:
    with riot(missing_match_rate=0.2) as sandbox:
        # Riot has the timelines of some matches that it does not have.
        match_id = sandbox.app.truth()["player"]["missing_matches"][0]
        first = sync_one(match_id)
        second = sync_one(match_id, platform="kr", routing="asia")
        assert sandbox.app.truth()["totals"]["requests"] == 1
        assert set(sandbox.app.truth()["routes"]) == {"americas"}
    assert (first.match_id, first.status) == (match_id, TimelineStatus.CREATED)
    assert second == first.model_copy(update={"status": TimelineStatus.ALREADY_EXISTS})
    with session(DOMAIN, read_only=True) as opened:
        row = opened.get_one(Timeline, match_id)
        assert (row.frame_interval, row.frame_count) == (first.frame_interval, first.frame_count)
        assert opened.exec(select(Match)).all() == []
        assert opened.get_one(Fetch, (match_id, FetchKind.TIMELINE)).state is FetchState.STORED


def test_a_timeline_that_riot_does_not_have_is_an_error_and_a_tombstone(league_files: Path) -> None:
    with riot(missing_timeline_rate=0.2) as sandbox:
        match_id = sandbox.app.truth()["player"]["missing_timelines"][0]
        with pytest.raises(RiotNotFoundError):
            sync_one(match_id)
    with session(DOMAIN, read_only=True) as opened:
        assert opened.get_one(Fetch, (match_id, FetchKind.TIMELINE)).state is FetchState.MISSING
        assert opened.exec(select(Timeline)).all() == []
