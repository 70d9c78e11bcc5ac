"""`quintet traders` on a real ledger, and its schedules on a real Prefect server."""

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from sqlmodel import select
from typer.testing import CliRunner

from blocks.engine import session
from blocks.exchange.block import Exchange
from deployments.commands import traders
from deployments.errors import ExpectedError, expected
from tasks.traders import leaderboard
from tasks.traders.core.board_view import NoSuchRunError
from tasks.traders.core.tables import (
    Change,
    Coin,
    Gap,
    GapState,
    Position,
    PositionEvent,
    Rejection,
    Source,
    Stream,
    StreamKind,
    Trader,
)
from tasks.traders.core.trader_view import UnknownTraderError
from tasks.traders.leaderboard import as_of_day, calculate_leaderboard
from tests.traders.board_data import add_history, add_trader, address, made_returns

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TIME = 1_795_000_000_000
runner = CliRunner(env={"COLUMNS": "140", "NO_COLOR": "1", "TERM": "dumb"})


def call(*arguments: str) -> str:
    """What the command printed; its error is raised."""
    result = runner.invoke(traders.app, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result.stdout


@pytest.fixture
def market(traders_ledger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six ranked traders, one without history, a position with two changes, a stream with a gap and a rejection."""
    monkeypatch.setattr(leaderboard, "utc_now", lambda: NOW)
    with session("traders") as opened:
        for number in range(6):
            trader_id = add_trader(opened, number)
            returns = made_returns(number, 60, 0.006 - 0.002 * number)
            add_history(opened, trader_id, returns, last_day=as_of_day(NOW))
        add_trader(opened, 90)
        opened.add(
            Position(trader_id=1, coin="BTC", szi=Decimal("-1.5"), entry_px=Decimal("99000.5"), changed_time=TIME)
        )
        opened.add(Position(trader_id=1, coin="ETH", szi=Decimal(0), changed_time=TIME))
        for number, (change, before, after) in enumerate(((Change.OPEN, 0, 1), (Change.FLIP, 1, -1.5))):
            opened.add(
                PositionEvent(
                    id=f"event-{number}",
                    trader_id=1,
                    coin="BTC",
                    change=change,
                    source=Source.STREAM,
                    time=TIME + number,
                    size_before=Decimal(str(before)),
                    size_after=Decimal(str(after)),
                    entry_px=Decimal("99000.5"),
                    found_at=NOW,
                )
            )
        opened.add(Coin(coin="BTC", seen_time=TIME, whole_time=TIME - 2000))
        stream = Stream(kind=StreamKind.STREAM, coins="BTC", started_at=NOW, frames=7, trades=12, stored=10, rejected=2)
        opened.add(stream)
        opened.flush()
        assert stream.id is not None
        opened.add(Rejection(stream_id=stream.id, received_at=NOW, reason="px is no number", excerpt="[bold]\x1b[31m"))
        opened.add(Gap(coin="BTC", from_time=TIME - 9000, to_time=TIME, state=GapState.PARTIAL, opened_at=NOW))
        opened.commit()
    asyncio.run(calculate_leaderboard.fn())


def test_help_is_quick_and_names_every_command() -> None:
    script = (
        "import sys\n"
        "sys.argv = ['quintet', 'traders', '--help']\n"
        "from deployments.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "heavy = ('prefect', 'sqlalchemy', 'matplotlib', 'httpx', 'numpy')\n"
        "print([module for module in heavy if module in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"
    for command in ("leaderboard", "trader", "events", "stream", "limits", "add", "ignore", "schedules"):
        assert f" {command} " in answer.stdout


@pytest.mark.usefixtures("market")
def test_the_leaderboard_is_a_table_or_json() -> None:
    shown = call("leaderboard", "--limit", "3")
    assert "6 of 7 traders are ranked" in shown and "1 no history yet" in shown
    assert sum(line.strip().startswith(("1 ", "2 ", "3 ")) for line in shown.splitlines()) == 3
    told = json.loads(call("leaderboard", "--profile", "balanced", "--json"))
    assert (told["traders"], told["eligible"], len(told["places"])) == (7, 6, 6)
    assert [place["rank"] for place in told["places"]] == [1, 2, 3, 4, 5, 6]
    assert set(told["places"][0]["components"]) == {
        *("sharpe_shrunk", "win_rate_low", "max_drawdown", "profit_factor_shrunk")
    }


@pytest.mark.usefixtures("market")
def test_one_trader_is_shown_with_open_positions_and_changes() -> None:
    shown = call("trader", address(0).upper().replace("0X", "0x"))
    assert address(0) in shown and "in skill" in shown and "99000.5" in shown
    assert "flip" in shown and "ETH" not in shown, "what is flat is no position"
    told = json.loads(call("trader", address(0), "--json"))
    assert [position["szi"] for position in told["positions"]] == ["-1.5"]
    assert [event["change"] for event in told["events"]] == ["FLIP_POSITION", "OPEN_POSITION"]
    assert "returns" not in told["history"] and told["metrics"]["eligible"] is True
    assert "no history yet" in call("trader", address(90))


@pytest.mark.usefixtures("market")
def test_changes_are_newest_first_and_of_whom_one_asks() -> None:
    told = json.loads(call("events", "--json"))
    assert [event["id"] for event in told] == ["event-1", "event-0"]
    assert {event["address"] for event in told} == {address(0)}
    assert json.loads(call("events", "--json", "--coin", "ETH")) == []
    assert len(json.loads(call("events", "--json", "--trader", address(0), "--limit", "1"))) == 1
    assert "0x0000…0000" in call("events")
    assert "no change" in call("events", "--trader", address(3))


@pytest.mark.usefixtures("market")
def test_the_stream_its_gaps_and_what_was_rejected_are_shown() -> None:
    shown = call("stream")
    assert "Nobody follows the stream now." in shown and "partial" in shown
    assert "px is no number" in shown and "\x1b" not in shown
    told = json.loads(call("stream", "--json"))
    assert told["streams"][0]["trades"] == 12 and told["coins"][0]["whole_time"] == TIME - 2000


@pytest.mark.usefixtures("market")
def test_a_trader_is_added_and_ignored() -> None:
    new = address(0xABCDEF)
    assert call("add", new).startswith("added") and "known already" in call("add", new.upper().replace("0X", "0x"))
    call("ignore", new)
    with session("traders", read_only=True) as opened:
        assert opened.exec(select(Trader.ignored).where(Trader.address == new)).one() is True
    assert "Ignored" in call("trader", new)
    call("ignore", new, "--undo")
    assert "Ignored" not in call("trader", new)


@pytest.mark.usefixtures("rates")
def test_limits_before_anything_was_asked() -> None:
    assert "nothing was asked of https://api.hyperliquid.xyz" in call("limits")
    assert json.loads(call("limits", "--json")) == []


@pytest.mark.usefixtures("rates")
def test_limits_say_how_much_of_each_is_used() -> None:
    async def ask() -> None:
        async with Exchange.from_settings().limiter() as limiter:
            (await limiter.acquire(route="info", method="meta", weight=40)).finished()

    asyncio.run(ask())
    assert "40 of 1,200 in 60 s" in call("limits")
    (told,) = json.loads(call("limits", "--json"))
    assert told["windows"] == [{"limit": 1200, "seconds": 60.0, "used": 40}]


@pytest.mark.usefixtures("traders_ledger")
@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["leaderboard"], NoSuchRunError, "never calculated"),
        (["leaderboard", "--profile", "luck"], ExpectedError, "no profile 'luck'"),
        (["trader", "0x12"], ExpectedError, "40 hexadecimal digits"),
        (["trader", address(5)], UnknownTraderError, "quintet traders add"),
        (["ignore", address(5)], UnknownTraderError, "was not seen"),
    ],
)
def test_what_cannot_be_done_says_why_and_what_to_do(arguments: list[str], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as raised:
        call(*arguments)
    assert expected(raised.value) is not None


async def _deploy(active: bool) -> None:
    async with get_client() as client:
        for name in traders.DEPLOYMENTS:
            flow, deployment = name.split("/")
            flow_id = await client.create_flow_from_name(flow)
            schedule = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 0 1 1 *"), active=active)
            tags = ["long-lived"] if flow == "traders-discover" else []
            await client.create_deployment(flow_id=flow_id, name=deployment, schedules=[schedule], tags=tags)


async def _states() -> set[bool]:
    async with get_client() as client:
        found = [await client.read_deployment_by_name(name) for name in traders.DEPLOYMENTS]
    return {schedule.active for deployment in found for schedule in deployment.schedules}


def test_schedules_are_switched_on_and_off(prefect_api: str, home: Any) -> None:
    with pytest.raises(ExpectedError, match="run `quintet apply`"):
        call("schedules", "on")
    asyncio.run(_deploy(active=False))
    said = call("schedules", "on")
    assert "traders-discover/every-half-hour: on" in said and "traders-track/every-75-seconds: on" in said
    # It goes on until stopped, so it need not wait for a tick; the others have theirs soon.
    assert said.splitlines()[-1] == "traders-discover/every-half-hour: started, as soon as a worker takes it"
    assert asyncio.run(_states()) == {True}
    assert "started" not in call("schedules", "on"), "it is about to run"
    call("schedules", "off")
    assert asyncio.run(_states()) == {False}
