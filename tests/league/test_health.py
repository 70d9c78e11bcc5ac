"""The health check: each thing that can be wrong is told, with what to do, and hides nothing else."""

import asyncio
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from blocks.engine import engine, sqlite_path
from blocks.rate_ledger import RateLedger
from blocks.rate_window import AnswerLimits
from blocks.riot import RiotApi
from blocks.settings import settings
from tasks.league import health
from tasks.league.api import riot_api
from tasks.league.health import HealthFinding, HealthReport, health_check
from tests.league.conftest import riot
from tests.league.damage import execute, sync

ALL = ["league database", "rates database", "key", "limits", "backlog", "players"]


def check() -> HealthReport:
    return asyncio.run(health_check.fn())


def wrong(report: HealthReport) -> dict[str, HealthFinding]:
    return {finding.name: finding for finding in report.wrong}


def test_all_is_well_after_a_sync(league_databases: str) -> None:
    with riot(matches=4, late_match_rate=0.0, missing_match_rate=0.0, missing_timeline_rate=0.0) as sandbox:
        assert [finding.what for finding in check().findings if finding.name == "players"] == ["none tracked"]
        sync(sandbox)
        report = check()
        told = {finding.name: finding.what for finding in report.findings}
        assert (list(told), report.wrong) == (ALL, [])
        assert told["key"] == "valid: na1 answers"
        assert told["backlog"] == "0 pending, 8 stored, 0 missing, 0 failed, 0 removed"
        assert told["players"] == "1 tracked, the longest ago 0.0 hours ago"
        assert "0 requests in flight, 0 blocked" in told["limits"]
        assert sandbox.key not in report.model_dump_json()


def test_a_refused_key_is_told_with_where_to_get_another(league_files: Path) -> None:
    with riot(expired=True) as sandbox:
        report = check()
        assert list(wrong(report)) == ["key"]
        assert "(403)" in wrong(report)["key"].what
        assert "developer portal" in wrong(report)["key"].what_to_do
        assert sandbox.key not in report.model_dump_json()


def test_no_key_is_told_with_where_to_put_one(league_files: Path) -> None:
    settings.cache_clear()
    assert "QUINTET_LEAGUE__RIOT_API_KEY" in wrong(check())["key"].what_to_do


def test_a_document_with_what_no_key_can_be_is_told_without_it(
    league_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def damaged() -> RiotApi:
        return RiotApi(api_key=SecretStr("RGAPI with spaces"))

    monkeypatch.setattr(health, "riot_api", damaged)
    report = check()
    assert wrong(report)["key"].what == "no key can look so"
    assert "spaces" not in report.model_dump_json()
    assert [finding.name for finding in report.findings] == [name for name in ALL if name != "limits"]


def test_such_a_key_in_a_setting_is_told_without_it(league_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_LEAGUE__RIOT_API_KEY", "RGAPI with spaces")
    settings.cache_clear()
    with pytest.raises(ValidationError, match="riot_api_key") as error:
        check()
    assert "spaces" not in str(error.value)
    monkeypatch.undo()
    settings.cache_clear()


def test_an_api_that_is_away_is_told_soon(league_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_PATIENCE_SECONDS", 0.01)
    with riot(error_rate=1.0):
        assert "Riot gives no answer" in wrong(check())["key"].what


async def block(route: str, seconds: float) -> None:
    async with RateLedger((await riot_api()).fingerprint) as ledger:
        permit = await ledger.acquire(route=route, method="match-v5.getMatch")
        permit.finished(AnswerLimits(blocked_seconds=seconds, blocked_scope="application"))


def test_a_blocked_route_is_told_when_it_lasts(league_files: Path) -> None:
    with riot():
        asyncio.run(block("asia", 60))
        limits = next(finding for finding in check().findings if finding.name == "limits")
        assert limits.ok
        assert "1 blocked by a 429: application on asia for" in limits.what
        asyncio.run(block("europe", 5000))
        assert "application on europe for" in wrong(check())["limits"].what


def test_no_turn_to_ask_is_told(league_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_TURN_SECONDS", 0.05)
    with riot():
        asyncio.run(block("na1", 5000))
        assert list(wrong(check())) == ["key", "limits"]


def test_what_is_overdue_and_syncs_that_never_ended_are_told(league_databases: str) -> None:
    with riot(matches=3, missing_match_rate=1.0) as sandbox:
        player = sync(sandbox).puuid
        execute("UPDATE league_fetch SET due_at = '2020-01-01' WHERE state = 'MISSING'")
        execute("UPDATE league_watermark SET listed_at = '2020-01-01'")
        execute("UPDATE league_summoner SET synced_at = NULL WHERE tracked")
        report = check()
        assert list(wrong(report)) == ["backlog", "players"]
        assert "due since" in wrong(report)["backlog"].what
        assert "league-retry-failed" in wrong(report)["backlog"].what_to_do
        assert f"1 syncs began long ago and never ended ({player[:8]})" in wrong(report)["players"].what
        execute("UPDATE league_summoner SET synced_at = '2020-01-02' WHERE tracked")
        assert list(wrong(check())) == ["backlog"]


def test_a_database_of_an_older_version_is_told_and_the_rest_is_looked_at(league_files: Path) -> None:
    with riot():
        execute("ALTER TABLE league_match DROP COLUMN derivation")
        report = check()
        assert wrong(report)["league database"].what_to_do == "run `quintet apply`"
        assert [finding.name for finding in report.findings] == ALL[:4]


def test_a_damaged_database_and_one_that_cannot_be_opened_are_told(league_files: Path) -> None:
    with riot():
        for domain in ("league", "rates"):
            engine(domain).dispose()
            for file in sqlite_path(domain).parent.glob("*.db*"):
                file.unlink()
        sqlite_path("league").write_bytes(b"no database at all" * 1000)
        sqlite_path("rates").mkdir()
        report = check()
        assert [finding.name for finding in report.findings] == ALL[:2]
        assert "is damaged" in wrong(report)["league database"].what
        assert "cannot be opened" in wrong(report)["rates database"].what
