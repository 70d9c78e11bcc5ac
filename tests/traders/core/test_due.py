"""Whose positions are asked for next: activity decides, and age orders."""

import random
from datetime import timedelta
from decimal import Decimal

from sqlmodel import Session

from blocks.engine import session
from tasks.traders.core.due import DuePoll, Queue, due_polls, poll_failed, queue
from tasks.traders.core.snapshots import add_snapshot
from tasks.traders.core.tables import DOMAIN, Poll
from tests.traders.ledger_rows import NOW, TIME, add_traders, address


def snapshots(opened: Session, *polled: tuple[int, int], dex: str = "") -> None:
    for trader_id, time in polled:
        add_snapshot(opened, trader_id, dex, time, Decimal(5), (), NOW)


def due(full: bool = False, limit: int = 99, later: timedelta = timedelta()) -> list[tuple[int, str]]:
    with session(DOMAIN, read_only=True) as opened:
        return [(poll.trader_id, poll.dex) for poll in due_polls(opened, now=NOW + later, limit=limit, full=full)]


def fail(trader_id: int, dex: str = "") -> None:
    with session(DOMAIN) as opened:
        poll_failed(
            opened,
            trader_id,
            dex,
            reason="refused\n",
            now=NOW,
            base_seconds=60,
            cap_seconds=600,
            uniform=lambda low, high: high,
        )


def test_who_traded_since_the_last_snapshot_is_due_the_oldest_first(traders_ledger: str) -> None:
    a, b, c, d, e = add_traders(TIME + 100, TIME + 100, TIME + 100, TIME + 100, None)
    (ignored,) = add_traders(TIME + 100, ignored=True)
    with session(DOMAIN) as opened:
        # The third traded at the very time of its snapshot, which shows it.
        snapshots(opened, (a, TIME + 50), (b, TIME + 20), (c, TIME + 100))
    # What never had a snapshot comes first, also who was only asked for.
    assert due() == [(d, ""), (e, ""), (b, ""), (a, "")]
    assert due(limit=2) == [(d, ""), (e, "")]
    assert due(full=True) == [(d, ""), (e, ""), (b, ""), (a, ""), (c, "")]
    assert ignored not in {trader for trader, _ in due(full=True)}
    with session(DOMAIN, read_only=True) as opened:
        assert due_polls(opened, now=NOW, limit=1) == [DuePoll(d, address(4), "")]
        assert queue(opened, now=NOW) == Queue(polls=4, never=2, oldest_time=TIME + 20, waiting=0)
        assert queue(opened, now=NOW, full=True).polls == 5


def test_a_failed_poll_waits_twice_as_long_each_time_and_a_snapshot_ends_that(traders_ledger: str) -> None:
    a, b = add_traders(TIME, TIME)
    fail(a)
    assert due() == [(b, "")]
    assert due(full=True) == [(a, ""), (b, "")]
    assert due(later=timedelta(seconds=60)) == [(a, ""), (b, "")]
    fail(a)
    assert due(later=timedelta(seconds=119)) == [(b, "")]
    assert (a, "") in due(later=timedelta(seconds=120))
    with session(DOMAIN) as opened:
        poll = opened.get_one(Poll, (a, ""))
        assert (poll.failures, poll.reason, poll.snapshot_time) == (2, "refused", None)
        assert queue(opened, now=NOW) == Queue(polls=1, never=1, oldest_time=None, waiting=1)
        snapshots(opened, (a, TIME - 1))
        opened.expire_all()
        poll = opened.get_one(Poll, (a, ""))
        assert (poll.failures, poll.reason, poll.due_at) == (0, None, None)
    assert due() == [(b, ""), (a, "")]


def test_the_wait_is_drawn_and_bounded(traders_ledger: str) -> None:
    (a,) = add_traders(TIME)
    draw = random.Random(7)
    with session(DOMAIN) as opened:
        for failures in range(1, 12):
            until = poll_failed(
                opened, a, "", reason="x", now=NOW, base_seconds=60, cap_seconds=600, uniform=draw.uniform
            )
            bound = min(600, 60 * 2 ** (failures - 1))
            assert bound / 2 <= (until - NOW).total_seconds() <= bound


def test_dexes_of_builders_are_asked_for_those_who_traded_there(traders_ledger: str) -> None:
    a, b, c = add_traders(TIME, TIME, TIME + 11)
    with session(DOMAIN) as opened:
        for trader_id, dex in ((a, "xyz"), (b, "xyz"), (c, "abc")):
            opened.add(Poll(trader_id=trader_id, dex=dex))
    assert due() == [(a, ""), (a, "xyz"), (b, ""), (b, "xyz"), (c, ""), (c, "abc")]
    with session(DOMAIN) as opened:
        snapshots(opened, (a, TIME), (b, TIME), (c, TIME))
        snapshots(opened, (b, TIME), dex="xyz")
        snapshots(opened, (c, TIME), dex="abc")
    assert due() == [(a, "xyz"), (c, ""), (c, "abc")]
