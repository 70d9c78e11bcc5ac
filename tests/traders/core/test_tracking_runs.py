"""What runs of the tracking count, and what is counted between them."""

from datetime import UTC, datetime

import pytest
from sqlmodel import select

from blocks.engine import session
from tasks.traders.core.tables import Poll, Trader
from tasks.traders.core.tracking_runs import begin_run, end_run, mark, since

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("book_ledger")


def compare(compared: int, drifted: int) -> None:
    """As a reconciling does, whoever runs it."""
    with session("traders") as opened:
        poll = opened.exec(select(Poll)).first()
        if poll is None:
            trader = opened.exec(select(Trader)).first() or Trader(address="0x" + "1" * 40, discovered_at=NOW)
            opened.add(trader)
            opened.flush()
            assert trader.id is not None
            poll = Poll(trader_id=trader.id, dex="")
        poll.compared += compared
        poll.drifted += drifted
        opened.add(poll)


def run(compared: int = 0, drifted: int = 0) -> tuple[int, int]:
    """A run in which so much is compared; gives what it counts."""
    with session("traders") as opened:
        number = begin_run(opened, due=0, now=NOW)
        before = mark(opened)
    compare(compared, drifted)
    with session("traders") as opened:
        found = since(opened, before)
        counts = {"compared": found.compared, "drifted": found.drifted}
        totals = {"compared_total": found.compared_total, "drifted_total": found.drifted_total}
        end_run(opened, number, now=NOW, **counts, **totals)
    return found.compared, found.drifted


def test_what_discovery_compares_between_two_runs_counts_in_the_later_one() -> None:
    assert run(5, 1) == (5, 1)
    compare(7, 2)
    assert run(3) == (10, 2)
    assert run() == (0, 0)


def test_polls_that_were_cleaned_away_take_nothing_from_a_run() -> None:
    run(9, 3)
    with session("traders") as opened:
        opened.delete(opened.exec(select(Poll)).one())
    assert run(4, 1) == (4, 1)


def test_a_run_that_was_killed_counts_in_the_next() -> None:
    run(1)
    with session("traders") as opened:
        begin_run(opened, due=0, now=NOW)
    compare(2, 2)
    assert run(1) == (3, 2)
