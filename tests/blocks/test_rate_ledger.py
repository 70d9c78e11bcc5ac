"""The rate ledger: processes that share a key, die, restart, are cancelled; and the limits change under them.

What counts is what a server counted on its own clock.
"""

import asyncio
import itertools
import os
import sys
import time
from asyncio.subprocess import Process
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sqlalchemy import text

import blocks.rate_ledger
import blocks.rate_mirror
import blocks.rate_route
from blocks.engine import LedgerOutdatedError, LedgerUnreadableError, engine
from blocks.rate_ledger import RateLedger, read_rates
from blocks.rate_owners import Owner, OwnerWatch
from blocks.rate_route import RouteState
from blocks.rate_window import AnswerLimits, Window, parse_windows
from blocks.rate_wish import Finish, Outcome, Wish
from tests.rate_server import CountingServer, client, connected

ROOT = Path(__file__).parents[2]
KEY = "0123abcd"
#: For what happens in the process, whatever the database.
on_sqlite = pytest.mark.parametrize("rates", ["sqlite"], indirect=True)


async def _start(server: CountingServer, requests: int, at_once: int) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.rate_server", str(server.port), KEY, str(requests), str(at_once), cwd=ROOT
    )


async def _learn(ledger: RateLedger, windows: str, method: str = "match") -> None:
    permit = await ledger.acquire(route="americas", method=method)
    permit.finished(AnswerLimits(application=parse_windows(windows), method=parse_windows("2000:10")))


def _count(statement: str) -> int:
    with engine("rates").connect() as connection:
        return int(connection.execute(text(statement)).scalar_one())


async def test_two_processes_share_the_windows(rates: str) -> None:
    async with CountingServer("15:0.1,40:0.4") as server:
        processes = [await _start(server, 60, 20) for _ in range(2)]
        assert [await process.wait() for process in processes] == [0, 0]
    assert len(server.arrivals) == 120
    assert server.exceeded() == []
    assert [(use.method, use.in_flight) for use in read_rates(KEY)] == [(None, 0), ("match", 0)]


async def test_a_restart_forgets_nothing(rates: str) -> None:
    async with CountingServer("30:0.3") as server:
        for _ in range(4):
            await client(server.port, KEY, 20, 10)
    assert len(server.arrivals) == 80
    assert server.exceeded() == []


async def test_what_a_killed_process_had_sent_counts(rates: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks.rate_route, "GONE_SECONDS", 0.1)
    async with CountingServer("12:0.4") as server:
        process = await _start(server, 1000, 12)
        await server.arrived(5)
        server.answering.clear()
        # All that the windows let out is on its way, and nobody will hear the answers.
        await server.arrived(12)
        process.kill()
        await process.wait()
        server.answering.set()
        await client(server.port, KEY, 24, 12)
    assert server.exceeded() == []
    assert sum(use.in_flight for use in read_rates(KEY)) == 0


async def test_a_process_elsewhere_is_dead_when_it_falls_silent(rates: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks.rate_route, "GONE_SECONDS", 0.0)
    elsewhere = Owner(7, "another machine", os.getpid(), "1")
    async with RateLedger(KEY, lease_seconds=0.3) as ledger:
        await _learn(ledger, "2:0.1")
        with engine("rates").begin() as connection:
            elsewhere.beat(connection, 0)
            connection.execute(
                text(
                    "INSERT INTO rate_request (owner, number, route_id, method, granted_at, weight, version) "
                    "SELECT 7, n, id, 'match', clock, 1, version + 1 "
                    "FROM rate_route, (SELECT 1 AS n UNION SELECT 2) AS two"
                )
            )
            connection.execute(text("UPDATE rate_route SET version = version + 1"))
        waiting = asyncio.create_task(ledger.acquire(route="americas", method="match"))
        for beat in range(6):
            await asyncio.sleep(0.1)
            with engine("rates").begin() as connection:
                elsewhere.beat(connection, beat)
        assert not waiting.done()
        (await waiting).finished()
    assert sum(use.in_flight for use in read_rates(KEY)) == 0


async def test_limits_that_change_hold_for_all(rates: str) -> None:
    async with CountingServer("40:0.3") as server, AsyncExitStack() as stack:
        ledgers = [await stack.enter_async_context(RateLedger(KEY)) for _ in range(2)]
        connections = [await stack.enter_async_context(connected(server.port)) for _ in range(24)]
        await asyncio.gather(*(each.ask(ledgers[number % 2]) for number, each in enumerate(connections)))
        server.windows = "6:0.3,40:9"
        since = len(server.arrivals)
        # One answer, heard by one process, tells both.
        await connections[0].ask(ledgers[0])
        while Window(6, 0.3) not in dict(read_rates(KEY)[0].used):
            await asyncio.sleep(0.001)
        await asyncio.gather(*(each.ask(ledgers[number % 2]) for number, each in enumerate(connections[:14])))
        assert len(server.arrivals) - since == 15
        assert server.exceeded(since) == []
        assert read_rates(KEY)[0].used[1] == (Window(40, 9), 39)


async def test_a_block_of_the_application_holds_all_processes(rates: str) -> None:
    async with CountingServer("100:1") as server, AsyncExitStack() as stack:
        one, other = [await stack.enter_async_context(RateLedger(KEY)) for _ in range(2)]
        async with connected(server.port) as first, connected(server.port) as second:
            await first.ask(one, blocked_seconds=0.5, blocked_scope="application")
            # Until the answer is written; a request that was sent before that is not ours to stop.
            while not read_rates(KEY)[0].blocked_seconds:
                await asyncio.sleep(0.001)
            assert read_rates(KEY)[1].blocked_seconds == 0
            await second.ask(other)
    # The block began with the answer, and so after the first arrival.
    assert server.arrivals[1][0] - server.arrivals[0][0] > 0.5


@on_sqlite
@pytest.mark.parametrize("scope", ["method", "service", None])
async def test_a_block_of_a_method_lets_others_pass(rates: str, scope: str | None) -> None:
    async with CountingServer("100:1") as server, RateLedger(KEY) as ledger, AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(connected(server.port)) for _ in range(2)]
        await second.ask(ledger, "timeline")
        await first.ask(ledger, "match", blocked_seconds=0.4, blocked_scope=scope)
        await asyncio.gather(first.ask(ledger, "match"), second.ask(ledger, "timeline"))
    assert [method for _, method in server.arrivals] == ["timeline", "match", "timeline", "match"]


async def test_a_cancelled_wait_leaks_nothing(rates: str) -> None:
    async with RateLedger(KEY) as ledger:
        await _learn(ledger, "50:1000")
        for pause in (0, 0, 0.001, 0.002, 0.003, 0.005):
            waits = [asyncio.create_task(ledger.acquire(route="americas", method="match")) for _ in range(60)]
            await asyncio.sleep(pause)
            for wait in waits:
                wait.cancel()
            for permit in await asyncio.gather(*waits, return_exceptions=True):
                if not isinstance(permit, BaseException):
                    permit.withdraw()
        # All but the one request that was sent are free again.
        permits = await asyncio.gather(*(ledger.acquire(route="americas", method="match") for _ in range(49)))
        for permit in permits:
            permit.finished()
            permit.finished()
        waiting = asyncio.create_task(ledger.acquire(route="americas", method="match"))
        done, _ = await asyncio.wait({waiting}, timeout=0.05)
        assert not done
        waiting.cancel()
    assert read_rates(KEY)[0].used == ((Window(50, 1000), 50),)


@on_sqlite
async def test_counts_that_others_caused_are_kept(rates: str) -> None:
    async with RateLedger(KEY) as ledger:
        permit = await ledger.acquire(route="americas", method="match")
        windows = parse_windows("20:1,100:1000")
        permit.finished(AnswerLimits(windows, {1: 1, 1000: 36}, parse_windows("50:1000"), {1000: 41}))
    for use in read_rates(KEY):
        assert use.used[-1][1] == (36 if use.method is None else 41)
        assert use.learned


async def test_a_transaction_whose_end_was_not_heard_grants_nothing(
    rates: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks.rate_ledger, "_RETRY_SECONDS", 0.01)
    transact, faults = RouteState.transact, [1, 2]

    def unlucky(self: RouteState, finishes: list[Finish], wishes: list[Wish], held: frozenset[int]) -> Outcome:
        outcome = transact(self, finishes, wishes, held)
        if wishes and faults:
            faults.pop()
            self.version = None
            raise LedgerUnreadableError("the server went away")
        return outcome

    async with RateLedger(KEY) as ledger:
        await _learn(ledger, "2:1000")
        monkeypatch.setattr(RouteState, "transact", unlucky)
        permit = await ledger.acquire(route="americas", method="match")
        assert read_rates(KEY)[0].in_flight == 1
        permit.finished()
    assert read_rates(KEY)[0].used == ((Window(2, 1000), 2),)


@on_sqlite
async def test_a_database_that_stays_away_fails_those_who_wait(rates: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks.rate_ledger, "_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(blocks.rate_ledger, "_RETRY_SECONDS", 0.01)

    def away(*_: object) -> Outcome:
        raise LedgerUnreadableError("no such server")

    async with RateLedger(KEY) as ledger:
        monkeypatch.setattr(RouteState, "transact", away)
        with pytest.raises(LedgerUnreadableError):
            await ledger.acquire(route="americas", method="match")


@on_sqlite
async def test_a_request_without_an_answer_may_be_on_its_way(rates: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks.rate_route, "GONE_SECONDS", 0.3)
    async with CountingServer("1:0.1") as server, RateLedger(KEY) as ledger:
        await _learn(ledger, server.windows)
        permit = await ledger.acquire(route="americas", method="match")
        permit.finished()
        given_up = time.monotonic()
        async with connected(server.port) as connection:
            await connection.ask(ledger)
    assert server.arrivals[0][0] - given_up > 0.4


async def test_old_requests_are_removed(rates: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks.rate_route, "_KEEP_SECONDS", 0.0)
    monkeypatch.setattr(blocks.rate_route, "_CLEAN_SECONDS", 0.0)
    async with RateLedger(KEY) as ledger:
        for _ in range(4):
            permits = []
            for _ in range(10):
                permit = await ledger.acquire(route="americas", method="match")
                permits.append(permit)
                if len(permits) == 1:
                    permit.finished(AnswerLimits(parse_windows("10:0.1"), None, parse_windows("10:0.1")))
            for permit in permits:
                permit.finished(AnswerLimits())
    assert _count("SELECT count(*) FROM rate_request") <= 20
    assert _count("SELECT count(*) FROM rate_owner") == 0


def test_a_database_that_lost_its_last_commits_is_read_anew_and_doubted(rates: str) -> None:
    me = Owner.here()
    state = RouteState(KEY, "americas", parse_windows("4:1000"), me, OwnerWatch(me), itertools.count(1))
    told = AnswerLimits(application=parse_windows("4:1000"), method=parse_windows("2000:10"))
    assert state.transact([], [Wish("match")], frozenset()).granted == [1]
    state.transact([Finish(1, "match", time.monotonic(), told)], [], frozenset())
    # It came back at its first version, and another process was there first: its second is not the one known here.
    with engine("rates").begin() as connection:
        connection.execute(text("UPDATE rate_route SET version = 1"))
        connection.execute(
            text(
                "INSERT INTO rate_request (owner, number, route_id, method, granted_at, received_at, weight, version) "
                "SELECT 7, n, id, 'match', clock, clock, 1, 1 FROM rate_route, (SELECT 1 AS n UNION SELECT 2) AS two"
            )
        )
    # One is left, and goes alone.
    assert state.transact([], [Wish("match"), Wish("match")], frozenset()).granted == [2, None]
    assert read_rates(KEY)[0].used == ((Window(4, 1000), 4),)
    state.transact([Finish(2, "match", time.monotonic(), told)], [], frozenset())
    assert state.transact([], [Wish("match")], frozenset()).granted == [None]


@pytest.mark.parametrize("step", [1e6, -1e6])
async def test_a_clock_that_is_set_frees_no_window(rates: str, monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    clock, ahead = blocks.rate_mirror.database_clock, [0.0]
    monkeypatch.setattr(blocks.rate_route, "database_clock", lambda connection: clock(connection) + ahead[0])
    async with CountingServer("5:0.2") as server, RateLedger(KEY) as ledger, AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connected(server.port)) for _ in range(5)]
        for _ in range(4):
            await asyncio.gather(*(each.ask(ledger) for each in connections))
            ahead[0] += step
    assert len(server.arrivals) == 20
    assert server.exceeded() == []


@on_sqlite
async def test_what_is_held_at_the_end_is_let_go(rates: str) -> None:
    async with RateLedger(KEY) as ledger:
        await _learn(ledger, "5:1000")
        permit = await ledger.acquire(route="americas", method="match")
    permit.finished()
    use = read_rates(KEY)[0]
    assert (use.in_flight, use.used) == (0, ((Window(5, 1000), 2),))
    with pytest.raises(RuntimeError, match="not open"):
        await ledger.acquire(route="americas", method="match")


@on_sqlite
async def test_who_waits_at_the_end_is_told(rates: str) -> None:
    async with RateLedger(KEY) as ledger:
        await _learn(ledger, "1:1000")
        waiting = asyncio.create_task(ledger.acquire(route="americas", method="match"))
        await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="closed while"):
        await waiting


@on_sqlite
async def test_a_forked_process_opens_its_own(rates: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with RateLedger(KEY) as ledger:
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: 1)
            with pytest.raises(RuntimeError, match="before a fork"):
                await ledger.acquire(route="americas", method="match")


async def test_without_tables_it_says_what_to_run(home: Path) -> None:
    with pytest.raises(LedgerOutdatedError, match="quintet apply"):
        async with RateLedger(KEY):
            pass
    with pytest.raises(LedgerOutdatedError, match="quintet apply"):
        read_rates(KEY)


def test_commits_of_rates_wait_for_no_disk(rates: str) -> None:
    with engine("rates").connect() as connection:
        if rates == "sqlite":
            assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 1
        else:
            assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == "off"


@pytest.mark.parametrize("rates", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
def test_whatever_the_server_isolates_who_waited_for_the_lock_sees_what_was_written(rates: str) -> None:
    with engine("rates").begin() as connection:
        name = connection.execute(text("SELECT current_database()")).scalar_one()
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'"))
    engine("rates").dispose()
    with engine("rates").connect() as connection:
        assert connection.execute(text("SHOW transaction_isolation")).scalar_one() == "read committed"
