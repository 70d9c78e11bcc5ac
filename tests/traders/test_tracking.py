"""Tracking against an exchange: who is polled, what it weighs, what is kept when it is killed, and what it shows."""

import asyncio
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from blocks.engine import session
from blocks.settings import settings
from deployments.sandbox.exchange.server import RunningExchange
from tasks.foundation.core.columns import utc_now
from tasks.traders import polling
from tasks.traders.core.leases import take
from tasks.traders.core.tables import DOMAIN, Lease, Position, PositionEvent, TrackingRun, Trader
from tasks.traders.core.tracking_runs import TRACKING
from tasks.traders.leasing import new_owner
from tasks.traders.tracking import TrackingError, TrackingResult, track_traders_batch
from tests.servers import free_port
from tests.traders.exchanges import exchange_in_use
from tests.traders.ledger_rows import NOW, add_traders

_TRACK = "import asyncio; from tasks.traders.tracking import track_traders_batch; asyncio.run(track_traders_batch.fn())"


async def track(**options: Any) -> TrackingResult:
    result = await track_traders_batch.fn(**{"seconds": 60, **options})
    with session(DOMAIN, read_only=True) as opened:
        assert opened.exec(select(Lease)).all() == []
    return result


def discover(exchange: RunningExchange, *, time: int | None = None) -> None:
    """Make the exchange's traders known, as seen trading at a time; None: when its market opened."""
    seen = exchange.told["start"] if time is None else time
    with session(DOMAIN) as opened:
        known = {trader.address: trader for trader in opened.exec(select(Trader))}
        for told in exchange.truth(parts="traders")["traders"]:
            trader = known.get(told["address"]) or Trader(address=told["address"], discovered_at=NOW)
            trader.seen_time = seen
            opened.add(trader)


def held() -> dict[tuple[str, str], Decimal]:
    with session(DOMAIN, read_only=True) as opened:
        rows = opened.exec(select(Trader.address, Position).join(Position, Position.trader_id == Trader.id))  # type: ignore[arg-type]
        return {(address, position.coin): position.szi for address, position in rows if position.szi}


def true_positions(exchange: RunningExchange) -> dict[tuple[str, str], Decimal]:
    told = exchange.truth(parts="positions")["positions"]
    return {
        (address, coin): Decimal(position["szi"])
        for address, coins in told.items()
        for coin, position in coins.items()
        if Decimal(position["szi"]) and coin not in ("@107", "xyz:AAPL")
    }


def asked(exchange: RunningExchange) -> dict[str, int]:
    kinds: dict[str, int] = exchange.truth(parts="requests")["requests"]["by_type"]
    return kinds


async def test_positions_are_the_exchanges_and_only_who_traded_is_asked_for_again(traders_databases: str) -> None:
    with exchange_in_use() as exchange:
        exchange.tell("play", n=200)
        discover(exchange)
        first = await track()
        assert (first.due, first.polled, first.failed, first.left) == (12, 12, 0, 0)
        assert (first.histories, first.http_429) == (12, 0)
        assert held() == true_positions(exchange) != {}
        quiet = await track()
        assert (quiet.due, quiet.polled, asked(exchange)["clearinghouseState"]) == (0, 0, 12)

        # Nobody follows the stream here: what changed is told by comparing snapshots.
        exchange.tell("play", n=100)
        market = exchange.truth(parts="market")["market"]
        discover(exchange, time=market["time"])
        before = held()
        second = await track()
        assert (second.polled, asked(exchange)["clearinghouseState"]) == (12, 24)
        assert held() == true_positions(exchange) != before
        with session(DOMAIN, read_only=True) as opened:
            changed = [event for event in opened.exec(select(PositionEvent)) if event.source == "SNAPSHOT"]
        assert second.events == len(changed) == sum(second.events_by_change.values()) > 0
        weight = exchange.truth(parts="requests")["requests"]["weight"]
        assert first.weight + quiet.weight + second.weight >= weight > 0
        with session(DOMAIN, read_only=True) as opened:
            runs = opened.exec(select(TrackingRun).order_by(TrackingRun.id)).all()  # type: ignore[arg-type]
            assert [(run.polled, run.events, run.weight) for run in runs] == [
                (each.polled, each.events, each.weight) for each in (first, quiet, second)
            ]
            assert all(run.ended_at is not None for run in runs)
        assert (await track(full=True)).polled == 12


async def test_all_that_is_permitted_is_used_and_not_more(traders_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "_GRACE_SECONDS", 0.1)
    monkeypatch.setenv("QUINTET_TRADERS__HISTORY_SHARE", "0")
    with exchange_in_use(traders=90, days=0, weight=120, weight_window=3600.0) as exchange:
        discover(exchange)
        result = await track(seconds=3)
        assert (result.weight, result.permitted_weight, result.http_429) == (120, 120, 0)
        assert (result.polled, result.failed, result.left) == (60, 0, 30)
        told = exchange.truth(parts="requests")["requests"]
        assert (told["weight"], told["http_429"]["weight"]) == (120, 0)
        nothing = await track(seconds=0.1)
        assert (nothing.polled, nothing.weight, nothing.permitted_weight) == (0, 0, 0)


async def test_another_run_that_tracks_is_left_alone(traders_databases: str) -> None:
    add_traders(1)
    owner = new_owner()
    with session(DOMAIN) as opened:
        assert take(opened, TRACKING, owner, utc_now(), 3600) == owner
    result = await track_traders_batch.fn()
    assert result.held_by is not None and "on this machine" in result.held_by
    with session(DOMAIN, read_only=True) as opened:
        assert opened.exec(select(TrackingRun)).all() == []


async def test_an_exchange_that_answers_nothing_fails_the_run_which_still_ends(
    traders_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "_GRACE_SECONDS", 0.1)
    with exchange_in_use(error_rate=1.0) as exchange:
        discover(exchange)
        with pytest.raises(TrackingError, match="answered nothing"):
            await track(seconds=0.5)
        with session(DOMAIN, read_only=True) as opened:
            (run,) = opened.exec(select(TrackingRun)).all()
        assert (run.polled, run.failed, run.due) == (0, 0, 12)
        assert run.ended_at is not None
        # Nobody is to blame, and all are asked for as soon as it is back.
        exchange.tell("set", error_rate=0.0)
        assert (await track()).polled == 12


async def test_faults_of_the_exchange_cost_time_and_nothing_else(traders_files: Path) -> None:
    with exchange_in_use(traders=5, error_rate=0.1, broken_rate=0.1, truncated_rate=0.1) as exchange:
        exchange.tell("play", n=100)
        discover(exchange)
        result = await track()
        assert (result.polled, result.failed, result.histories) == (5, 0, 5)
        assert held() == true_positions(exchange)


async def test_redis_that_is_away_is_told_and_tracking_goes_on(
    traders_databases: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUINTET_TRADERS__REDIS_URL", f"redis://:s3cret@127.0.0.1:{free_port()}/0")
    with exchange_in_use() as exchange:
        discover(exchange)
        await track()
        exchange.tell("play", n=50)
        discover(exchange, time=exchange.truth(parts="market")["market"]["time"])
        result = await track()
    assert result.polled == 12 and result.events > 0
    assert (result.published, "away" in str(result.publishing_error)) == (0, True)
    assert "s3cret" not in result.model_dump_json()


@pytest.mark.parametrize("options", [{"seconds": 0}, {"seconds": -1}, {"batch_size": 0}])
async def test_what_makes_no_sense_is_refused(traders_files: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        await track_traders_batch.fn(**options)


async def test_killed_and_run_again_is_as_one_clean_run(traders_databases: str) -> None:
    with exchange_in_use(latency=(0.0, 0.02)) as exchange:
        exchange.tell("play", n=200)
        discover(exchange)
        with subprocess.Popen([sys.executable, "-c", _TRACK]) as child:
            while child.poll() is None and sum(asked(exchange).values()) < 17:
                await asyncio.sleep(0.01)
            child.kill()
        result = await track_traders_batch.fn(seconds=60)
        assert result.held_by is None
        assert held() == true_positions(exchange)
        # Answers that were stored before are not asked for again: what was in flight is all that was lost.
        at_once = settings().traders.requests_at_once
        assert asked(exchange)["clearinghouseState"] <= 12 + at_once
        with session(DOMAIN, read_only=True) as opened:
            assert opened.exec(select(PositionEvent)).all() == []
