"""What discovery writes of what comes: in order, once, and whatever the database does meanwhile."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, select

from blocks.engine import LedgerUnreadableError, session
from blocks.exchange.items import (
    Closed,
    Control,
    Empty,
    ErrorFrame,
    Opened,
    Refused,
    Rejection,
    Subscribed,
    Trades,
    Unreadable,
    WsTrade,
)
from tasks.foundation.lifecycle import logger
from tasks.traders import discovery_writing
from tasks.traders.core import leases
from tasks.traders.core.coverage import choose_coins
from tasks.traders.core.tables import Coin, Gap, GapState, Stream, StreamKind
from tasks.traders.discovery_begin import begin
from tasks.traders.discovery_plan import Account, Ended, Fetched, Filled, Intake, Quiet
from tasks.traders.discovery_transaction import OpenGap
from tasks.traders.discovery_writing import Writer
from tests.traders.core.trades import NOW, address, rows, trade

OWNER = "this run"
SETTLE = 2.0


@pytest.fixture
def writer(traders_ledger: str) -> Writer:
    with session("traders") as opened:
        leases.take(opened, leases.DISCOVERY, OWNER, NOW, 10**6)
    begin(["BTC", "ETH"])
    return Writer(OWNER, SETTLE, logger())


def traded(*times: int, at: float, connection: int = 1, coin: str = "BTC", **more: Any) -> Trades:
    trades = [WsTrade(coin, "B", "100.5", "0.25", time, 1, (address(1), address(2))) for time in times]
    return Trades(connection, at, trades, **more)


def connected(connection: int = 1, at: float = 0.0, coins: tuple[str, ...] = ("BTC", "ETH")) -> list[Intake]:
    return [
        Opened(connection, at, coins),
        *(Control(connection, at, "subscriptionResponse", coin) for coin in coins),
        *(Subscribed(connection, at, coin) for coin in coins),
    ]


def streams() -> list[Stream]:
    with session("traders", read_only=True) as opened:
        return sorted(opened.exec(select(Stream)).all(), key=lambda row: row.id or 0)


def wholes() -> dict[str, int | None]:
    with session("traders", read_only=True) as opened:
        return {row.coin: row.whole_time for row in opened.exec(select(Coin))}


def gaps() -> list[tuple[str, int, int | None, GapState]]:
    with session("traders", read_only=True) as opened:
        return sorted((row.coin, row.from_time, row.to_time, row.state) for row in opened.exec(select(Gap)))


def test_every_frame_is_counted_for_what_it_is(writer: Writer) -> None:
    rejected: dict[str, Any] = {"rejected": 3, "rejections": (Rejection("no price", "{}"),)}
    writer.write([*connected(), traded(1000, 2000, at=1.0), Empty(1, 1.1), traded(1000, at=1.2, **rejected)])
    writer.write([ErrorFrame(1, 1.3, "no such coin"), Unreadable(1, 1.4, "no JSON", "<html>"), Control(1, 1.5, "pong")])
    (row,) = streams()
    counts = (row.frames, row.empty_frames, row.control_frames, row.error_frames, row.unreadable_frames)
    assert counts == (8, 1, 3, 1, 1)
    assert (row.trades, row.stored, row.duplicates, row.rejected) == (6, 2, 1, 3)
    tally = writer.tally
    assert (tally.frames, tally.trades, tally.stored, tally.duplicates, tally.rejected) == (8, 6, 2, 1, 3)
    assert sum(tally.by_minute.values()) == 2 and writer.connections == 1


def test_coins_become_whole_as_times_pass_and_stand_still_without_a_connection(writer: Writer) -> None:
    writer.write([*connected(), traded(1000, at=1.0)])
    assert wholes() == {"BTC": None, "ETH": None}
    writer.write([traded(3000, at=3.0)])
    assert wholes() == {"BTC": 1000, "ETH": 1000}
    writer.write([Closed(1, 4.0, ("BTC", "ETH"), "silent for 50 s")])
    writer.write([Quiet(9.0)])
    assert wholes() == {"BTC": 1000, "ETH": 1000}
    assert gaps() == [("BTC", 1000, None, GapState.OPEN), ("ETH", 1000, None, GapState.OPEN)]
    assert streams()[0].ended_for == "silent for 50 s" and streams()[0].ended_at is not None


def reconnected(writer: Writer) -> list[OpenGap]:
    writer.write([*connected(), traded(1000, at=1.0), traded(3000, at=3.0)])
    return writer.write(
        [Closed(1, 4.0, ("BTC", "ETH"), "1006"), *connected(2, 5.0), traded(9000, at=6.0, connection=2)]
    )


def test_a_reconnect_in_one_batch_opens_gaps_that_can_be_filled(writer: Writer) -> None:
    assert reconnected(writer) == [OpenGap("BTC", 2, 1000), OpenGap("ETH", 2, 1000)]
    assert writer.tally.gaps == 2
    # However much comes, nothing is whole beyond the gap.
    writer.write([traded(20_000, at=20.0, connection=2)])
    assert wholes() == {"BTC": 1000, "ETH": 1000}


def test_a_filled_gap_lets_the_coin_go_on_and_is_counted_in_an_account_of_its_own(writer: Writer) -> None:
    reconnected(writer)
    writer.write([traded(20_000, at=20.0, connection=2)])
    account = Account(StreamKind.RECENT_TRADES, ("BTC", "ETH"), NOW)
    writer.write([
        Fetched(account, "BTC", [trade(900), trade(2000), trade(5000), trade(9000)]),
        Filled(account, "BTC", 2, GapState.FILLED, 9000),
    ])  # fmt: skip
    assert wholes() == {"BTC": 9000, "ETH": 1000}
    writer.write([Filled(account, "ETH", 2, GapState.PARTIAL, 8000, "fills of 3 traders"), Ended(account, "done")])
    assert wholes() == {"BTC": 9000, "ETH": 9000}
    assert gaps() == [("BTC", 1000, 9000, GapState.FILLED), ("ETH", 1000, 8000, GapState.PARTIAL)]
    fetched = streams()[2]
    assert (fetched.kind, fetched.frames, fetched.trades, fetched.stored) == (StreamKind.RECENT_TRADES, 1, 4, 3)
    assert fetched.ended_for == "done"
    with session("traders", read_only=True) as opened:
        assert [row.recovered for row in opened.exec(select(Gap).where(Gap.coin == "BTC"))] == [3]
    assert dict(writer.tally.closed_gaps) == {"FILLED": 1, "PARTIAL": 1}


def test_a_gap_that_was_filled_for_a_connection_that_broke_meanwhile_stays_open(writer: Writer) -> None:
    reconnected(writer)
    account = Account(StreamKind.RECENT_TRADES, ("BTC",), NOW)
    found = writer.write([
        Closed(2, 7.0, ("BTC", "ETH"), "1006"),
        *connected(3, 8.0),
        Fetched(account, "BTC", [trade(2000)]),
        Filled(account, "BTC", 2, GapState.FILLED, 9000),
    ])  # fmt: skip
    assert found == [OpenGap("BTC", 3, 1000), OpenGap("ETH", 3, 1000)]
    assert {state for *_, state in gaps()} == {GapState.OPEN} and len(gaps()) == 2
    assert len(rows()) == 4


def test_a_refused_coin_holds_nobody_back_until_it_is_subscribed_after_all(writer: Writer) -> None:
    subscribed = connected(coins=("BTC",))
    writer.write([*subscribed, Refused(1, 0.5, "ETH", "no such coin", 30), traded(1000, at=1.0), traded(3000, at=3.0)])
    with session("traders", read_only=True) as opened:
        assert {row.coin: row.subscribed for row in opened.exec(select(Coin))} == {"BTC": True, "ETH": False}
    writer.write([Subscribed(1, 4.0, "ETH"), traded(5000, at=5.0), traded(7000, at=7.0)])
    assert wholes() == {"BTC": 5000, "ETH": 5000} and gaps() == []


def test_a_stop_ends_accounts_and_opens_no_gap(writer: Writer) -> None:
    account = Account(StreamKind.USER_FILLS, ("BTC",), NOW)
    writer.write([*connected(), traded(1000, at=1.0), traded(3000, at=3.0), Fetched(account, "BTC", [])])
    writer.hurry("stopped")
    writer.write([traded(4000, at=3.5)])
    writer.end("stopped")
    assert gaps() == [] and wholes() == {"BTC": 1000, "ETH": 1000}
    assert [row.ended_for for row in streams()] == ["stopped", "stopped"] and len(rows()) == 3


def test_the_next_run_begins_with_gaps_where_the_last_one_was_killed(writer: Writer) -> None:
    writer.write([*connected(), traded(1000, at=1.0), traded(3000, at=3.0)])
    begin(["BTC", "SOL"])
    assert gaps() == [("BTC", 1000, None, GapState.OPEN)]
    assert streams()[0].ended_for == "its process ended"
    begin(["SOL"])
    assert gaps() == [("BTC", 1000, None, GapState.PARTIAL)]


def test_who_has_lost_the_lease_stores_trades_and_says_nothing_of_coins(writer: Writer) -> None:
    writer.write([*connected(), traded(1000, at=1.0)])
    with session("traders") as opened:
        leases.take(opened, leases.DISCOVERY, "another run", NOW, 10**6, dead=lambda _owner: True)
        choose_coins(opened, ["BTC", "ETH"])
    writer.write([traded(3000, at=3.0), Closed(1, 4.0, ("BTC", "ETH"), "1006")])
    assert writer.lost_lease and len(rows()) == 2 and wholes() == {"BTC": None, "ETH": None} and gaps() == []


@contextmanager
def failing(times: int, *, after_commit: bool, waits: Callable[[], None] = lambda: None) -> Iterator[list[int]]:
    """Have so many transactions fail: before anything is done, or when all is done and only the answer is lost."""
    left, seen = times, [0]

    @contextmanager
    def session_that_fails(domain: str) -> Iterator[Session]:
        nonlocal left
        seen[0] += 1
        failed, left = left > 0, left - 1
        if failed and not after_commit:
            waits()
            raise LedgerUnreadableError("the traders database cannot be written: its disk is full")
        with session(domain) as opened:
            yield opened
        if failed:
            raise OperationalError("COMMIT", None, Exception("the connection was lost"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.traders.discovery_writing.session", session_that_fails)
        patch.setattr(discovery_writing, "_WAIT_CAP", 0.001)
        patch.setattr(discovery_writing, "_HURRIED_WAIT", 0.0)
        yield seen


@pytest.mark.parametrize("after_commit", [False, True])
def test_a_transaction_that_fails_is_done_again_and_counted_once(
    writer: Writer, after_commit: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with failing(3, after_commit=after_commit) as seen, caplog.at_level(logging.INFO, "quintet"):
        writer.write([*connected(), traded(1000, at=1.0, rejected=1), traded(3000, at=3.0)])
    assert seen == [4]
    said = " ".join(record.getMessage() for record in caplog.records)
    assert said.count("takes nothing") == said.count("takes trades again") == 1
    with failing(1, after_commit=after_commit):
        again = [Closed(1, 4.0, ("BTC", "ETH"), "1006"), *connected(2, 5.0), traded(3000, 9000, at=6.0, connection=2)]
        found = writer.write(again)
    with failing(1, after_commit=after_commit):
        writer.write([Quiet(20.0)])
    assert found == [OpenGap("BTC", 2, 1000), OpenGap("ETH", 2, 1000)]
    assert [(row.frames, row.trades, row.stored, row.duplicates, row.rejected) for row in streams()] == [
        (4, 3, 2, 0, 1),
        (3, 2, 1, 1, 0),
    ]
    tally = writer.tally
    assert (tally.frames, tally.trades, tally.stored, tally.duplicates, tally.rejected) == (7, 5, 3, 1, 1)
    assert len(rows()) == 3 and len(gaps()) == 2


def test_a_run_that_is_to_end_does_not_wait_for_a_database_for_ever(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery_writing, "HURRY_SECONDS", 0.0)
    waiting = threading.Event()

    def hurry_then() -> None:
        waiting.wait()
        writer.hurry("stopped")

    with failing(10**9, after_commit=False, waits=waiting.set):
        helper = threading.Thread(target=hurry_then)
        helper.start()
        with pytest.raises(LedgerUnreadableError, match="disk is full"):
            writer.write([*connected(), traded(1000, at=1.0)])
        helper.join()
    assert rows() == []


def test_what_cannot_pass_by_itself_is_raised_at_once(writer: Writer) -> None:
    with session("traders") as opened:
        opened.connection().exec_driver_sql("DROP TABLE traders_rejection")
    with pytest.raises(Exception, match="quintet apply"):
        writer.write([*connected(), Unreadable(1, 1.4, "no JSON", "<html>")])
