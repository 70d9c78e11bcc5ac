"""The health check: each thing that can be wrong is told, with what to do, and hides nothing else."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import SQLModel

from blocks.engine import engine, session, sqlite_path
from blocks.settings import settings
from deployments.sandbox.exchange.server import RunningExchange
from tasks.foundation.core.columns import utc_now
from tasks.traders import health
from tasks.traders.core.health import Level
from tasks.traders.core.tables import (
    DOMAIN,
    Coin,
    Gap,
    GapState,
    Lease,
    Poll,
    Snapshot,
    TrackingRun,
    Trade,
)
from tasks.traders.health import HealthReport, health_check
from tests.redis_server import RedisServer
from tests.servers import free_port
from tests.traders.exchanges import exchange_in_use
from tests.traders.ledger_rows import add_events, add_traders

DATABASES = ["traders database", "rates database"]
LEDGER = ["stream", "whole up to", "gaps", "snapshots", "events", "polls", "tracking"]
OUTSIDE = ["redis", "exchange"]


@pytest.fixture(scope="module")
def shared_exchange() -> Iterator[RunningExchange]:
    with exchange_in_use(days=0) as exchange:
        yield exchange


@pytest.fixture
def asked_exchange(shared_exchange: RunningExchange, monkeypatch: pytest.MonkeyPatch) -> RunningExchange:
    monkeypatch.setenv("QUINTET_TRADERS__EXCHANGE_URL", shared_exchange.url)
    settings.cache_clear()
    return shared_exchange


def add(*rows: SQLModel) -> None:
    with session(DOMAIN) as opened:
        opened.add_all(rows)


def milliseconds(**ago: float) -> int:
    return int((utc_now() - timedelta(**ago)).timestamp() * 1000)


def healthy(**run: Any) -> None:
    """A stream that goes on, and a tracking that just ended."""
    now = utc_now()
    add(
        Lease(name="discovery", owner="x", until_at=now + timedelta(seconds=30)),
        Coin(coin="BTC", whole_time=milliseconds(seconds=3)),
        *(
            Trade(time=milliseconds(seconds=9), coin="BTC", tid=tid, side="B", px=Decimal(1), sz=Decimal(1))
            for tid in range(30)
        ),
        TrackingRun(
            **{
                "started_at": now - timedelta(seconds=70),
                "ended_at": now,
                "weight": 1380,
                "permitted_weight": 1400,
                "compared": 1000,
                "drifted": 3,
                "polled": 5,
                **run,
            }
        ),
    )


async def states() -> dict[str, Level]:
    return {finding.name: finding.level for finding in (await health_check.fn()).findings}


async def wrong() -> dict[str, tuple[Level, str, str]]:
    report = await health_check.fn()
    found = {each.name: (each.level, each.what, each.what_to_do) for each in report.findings}
    assert all(bool(advice) == (level is not Level.OK) for level, _, advice in found.values())
    return {name: told for name, told in found.items() if told[0] is not Level.OK}


async def test_all_is_well_where_everything_runs(traders_databases: str, asked_exchange: RunningExchange) -> None:
    healthy()
    report = await health_check.fn()
    assert (report.level, report.at(Level.OK)) == (Level.OK, list(report.findings))
    told = {finding.name: finding.what for finding in report.findings}
    assert list(told) == [*DATABASES, *LEDGER, "weight", "drift", *OUTSIDE]
    assert told["stream"] == "0.1 trades a second of 1 coins, over 5 min"
    assert told["events"] == "all are published"
    assert told["weight"] == "1,380 of 1,400 permitted in the runs of 60 min, 99 %; 0 answers 429"
    assert told["drift"] == "3 of 1,000 compared positions differed in 60 min"
    assert told["exchange"] == "it answers"


async def test_a_new_system_is_told_what_to_start(traders_databases: str, asked_exchange: RunningExchange) -> None:
    found = await wrong()
    assert {name: told[0] for name, told in found.items()} == {"stream": Level.DEGRADED, "tracking": Level.DEGRADED}
    assert "traders-discover" in found["stream"][2] and "traders-track" in found["tracking"][2]


async def test_a_stream_that_was_killed_or_is_silent_or_behind_is_told(
    traders_databases: str, asked_exchange: RunningExchange
) -> None:
    healthy()
    execute("DELETE FROM traders_trade")
    execute("UPDATE traders_coin SET whole_time = :time", time=milliseconds(minutes=5))
    found = await wrong()
    assert {name: told[0] for name, told in found.items()} == {"stream": Level.DEGRADED, "whole up to": Level.DEGRADED}
    assert "5 min ago" in found["whole up to"][1]
    execute("UPDATE traders_coin SET whole_time = :time", time=milliseconds(hours=5))
    assert (await states())["whole up to"] is Level.FAILING
    with session(DOMAIN) as opened:
        opened.get_one(Lease, "discovery").until_at = utc_now() - timedelta(minutes=5)
    found = await wrong()
    assert {name: told[0] for name, told in found.items()} == {"stream": Level.FAILING}
    assert "killed 5 min ago" in found["stream"][1]


async def test_what_waits_too_long_is_told(traders_databases: str, asked_exchange: RunningExchange) -> None:
    healthy(ended_at=utc_now() - timedelta(minutes=20))
    (a,) = add_traders(milliseconds(minutes=1))
    now = utc_now()
    add(
        Gap(coin="BTC", from_time=1, state=GapState.OPEN, opened_at=now - timedelta(minutes=30)),
        Gap(coin="BTC", from_time=1, state=GapState.PARTIAL, opened_at=now - timedelta(days=1)),
        Snapshot(trader_id=a, dex="", time=1, fetched_at=now - timedelta(minutes=40), positions="[]"),
        *(Poll(trader_id=a, dex=dex, snapshot_time=milliseconds(hours=5)) for dex in ("", "a", "b", "c", "d", "e")),
    )
    add_events(a, 3, found_at=now - timedelta(minutes=10))
    found = await wrong()
    names = {"gaps", "snapshots", "events", "polls", "tracking"}
    assert {name: told[0] for name, told in found.items()} == dict.fromkeys(names, Level.DEGRADED)
    assert found["gaps"][1] == "1 open, 0 filled, 1 filled in part; the oldest is open for 30 min"
    assert found["events"][1] == "3 wait to be published, the oldest for 10 min"
    assert found["polls"][1].startswith(
        "6 due, 0 of them never polled; 0 failed and wait; the oldest snapshot is 5.0 h"
    )
    execute("UPDATE traders_event SET found_at = :at", at=now - timedelta(hours=3))
    assert (await states())["events"] is Level.FAILING
    # A tracking that keeps up with more than what is due.
    execute("UPDATE traders_tracking_run SET polled = 100")
    assert (await states())["polls"] is Level.OK


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ({"drifted": 10}, {}),
        ({"drifted": 11}, {"drift": Level.DEGRADED}),
        ({"drifted": 101}, {"drift": Level.FAILING}),
        ({"compared": 50, "drifted": 50}, {}),
        ({"http_429": 1}, {"weight": Level.DEGRADED}),
    ],
)
async def test_drift_and_429_are_told(
    traders_files: Path, asked_exchange: RunningExchange, run: dict[str, int], expected: dict[str, Level]
) -> None:
    healthy(**run)
    assert {name: told[0] for name, told in (await wrong()).items()} == expected


async def test_redis_is_asked_and_its_password_not_told(
    traders_files: Path, asked_exchange: RunningExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy()
    with RedisServer("s3cret") as server:
        for password, port, level in (
            ("s3cret", server.port, Level.OK),
            ("s3cret-not", server.port, Level.FAILING),
            ("s3cret", free_port(), Level.FAILING),
        ):
            monkeypatch.setenv("QUINTET_TRADERS__REDIS_URL", f"redis://:{password}@127.0.0.1:{port}/0")
            settings.cache_clear()
            report = await health_check.fn()
            assert [each.level for each in report.findings if each.name == "redis"] == [level]
            assert "s3cret" not in report.model_dump_json()


async def test_an_exchange_that_is_away_or_gives_no_turn_is_told(
    traders_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy()
    monkeypatch.setattr(health, "_PATIENCE_SECONDS", 0.01)
    monkeypatch.setenv("QUINTET_TRADERS__EXCHANGE_URL", f"http://127.0.0.1:{free_port()}")
    settings.cache_clear()
    assert (await wrong())["exchange"][0] is Level.FAILING
    monkeypatch.setattr(health, "_TURN_SECONDS", 0.0)
    assert (await wrong())["exchange"][0] is Level.DEGRADED


async def test_a_database_of_an_older_version_is_told_and_the_rest_is_looked_at(
    traders_files: Path, asked_exchange: RunningExchange
) -> None:
    execute("ALTER TABLE traders_coin DROP COLUMN whole_time")
    report = await health_check.fn()
    assert [each.name for each in report.findings] == [*DATABASES, *OUTSIDE]
    assert [(each.name, each.what_to_do) for each in report.at(Level.FAILING)] == [
        (DATABASES[0], "run `quintet apply`")
    ]


async def test_a_damaged_database_is_told(traders_files: Path, asked_exchange: RunningExchange) -> None:
    for domain in ("traders", "rates"):
        engine(domain).dispose()
        for file in sqlite_path(domain).parent.glob("*.db*"):
            file.unlink()
        sqlite_path(domain).write_bytes(b"no database at all" * 1000)
    report: HealthReport = await health_check.fn()
    assert [each.name for each in report.findings] == [*DATABASES, "redis"]
    assert all("is damaged" in each.what for each in report.at(Level.FAILING)) and report.level is Level.FAILING


def execute(statement: str, **values: Any) -> None:
    with session(DOMAIN) as opened:
        opened.connection().execute(text(statement), values)
