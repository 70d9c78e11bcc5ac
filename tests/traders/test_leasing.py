"""Leases: one holder at a time, taken over from the dead, lost when another took it."""

import asyncio
import subprocess
import sys
from datetime import timedelta

import pytest
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlmodel import select

from blocks.engine import session
from tasks.foundation.core.columns import utc_now
from tasks.traders import leasing
from tasks.traders.core import leases
from tasks.traders.core.tables import DOMAIN, Lease
from tasks.traders.leasing import is_dead, leased, new_owner, shown

_HOLD = """
import asyncio, threading
from tasks.traders.leasing import leased
async def hold():
    async with leased("work") as held:
        print(held.ours, flush=True)
        await asyncio.Event().wait()
asyncio.run(hold())
"""


def rows() -> list[str]:
    with session(DOMAIN, read_only=True) as opened:
        return [lease.name for lease in opened.exec(select(Lease))]


async def test_one_holds_it_and_gives_it_back(traders_ledger: str) -> None:
    async with leased("work") as first, leased("work") as second:
        assert first.ours and not second.ours
        assert second.held_by is not None and "on this machine" in second.held_by
        async with leased("other") as other:
            assert other.ours
    assert rows() == []
    async with leased("work") as again:
        assert again.ours


async def test_of_a_process_that_was_killed_it_is_taken_at_once(traders_ledger: str) -> None:
    with subprocess.Popen([sys.executable, "-c", _HOLD], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert await asyncio.to_thread(child.stdout.readline) == "True\n"
        async with leased("work") as refused:
            assert refused.held_by == f"process {child.pid} on this machine"
        child.kill()
    assert rows() == ["work"]
    async with leased("work") as taken:
        assert taken.ours
    assert rows() == []


async def test_who_loses_it_is_told(traders_ledger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leasing, "RENEW_SECONDS", 0.01)
    async with leased("work") as hold:
        with session(DOMAIN) as opened:
            later = utc_now() + timedelta(seconds=leasing.LEASE_SECONDS * 2)
            assert leases.take(opened, "work", "another", later, 60) == "another"
        await asyncio.wait_for(hold.lost.wait(), 60)
        assert not hold.ours
    # It is the other's still.
    assert rows() == ["work"]


async def test_it_is_renewed_while_the_work_goes_on(traders_ledger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    renewed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def note(name: str, owner: str, now: object) -> bool:
        loop.call_soon_threadsafe(renewed.set)
        return True

    monkeypatch.setattr(leasing, "RENEW_SECONDS", 0.01)
    monkeypatch.setattr(leasing, "_renew", note)
    async with leased("work") as hold:
        await asyncio.wait_for(renewed.wait(), 60)
        assert hold.ours


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
async def test_a_database_that_is_away_for_a_while_does_not_end_the_work(
    traders_ledger: str, monkeypatch: pytest.MonkeyPatch, error: type[DBAPIError]
) -> None:
    tries = 0
    renewed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fail_once(name: str, owner: str, now: object) -> bool:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise error("UPDATE", {}, Exception("away"))
        loop.call_soon_threadsafe(renewed.set)
        return True

    monkeypatch.setattr(leasing, "RENEW_SECONDS", 0.01)
    monkeypatch.setattr(leasing, "_renew", fail_once)
    async with leased("work") as hold:
        await asyncio.wait_for(renewed.wait(), 60)
        assert hold.ours


def test_owners_are_told_apart_and_fit_their_column() -> None:
    owners = {new_owner() for _ in range(100)}
    assert len(owners) == 100
    assert max(map(len, owners)) <= 64
    assert not any(is_dead(owner) for owner in owners)
    pid, started, place, key = new_owner().split(":")
    assert is_dead(f"{pid}:{started}0:{place}:{key}")
    elsewhere = f"{pid}:{started}0:{'0' * len(place)}:{key}"
    assert not is_dead(elsewhere)
    assert "another machine" in shown(elsewhere)
    assert not is_dead("whatever")
    assert shown("whatever") == "another process"
