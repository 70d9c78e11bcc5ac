"""Whose past is fetched next: activity and age decide, and nobody waits for ever."""

from datetime import datetime, timedelta

import pytest

from blocks.engine import session
from tasks.traders.core.due_histories import IDLE_DAYS, due_histories, mark_failed, mark_refreshed
from tasks.traders.core.fetched import Kind, move
from tasks.traders.core.history_tables import History
from tasks.traders.core.tables import DOMAIN
from tests.traders.ledger_rows import NOW, TIME, add_traders, address

HOUR = timedelta(hours=1)


def due(now: datetime = NOW, limit: int = 99) -> list[int]:
    with session(DOMAIN, read_only=True) as opened:
        found = due_histories(opened, now=now, limit=limit, hours=6)
    assert [one.address for one in found] == [address(one.trader_id) for one in found]
    return [one.trader_id for one in found]


def refreshed(trader: int, *, now: datetime = NOW, newest_fill: int | None = TIME) -> None:
    with session(DOMAIN) as opened:
        if newest_fill is not None:
            move(opened, trader, Kind.FILLS, newest_fill)
        mark_refreshed(opened, trader, now=now, portfolio_time=TIME)


def failed(trader: int, *, now: datetime = NOW) -> None:
    with session(DOMAIN) as opened:
        mark_failed(
            opened,
            trader,
            reason="r" * 400,
            now=now,
            base_seconds=60,
            cap_seconds=300,
            uniform=lambda low, high: high,
        )


def test_who_was_never_asked_for_is_due_but_not_who_is_ignored(traders_ledger: str) -> None:
    traders = add_traders(TIME, None)
    add_traders(TIME, ignored=True)
    assert due() == traders
    assert due(limit=1) == traders[:1]


def test_who_traded_since_is_due_after_the_hours(traders_ledger: str) -> None:
    active, quiet, unfilled = add_traders(TIME + 1, TIME, TIME)
    for trader, newest in ((active, TIME), (quiet, TIME), (unfilled, None)):
        refreshed(trader, newest_fill=newest)
    assert due(NOW + 6 * HOUR - timedelta(seconds=1)) == []
    assert due(NOW + 6 * HOUR) == [active, unfilled]


def test_who_holds_still_is_due_within_the_month_that_portfolios_tell_of(traders_ledger: str) -> None:
    (trader,) = add_traders(TIME)
    refreshed(trader)
    assert due(NOW + timedelta(days=IDLE_DAYS) - HOUR) == []
    assert due(NOW + timedelta(days=IDLE_DAYS)) == [trader]
    assert IDLE_DAYS < 30


def test_the_oldest_news_first_whether_known_or_new(traders_ledger: str) -> None:
    old, new, older = add_traders(TIME + 1, TIME + 1, TIME + 1)
    refreshed(old, now=NOW - 8 * HOUR)
    refreshed(older, now=NOW - 9 * HOUR)
    assert due() == [older, old, new]
    assert due(limit=2) == [older, old]


def test_who_failed_waits_longer_each_time_and_others_do_not(traders_ledger: str) -> None:
    bad, good = add_traders(TIME, TIME)
    for waits in (60, 120, 240, 300, 300):
        failed(bad)
        assert due() == [good]
        assert due(NOW + timedelta(seconds=waits - 1)) == [good]
        assert due(NOW + timedelta(seconds=waits)) == [bad, good]
    with session(DOMAIN) as opened:
        row = opened.get_one(History, bad)
        assert (row.failures, len(row.reason or "")) == (5, 300)
    refreshed(bad)
    with session(DOMAIN) as opened:
        row = opened.get_one(History, bad)
        assert (row.failures, row.reason, row.due_at, row.refreshed_at) == (0, None, None, NOW)


@pytest.mark.parametrize("later", [None, TIME - 1])
def test_the_newest_point_of_a_portfolio_moves_forward_only(traders_ledger: str, later: int | None) -> None:
    (trader,) = add_traders(TIME)
    refreshed(trader)
    with session(DOMAIN) as opened:
        mark_refreshed(opened, trader, now=NOW, portfolio_time=later)
        assert opened.get_one(History, trader).portfolio_time == TIME
