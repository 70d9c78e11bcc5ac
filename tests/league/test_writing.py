"""The writer behind concurrent fetches: each write is told its own outcome, and none outlives its context."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlmodel import Session, select

from blocks.engine import session
from tasks.league.core.tables import DOMAIN, Summoner
from tasks.league.writing import Writer


class AddPlayer:
    """A write of one row, which remembers the threads it ran in."""

    def __init__(self, puuid: str) -> None:
        self.puuid = puuid
        self.threads: list[int] = []

    def __call__(self, opened: Session) -> str:
        self.threads.append(threading.get_ident())
        opened.add(Summoner(puuid=self.puuid, platform="na1"))
        opened.flush()
        return self.puuid


def players() -> set[str]:
    with session(DOMAIN, read_only=True) as opened:
        return set(opened.exec(select(Summoner.puuid)).all())


async def test_a_write_that_fails_undoes_nothing_but_itself(league_ledger: str) -> None:
    writes = [AddPlayer(name) for name in ("a", "b", "a", "c")]
    async with Writer() as writer:
        outcomes = await asyncio.gather(*(writer.do(write) for write in writes), return_exceptions=True)
    assert sorted(outcome for outcome in outcomes if isinstance(outcome, str)) == ["a", "b", "c"]
    assert [type(outcome) for outcome in outcomes if not isinstance(outcome, str)] == [IntegrityError]
    assert players() == {"a", "b", "c"}
    # The loop's own thread stays free.
    assert threading.get_ident() not in {thread for write in writes for thread in write.threads}


async def test_a_write_is_committed_when_it_is_done(league_ledger: str) -> None:
    async with Writer() as writer:
        for name in ("a", "b"):
            await writer.do(AddPlayer(name))
            assert name in players()


async def test_a_cancelled_batch_waits_for_its_transaction_and_gives_the_rest_up(league_ledger: str) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(opened: Session) -> None:
        begun.set()
        assert go_on.wait(60)
        opened.add(Summoner(puuid="slow", platform="na1"))

    async def batch() -> None:
        async with Writer() as writer, asyncio.TaskGroup() as group:
            group.create_task(writer.do(slow))
            await asyncio.to_thread(begun.wait, 60)
            group.create_task(writer.do(slow))
            await asyncio.Event().wait()

    running = asyncio.create_task(batch())
    assert await asyncio.to_thread(begun.wait, 60)
    running.cancel()
    await asyncio.sleep(0)
    assert not running.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert players() == {"slow"}


@pytest.mark.parametrize("league_ledger", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
async def test_of_two_that_lock_each_other_out_both_are_written(league_ledger: str) -> None:
    both, tries = threading.Barrier(2), list[str]()

    def level(first: str, second: str) -> Callable[[Session], None]:
        def write(opened: Session) -> None:
            tries.append(first)
            opened.get_one(Summoner, first, with_for_update=True).summoner_level = 1
            opened.flush()
            if len(tries) <= 2:
                both.wait(60)
            opened.get_one(Summoner, second, with_for_update=True).profile_icon_id = 1

        return write

    async with Writer() as writer:
        await asyncio.gather(writer.do(AddPlayer("x")), writer.do(AddPlayer("y")))
        await asyncio.gather(writer.do(level("x", "y")), writer.do(level("y", "x")))
    # The one that was ended may meet the other a second time.
    assert 3 <= len(tries) <= 5
    with session(DOMAIN, read_only=True) as opened:
        rows = opened.exec(select(Summoner.summoner_level, Summoner.profile_icon_id)).all()
    assert set(rows) == {(1, 1)}


async def test_other_database_errors_are_raised_at_once(league_ledger: str) -> None:
    calls: list[int] = []

    def broken(opened: Session) -> None:
        calls.append(1)
        raise OperationalError("SELECT", {}, Exception("gone"))

    async with Writer() as writer:
        with pytest.raises(OperationalError):
            await writer.do(broken)
    assert len(calls) == 1
