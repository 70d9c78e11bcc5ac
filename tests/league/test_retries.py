"""Retries of what is due: of all players, newest first, ever more seldom, and never what a sync is just fetching."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from blocks.engine import session
from blocks.riot.errors import RiotKeyError
from deployments.sandbox.riot.server import RunningSandbox
from tasks.foundation.core.columns import utc_now
from tasks.league.core.recovery import open_items
from tasks.league.core.tables import DOMAIN, Fetch, FetchKind, FetchState
from tasks.league.retries import RetryReport, auto_retry_failed_matches
from tests.league.conftest import riot
from tests.league.damage import MATCH, TIMELINE, asked, choose, execute, rows, sync

STEADY = {"late_match_rate": 0.0, "missing_match_rate": 0.0, "missing_timeline_rate": 0.0}
#: As long ago as no request takes.
LONG_AGO = (
    "UPDATE league_fetch SET tried_at = '2020-01-01'",
    "UPDATE league_watermark SET listed_at = '2020-01-01'",
)


def retry() -> RetryReport:
    return asyncio.run(auto_retry_failed_matches.fn())


def games_asked(sandbox: RunningSandbox) -> int:
    requests = asked(sandbox)
    return requests.get(MATCH, 0) + requests.get(TIMELINE, 0)


def fetch(match_id: str, kind: FetchKind = FetchKind.MATCH) -> Fetch:
    with session(DOMAIN, read_only=True) as opened:
        return opened.get_one(Fetch, (match_id, kind))


def test_what_failed_was_missing_or_was_left_behind_is_fetched(league_databases: str) -> None:
    with riot(**STEADY, matches=8) as sandbox:
        victims = choose(sync(sandbox).puuid)[:3]
        clean = rows()
        for victim, state in zip(victims, ("FAILED", "MISSING", "PENDING"), strict=True):
            execute(
                "DELETE FROM league_payload WHERE match_id = :id AND kind = 'MATCH'",
                "UPDATE league_fetch SET state = :state, failures = 1, due_at = :due "
                "WHERE match_id = :id AND kind = 'MATCH'",
                state=state,
                due=None if state == "PENDING" else "2020-01-01",
                **victim,
            )
        execute(*LONG_AGO)
        sandbox.app.reset()
        report = retry()
        assert (report.due, report.matches_stored, report.missing, report.failed) == (3, 3, 0, 0)
        assert report.requests == games_asked(sandbox) == 3
        assert rows() == clean
        assert retry() == RetryReport(due=0)


def test_former_fault_10_each_404_is_asked_for_later_than_the_last_and_not_before(league_files: Path) -> None:
    with riot(late_match_rate=0.0, missing_match_rate=0.3, missing_timeline_rate=0.0) as sandbox:
        sync(sandbox)
        gone = sorted(sandbox.app.truth()["player"]["missing_matches"])
        sandbox.app.reset()
        for _ in range(3):
            assert retry() == RetryReport(due=0)
        assert games_asked(sandbox) == 0
        waits = []
        for count in range(2, 5):
            execute("UPDATE league_fetch SET due_at = '2020-01-01' WHERE state = 'MISSING'")
            assert retry().missing == len(gone)
            row = fetch(gone[0])
            assert (row.state, row.failures) == (FetchState.MISSING, count)
            assert row.due_at is not None and row.tried_at is not None
            waits.append(row.due_at - row.tried_at)
        assert games_asked(sandbox) == 3 * len(gone)
        # Twice the base, at least half of which is waited; each bound is double the last.
        assert all(
            timedelta(hours=2**count) >= wait >= timedelta(hours=2 ** (count - 1))
            for count, wait in enumerate(waits, 1)
        )


def test_a_match_that_comes_late_is_stored_by_a_retry_without_a_sync(league_files: Path) -> None:
    with riot(late_match_rate=1.0, missing_match_rate=0.0, missing_timeline_rate=0.0, matches=4) as sandbox:
        assert sync(sandbox).matches_stored < 4
        execute("UPDATE league_fetch SET due_at = '2020-01-01' WHERE state = 'MISSING'")
        retry()
        with session(DOMAIN, read_only=True) as opened:
            assert {row.state for row in opened.exec(select(Fetch))} == {FetchState.STORED}


def test_what_a_running_sync_has_listed_or_just_tried_is_left_to_it(league_databases: str) -> None:
    with riot(**STEADY, matches=4) as sandbox:
        victim = choose(sync(sandbox).puuid)[0]
    execute("UPDATE league_fetch SET state = 'PENDING' WHERE match_id = :id", **victim)
    now, quiet = utc_now(), utc_now() - timedelta(hours=1)
    execute(*LONG_AGO)
    both = [(victim["id"], FetchKind.MATCH), (victim["id"], FetchKind.TIMELINE)]
    for statement in (
        "UPDATE league_watermark SET listed_at = '2999-01-01'",
        "UPDATE league_fetch SET tried_at = '2999-01-01' WHERE match_id <> :id",
    ):
        with session(DOMAIN, read_only=True) as opened:
            assert open_items(opened, now=now, quiet_since=quiet) == both
        execute(statement, **victim)
        with session(DOMAIN, read_only=True) as opened:
            assert open_items(opened, now=now, quiet_since=quiet) == []
        execute("UPDATE league_fetch SET state = 'FAILED', due_at = '2020-01-01' WHERE match_id = :id", **victim)
        with session(DOMAIN, read_only=True) as opened:
            assert open_items(opened, now=now, quiet_since=quiet) == both
        execute("UPDATE league_fetch SET state = 'PENDING' WHERE match_id = :id", **victim)
        execute(*LONG_AGO)


def test_former_fault_5_a_refused_key_is_an_error_and_leaves_everything_due(league_files: Path) -> None:
    with riot(**STEADY, matches=3) as sandbox:
        sync(sandbox)
        execute("UPDATE league_fetch SET state = 'FAILED', due_at = '2020-01-01'")
        before = rows()
        sandbox.app.set({"expired": "on"})
        with pytest.raises(RiotKeyError):
            retry()
        assert rows() == before
        sandbox.app.set({"expired": "off"})
        assert retry().due == 6
