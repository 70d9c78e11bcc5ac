"""One holder at a time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlmodel import select

from blocks.engine import session
from tasks.traders.core.coverage import stream_is_alive
from tasks.traders.core.leases import DISCOVERY, holds, release, renew, take
from tasks.traders.core.tables import Lease
from tests.traders.core.trades import NOW

pytestmark = pytest.mark.usefixtures("traders_ledger")

LATER = NOW + timedelta(seconds=31)


def taken(owner: str, now: datetime = NOW, *, dead: str = "") -> str:
    with session("traders") as opened:
        return take(opened, DISCOVERY, owner, now, 30, dead=lambda other: other == dead)


def renewed(owner: str, now: datetime = NOW) -> bool:
    with session("traders") as opened:
        return renew(opened, DISCOVERY, owner, now, 30)


def held(owner: str) -> bool:
    with session("traders") as opened:
        return holds(opened, DISCOVERY, owner)


def test_one_that_is_held_is_not_given_to_another() -> None:
    assert taken("first") == "first"
    assert taken("second") == "first"
    assert taken("first") == "first"
    assert held("first") and not held("second")


def test_one_that_ran_out_is_taken_over_and_its_former_holder_cannot_renew_it() -> None:
    taken("first")
    assert taken("second", LATER) == "second"
    assert not renewed("first", LATER) and renewed("second", LATER)


def test_one_that_was_renewed_does_not_run_out() -> None:
    taken("first")
    assert renewed("first", NOW + timedelta(seconds=20))
    assert taken("second", LATER) == "first"


def test_one_that_ran_out_while_nobody_could_take_it_is_still_its_holders() -> None:
    taken("first")
    assert renewed("first", LATER) and taken("second", LATER) == "first"


def test_a_dead_holders_is_taken_at_once() -> None:
    taken("first")
    assert taken("second", dead="somebody else") == "first"
    assert taken("second", dead="first") == "second"


def test_one_that_was_given_back_is_gone_and_only_its_holder_gives_it_back() -> None:
    taken("first")
    with session("traders") as opened:
        assert not release(opened, DISCOVERY, "second")
        assert release(opened, DISCOVERY, "first")
    with session("traders", read_only=True) as opened:
        assert opened.exec(select(Lease)).all() == []
    assert not renewed("first") and not held("first") and taken("second") == "second"


def test_of_many_who_try_at_once_one_gets_it() -> None:
    names = [f"owner {number}" for number in range(6)]
    begin = threading.Barrier(len(names))

    def attempt(name: str) -> str:
        begin.wait()
        return taken(name)

    with ThreadPoolExecutor(len(names)) as pool:
        holders = list(pool.map(attempt, names))
    assert len(set(holders)) == 1 and holders[0] in names


def test_the_stream_is_alive_while_its_lease_is_held() -> None:
    with session("traders", read_only=True) as opened:
        assert not stream_is_alive(opened, NOW)
    taken("first")
    with session("traders", read_only=True) as opened:
        assert stream_is_alive(opened, NOW) and not stream_is_alive(opened, LATER)
