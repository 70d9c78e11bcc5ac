"""What is old and needed by nothing goes, in small steps; what is still needed stays, however old."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlmodel import SQLModel, select

from blocks.engine import session
from tasks.traders import cleanup
from tasks.traders.cleanup import CleanupReport, cleanup_old_data
from tasks.traders.core.cleanup import MAXIMUM_DAYS
from tasks.traders.core.history_tables import Equity, EquitySource, Fill
from tasks.traders.core.schema import TradersTable
from tasks.traders.core.score_tables import LeaderboardRun
from tasks.traders.core.tables import (
    DOMAIN,
    Cursor,
    Gap,
    GapState,
    Poll,
    Position,
    PositionEvent,
    Rejection,
    Snapshot,
    Stream,
    StreamKind,
    TrackingRun,
    Trade,
)
from tests.traders.ledger_rows import NOW, TIME, add_events, add_traders

DAY = 86_400_000
OLD, YOUNG = TIME - 40 * DAY, TIME - 3 * DAY
OLD_AT, YOUNG_AT = NOW - timedelta(days=40), NOW - timedelta(days=3)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.traders.cleanup.utc_now", lambda: NOW)


def add(*rows: SQLModel) -> None:
    with session(DOMAIN) as opened:
        for row in rows:
            opened.add(row)
            opened.flush()


def trade(tid: int, time: int, buyer: int | None, seller: int | None, coin: str = "BTC") -> Trade:
    numbers = {"px": Decimal(1), "sz": Decimal(1)}
    return Trade(time=time, coin=coin, tid=tid, side="B", buyer_id=buyer, seller_id=seller, **numbers)


def baseline(*traders: int, dex: str = "") -> list[Poll]:
    return [Poll(trader_id=trader, dex=dex, baseline_time=OLD, reconciled_time=OLD) for trader in traders]


def everything() -> dict[str, list[Any]]:
    with session(DOMAIN, read_only=True) as opened:
        return {
            table.name: sorted(map(repr, opened.connection().execute(table.select()).all()))
            for table in TradersTable.metadata.sorted_tables
        }


def read(column: Any) -> set[Any]:
    with session(DOMAIN, read_only=True) as opened:
        return set(opened.exec(select(column)))


async def clean(days: int = 30, dry_run: bool = False) -> CleanupReport:
    """Clean; a dry run before it changes nothing, and tells the same."""
    before = everything()
    planned = await cleanup_old_data.fn(days, True)
    assert everything() == before
    if dry_run:
        return planned
    done = await cleanup_old_data.fn(days, False)
    assert done.model_copy(update={"dry_run": True}) == planned
    return done


def rows(report: CleanupReport) -> dict[str, int]:
    return {part.what.split(" ")[0]: part.rows for part in report.parts if part.rows}


async def test_old_trades_go_once_they_are_in_positions(traders_ledger: str) -> None:
    a, b, new = add_traders(TIME, TIME, TIME)
    (ignored,) = add_traders(TIME, ignored=True)
    add(*baseline(a, b), *baseline(a, dex="xyz"), Cursor(name="positions", time=TIME))
    add(
        trade(1, OLD, a, b),
        trade(2, OLD + 1, a, None),
        trade(3, OLD + 2, ignored, a),
        trade(4, OLD + 3, new, new, "@107"),
        trade(5, OLD + 4, a, a, "xyz:AAPL"),
        # Needed: a party was never polled, there or at all.
        trade(6, OLD + 5, a, new),
        trade(7, OLD + 6, b, a, "xyz:AAPL"),
        trade(8, YOUNG, a, b),
        # At the very moment.
        trade(9, TIME - 30 * DAY, a, b),
    )
    report = await clean()
    assert rows(report) == {"trades": 5}
    assert (report.rows, report.trades_kept) == (5, 2)
    assert read(Trade.tid) == {6, 7, 8, 9}
    # Once everybody has a first snapshot nothing is needed any more.
    add(*baseline(new), *baseline(b, dex="xyz"))
    assert rows(await clean()) == {"trades": 2}
    assert read(Trade.tid) == {8, 9}


@pytest.mark.parametrize("applied", [None, OLD + 1])
async def test_trades_that_are_not_in_positions_yet_stay(traders_ledger: str, applied: int | None) -> None:
    a, b = add_traders(TIME, TIME)
    add(*baseline(a, b), Cursor(name="positions", time=applied), *(trade(each, OLD + each, a, b) for each in range(4)))
    report = await clean()
    assert read(Trade.tid) == ({0, 1, 2, 3} if applied is None else {2, 3})
    assert report.trades_kept == len(read(Trade.tid))


async def test_what_a_snapshot_that_waits_will_be_compared_with_stays(traders_ledger: str) -> None:
    a, b = add_traders(TIME, TIME)
    add(*baseline(a, b), Cursor(name="positions", time=TIME), *(trade(each, OLD + each, a, b) for each in range(4)))
    add(Snapshot(trader_id=a, dex="", time=OLD + 1, fetched_at=OLD_AT, positions="[]"))
    add_events(a, 1, time=OLD + 1, published_at=OLD_AT)
    (needed,) = add_events(a, 1, time=OLD + 2, published_at=OLD_AT)
    add(position(a, "BTC", "0", OLD + 3), position(a, "ETH", "0", OLD))
    await clean()
    assert read(Trade.tid) == {2, 3}
    assert read(PositionEvent.id) == {needed}
    assert read(Position.coin) == {"BTC"}


async def test_the_rest_goes_by_its_own_age_and_what_counts_for_ever_stays(traders_ledger: str) -> None:
    (a,) = add_traders(TIME)
    add(Cursor(name="positions", time=TIME))
    add_events(a, 2, time=OLD, published_at=OLD_AT)
    kept = [
        *add_events(a, 1, time=OLD, published_at=None),
        *add_events(a, 1, time=OLD, published_at=YOUNG_AT),
        *add_events(a, 1, time=YOUNG, published_at=YOUNG_AT),
    ]
    add(*(position(a, f"C{number}", size, OLD) for number, size in enumerate(("0", "0.00", "-0", "0.00000001", "-5"))))
    add(position(a, "Y", "0", YOUNG))
    for number, (started, ended) in enumerate(
        [(OLD_AT, OLD_AT), (OLD_AT, None), (OLD_AT, YOUNG_AT), (YOUNG_AT, None)], 1
    ):
        add(Stream(id=number, kind=StreamKind.STREAM, coins="BTC", started_at=started, ended_at=ended))
        add(rejection(number, started))
    for state in GapState:
        for at in (OLD_AT, YOUNG_AT):
            closed = None if state is GapState.OPEN else at
            add(Gap(coin="BTC", from_time=OLD, state=state, opened_at=at, closed_at=closed, reason=f"{state} {at:%d}"))
    add(TrackingRun(started_at=OLD_AT), TrackingRun(started_at=YOUNG_AT))
    add(LeaderboardRun(calculated_at=OLD_AT, as_of_day=1, rules="", traders=0, eligible=0, inputs_hash="", ranking=b""))
    numbers: dict[str, Any] = dict.fromkeys(("px", "sz", "closed_pnl"), Decimal(1))
    add(Fill(trader_id=a, time=OLD, coin="BTC", tid=1, side="B", dir="Open Long", **numbers))

    report = await clean()
    assert rows(report) == {
        "events": 2,
        "positions": 3,
        "rejected": 3,
        "streams": 2,
        "gaps": 1,
        "runs": 1,
    }
    assert report.events_kept == 1
    assert read(PositionEvent.id) == set(kept)
    assert read(Position.coin) == {"C3", "C4", "Y"}
    assert read(Stream.id) == {3, 4} and read(Rejection.stream_id) == {4}
    assert len(read(Gap.reason)) == 5
    assert len(read(LeaderboardRun.id)) == len(read(Fill.tid)) == len(read(TrackingRun.id)) == 1
    assert rows(await clean()) == {}


def position(trader_id: int, coin: str, size: str, time: int) -> Position:
    return Position(trader_id=trader_id, coin=coin, szi=Decimal(size), changed_time=time)


def rejection(stream_id: int, at: datetime) -> Rejection:
    return Rejection(stream_id=stream_id, received_at=at, reason="no trade", excerpt="")


async def test_equity_of_snapshots_keeps_the_ends_of_each_old_day(
    traders_ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "BATCH", 3)
    traders = add_traders(TIME, TIME, TIME)
    midnight = OLD - OLD % DAY
    times = [midnight, midnight + 5, midnight + DAY - 1, midnight + DAY, midnight + DAY + 7]
    # The day in which the limit lies is not over, and stays as it is.
    limit = TIME - 30 * DAY
    times += [limit - 3, limit - 2, limit - 1, limit + 1]
    for trader in traders:
        for time in times:
            for source in EquitySource:
                add(Equity(trader_id=trader, time=time, source=source, account_value=1.0))
    report = await clean()
    assert rows(report) == {"equity": 3}
    with session(DOMAIN, read_only=True) as opened:
        for trader in traders:
            left = opened.exec(select(Equity.time, Equity.source).where(Equity.trader_id == trader)).all()
            assert {time for time, source in left if source is EquitySource.PORTFOLIO} == set(times)
            assert {time for time, source in left if source is EquitySource.SNAPSHOT} == set(times) - {midnight + 5}


async def test_a_run_that_is_stopped_leaves_less_for_the_next(
    traders_ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StoppedError(Exception):
        pass

    a, b = add_traders(TIME, TIME)
    add(*baseline(a, b), Cursor(name="positions", time=TIME), *(trade(each, OLD + each, a, b) for each in range(10)))
    monkeypatch.setattr(cleanup, "BATCH", 3)
    steps = iter([cleanup._step, cleanup._step])

    def stop(*arguments: Any) -> Any:
        for step in steps:
            return step(*arguments)
        raise StoppedError

    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        patch.setattr(cleanup, "_step", stop)
        await cleanup_old_data.fn(30, False)
    assert read(Trade.tid) == set(range(6, 10))
    assert rows(await clean()) == {"trades": 4}


@pytest.mark.parametrize("days", [0, -3, MAXIMUM_DAYS + 1])
async def test_days_out_of_range_are_refused(traders_ledger: str, days: int) -> None:
    with pytest.raises(ValueError, match=f"days must be from 1 to {MAXIMUM_DAYS}, not {days}"):
        await cleanup_old_data.fn(days, True)
