"""Requests of different weights: no interval of a window's length holds more than its limit, and each has its turn."""

import asyncio
import heapq
import itertools
import math
import time
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from blocks import rate_precedence, rate_route
from blocks.engine import engine
from blocks.rate_ledger import RateLedger, read_rates
from blocks.rate_owners import Owner, OwnerWatch
from blocks.rate_route import RouteState
from blocks.rate_window import AnswerLimits, RateLog, Window
from blocks.rate_wish import Finish, Wish

KEY = "address"
LAW = settings(max_examples=80, deadline=None)
# What a request weighs at least, and how much its items may add.
KINDS = ((2, 0), (20, 25), (20, 100))

windows = st.lists(
    st.builds(Window, st.integers(120, 400), st.floats(0.5, 60)), min_size=1, max_size=2, unique_by=lambda w: w.seconds
).map(tuple)


@dataclass
class _Run:
    """A client without end of wishes, and a server that charges requests as they arrive and items as it answers."""

    log: RateLog[int]
    random: Random
    slowest: float
    kinds: tuple[tuple[int, int], ...] = KINDS
    charges: list[tuple[float, int]] = field(default_factory=list)

    def until(self, end: float) -> None:
        now, ends, numbers = 0.0, list[tuple[float, int, int]](), itertools.count()
        base, most = self.random.choice(self.kinds)
        while now < end or ends:
            earliest = self.log.earliest(now, base + most)
            if now < end and earliest <= now:
                number, items = next(numbers), self.random.randint(0, most)
                self.log.grant(number, now, base + most)
                arrives = now + self.random.uniform(0, self.slowest)
                answers = arrives + self.random.uniform(0, self.slowest)
                self.charges += [(arrives, base), (answers, items)]
                # A round trip of no time would end in endless requests at one moment.
                received = answers + self.random.uniform(0.001, 0.001 + self.slowest)
                heapq.heappush(ends, (received, number, base + items))
                base, most = self.random.choice(self.kinds)
                continue
            times = [ends[0][0]] if ends else []
            times += [earliest] if now < end and earliest < math.inf else []
            now = max(now, min(times))
            while ends and ends[0][0] <= now:
                at, number, weight = heapq.heappop(ends)
                self.log.finish(number, at, weight)
            self.log.prune(now)

    def most(self, seconds: float) -> int:
        """The greatest weight in any interval of this length."""
        charges = sorted(self.charges)
        most = first = held = 0
        for at, weight in charges:
            held += weight
            while at - charges[first][0] >= seconds:
                held -= charges[first][1]
                first += 1
            most = max(most, held)
        return most


@LAW
@given(windows, st.floats(0, 5), st.builds(Random, st.integers(0)))
def test_no_interval_holds_more_weight_than_the_limit(
    found: tuple[Window, ...], slowest: float, random: Random
) -> None:
    run = _Run(RateLog(found), random, slowest)
    run.until(3 * max(window.seconds for window in found))
    assert run.charges
    for window in found:
        assert run.most(window.seconds) <= window.limit


@LAW
@given(st.integers(120, 400), st.floats(0, 2), st.builds(Random, st.integers(0)))
def test_light_requests_use_all_but_a_round_trip_of_each_window(limit: int, slowest: float, random: Random) -> None:
    window = Window(limit - limit % 2, 60)
    run = _Run(RateLog((window,)), random, slowest, kinds=((2, 0),))
    run.until(10 * window.seconds)
    used = sum(weight for at, weight in run.charges if at < 10 * window.seconds)
    assert used >= window.limit * math.floor(10 * 60 / (window.span + 3 * slowest + 0.001))


@LAW
@given(windows, st.floats(0, 5), st.builds(Random, st.integers(0)))
def test_what_was_reserved_is_given_back(found: tuple[Window, ...], slowest: float, random: Random) -> None:
    run = _Run(RateLog(found), random, slowest)
    end = 2 * max(window.seconds for window in found)
    run.until(end)
    # Nothing is in flight, and when the windows are over nothing counts.
    assert run.log.in_flight == 0
    later = max(at for at, _ in run.charges) + 2 * slowest + 1 + max(window.span for window in found)
    assert [used for _, used in run.log.used(later)] == [0] * len(found)
    assert run.log.earliest(later, min(window.limit for window in found)) <= later


def _ledger(limit: int, seconds: float = 1000.0) -> RateLedger:
    return RateLedger(KEY, fixed={"info": (Window(limit, seconds),)})


def _use() -> tuple[int, int]:
    """The weight that counts, and how many requests are in flight."""
    (bucket,) = read_rates(KEY, {"info": (Window(100, 1000),)})
    assert bucket.learned and bucket.method is None
    return bucket.used[0][1], bucket.in_flight


async def test_fixed_windows_hold_for_all_methods_together_and_from_the_first_request(rates: str) -> None:
    async with _ledger(100) as ledger:
        permits = [await ledger.acquire(route="info", method=f"method {number}", weight=20) for number in range(5)]
        waiting = asyncio.ensure_future(ledger.acquire(route="info", method="another", weight=1))
        permits[0].finished(AnswerLimits(), weight=19)
        (await waiting).finished(AnswerLimits())
        for permit in permits:
            permit.finished(AnswerLimits())
    assert _use() == (100, 0)


async def test_the_weight_of_an_answer_is_what_counts_for_every_process(rates: str) -> None:
    async with _ledger(100) as ledger, _ledger(100) as other:
        permit = await ledger.acquire(route="info", method="fills", weight=90)
        waiting = asyncio.ensure_future(other.acquire(route="info", method="fills", weight=60))
        assert await ledger.snapshot() and not waiting.done()
        permit.finished(AnswerLimits(), weight=21)
        (await waiting).finished(AnswerLimits(), weight=60)
    assert _use() == (81, 0)


async def test_an_answer_heavier_than_was_reserved_counts_in_full(rates: str) -> None:
    async with _ledger(100) as ledger:
        (await ledger.acquire(route="info", method="fills", weight=20)).finished(AnswerLimits(), weight=77)
    assert _use() == (77, 0)


async def test_without_an_answer_the_most_counts_and_what_was_not_sent_counts_nothing(rates: str) -> None:
    async with _ledger(100) as ledger:
        (await ledger.acquire(route="info", method="fills", weight=30)).finished()
        (await ledger.acquire(route="info", method="fills", weight=50)).withdraw()
        abandoned = await ledger.acquire(route="info", method="fills", weight=7)
    assert _use() == (37, 0)
    abandoned.finished(AnswerLimits(), weight=1)


@pytest.mark.parametrize("weight", [0, -1, 101])
async def test_a_weight_that_is_never_within_the_windows_is_an_error_at_once(rates: str, weight: int) -> None:
    async with _ledger(100) as ledger:
        with pytest.raises(ValueError, match=r"never within the windows '100:1000'"):
            await ledger.acquire(route="info", method="fills", weight=weight)


class _Process:
    """One process as the route sees it."""

    def __init__(self, owner: Owner | None = None) -> None:
        self.me = owner or Owner.here()
        fixed = (Window(10, 1000),)
        self.state = RouteState(KEY, "info", (), self.me, OwnerWatch(self.me), itertools.count(1), fixed)
        self.held: set[int] = set()
        with engine("rates").begin() as connection:
            self.me.beat(connection, 0.0)

    def ask(self, *weights: int) -> list[int | None]:
        granted = self.state.transact([], [Wish("any", weight) for weight in weights], frozenset(self.held)).granted
        self.held |= {number for number in granted if number is not None}
        return granted

    def end(self, number: int, weight: int) -> None:
        self.held.discard(number)
        finish = Finish(number, "any", time.monotonic(), AnswerLimits(), weight)
        self.state.transact([finish], [], frozenset(self.held))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is overtaken claims at once."""
    monkeypatch.setattr(rate_precedence, "PATIENCE_SECONDS", -1.0)


def test_a_heavy_request_has_its_turn_among_light_ones_of_others(rates: str, impatient: None) -> None:
    heavy, light = _Process(), _Process()
    numbers = light.ask(2, 2, 2, 2, 2)
    assert None not in numbers
    assert heavy.ask(9) == [None]
    first, *others = [number for number in numbers if number is not None]
    light.end(first, 0)
    # There is room for a light one, but it is not its turn.
    assert light.ask(2) == [None]
    assert heavy.ask(9) == [None]
    for number in others:
        light.end(number, 0)
        assert light.ask(2) == [None]
    assert heavy.ask(9) != [None]
    # The claim went with it: whoever fits goes next.
    assert light.ask(1) != [None]


def test_a_block_holds_for_every_method_and_process(rates: str) -> None:
    told, other = _Process(), _Process()
    (number,) = told.ask(2)
    assert number is not None and other.ask(1) != [None]
    blocked = AnswerLimits(blocked_seconds=500, blocked_scope="service")
    told.state.transact([Finish(number, "any", time.monotonic(), blocked, 2)], [], frozenset())
    assert other.ask(1) == [None]
    assert told.ask(1) == [None]
    assert 490 < read_rates(KEY, {"info": (Window(10, 1000),)})[0].blocked_seconds <= 501


def test_a_lighter_request_uses_the_rest_that_is_too_small_for_the_first_in_line(rates: str) -> None:
    process = _Process()
    (number,) = process.ask(7)
    assert number is not None
    process.end(number, 7)
    # When the seven go, there is room for eight beside one, but not beside three.
    assert process.ask(8, 9, 1) == [None, None, number + 1]
    assert process.ask(8, 2) == [None, None]
    assert process.ask(8, 1) == [None, number + 2]


def test_lighter_requests_do_not_delay_the_first_in_line(rates: str) -> None:
    process = _Process()
    (number,) = process.ask(2)
    assert number is not None
    process.end(number, 2)
    # It needs all there is: whatever went before it would hold it back for a whole window.
    assert process.ask(10, 1, 5) == [None, None, None]


def test_light_requests_go_on_until_a_heavy_one_was_overtaken_for_a_while(rates: str) -> None:
    heavy, light = _Process(), _Process()
    light.ask(2, 2, 2, 2)
    assert heavy.ask(9) == [None]
    assert light.ask(2) != [None]


def test_who_is_served_holds_nobody_back_however_soon_rows_are_removed(
    rates: str, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_route, "_CLEAN_SECONDS", 0.0)
    heavy, light = _Process(), _Process()
    (number,) = light.ask(2)
    assert number is not None and heavy.ask(10) == [None] and light.ask(1) == [None]
    light.end(number, 0)
    (number,) = heavy.ask(10)
    assert number is not None
    heavy.end(number, 0)
    # The claim's end was written and removed before the other has looked.
    assert light.ask(1) != [None]


def test_who_was_idle_for_long_does_not_take_ended_requests_for_ones_in_flight(
    rates: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, idle = _Process(), _Process()
    (number,) = busy.ask(9)
    assert number is not None and idle.ask(2) == [None] and idle.ask() == []
    # As if so much time had passed that the row of the request's end is gone.
    busy.end(number, 0)
    with engine("rates").begin() as connection:
        connection.execute(text("DELETE FROM rate_request"))
    assert idle.ask(2) == [None]
    monkeypatch.setattr(rate_route, "_KEEP_SECONDS", -1.0)
    assert idle.ask(2) != [None]


def test_who_gives_up_waiting_holds_nobody_back(rates: str, impatient: None) -> None:
    heavy, light = _Process(), _Process()
    light.ask(2)
    assert heavy.ask(10) == [None]
    assert light.ask(2) == [None]
    assert heavy.ask() == []
    assert light.ask(2) != [None]


def test_the_claim_of_a_dead_process_goes_as_its_requests_do(rates: str, impatient: None) -> None:
    here = Owner.here()
    # Its process id is that of a process that began at another time: the one that claimed is dead.
    dead, light = _Process(Owner(here.id + 1, here.place, here.pid, "long ago")), _Process()
    light.ask(2)
    assert dead.ask(10) == [None]
    assert light.ask(2) != [None]


async def test_a_cancelled_request_gives_up_its_claim(rates: str, impatient: None) -> None:
    async with _ledger(100) as ledger, _ledger(100) as other:
        first = await other.acquire(route="info", method="any", weight=50)
        waiting = asyncio.ensure_future(ledger.acquire(route="info", method="any", weight=100))
        while not _claims():
            await asyncio.sleep(0.001)
        light = asyncio.ensure_future(other.acquire(route="info", method="any", weight=1))
        waiting.cancel()
        (await light).finished(AnswerLimits())
        first.finished(AnswerLimits())
    assert _use() == (51, 0)


def _claims() -> int:
    with engine("rates").connect() as connection:
        claims = text("SELECT count(*) FROM rate_request WHERE weight = 0 AND received_at IS NULL")
        return int(connection.execute(claims).scalar_one())


def test_after_a_restart_that_may_have_lost_requests_a_whole_window_is_waited_for(rates: str) -> None:
    process = _Process()
    process.ask(1, 1)
    # The database came back at an earlier version than this process has seen.
    with engine("rates").begin() as connection:
        connection.execute(text("UPDATE rate_route SET version = 0"))
    assert process.ask(1) == [None]
    (bucket,) = read_rates(KEY, {"info": (Window(10, 1000),)})
    assert 990 < bucket.blocked_seconds <= 1001
