"""Laws of the rate windows, in simulated time: no server ever counts a request too many, and none is held back long."""

import heapq
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.rate_window import (
    LARGEST_LIMIT,
    Phantom,
    RateLog,
    Window,
    format_windows,
    parse_counts,
    parse_windows,
)

LAW = settings(max_examples=60, deadline=None)

windows = st.lists(
    st.builds(Window, st.integers(1, 30), st.floats(0.5, 60)), min_size=1, max_size=3, unique_by=lambda w: w.seconds
).map(tuple)
latencies = st.tuples(st.floats(0, 5), st.floats(0.001, 5))


class _Bucket:
    """One window as a server may count it: fixed ones begin with a request, or at any moment, or slide."""

    def __init__(self, window: Window, kind: str, phase: float) -> None:
        self.window = window
        self.kind = kind
        self._start = -math.inf if kind == "first" else phase % window.seconds - window.seconds
        self._count = 0
        self._sliding: deque[float] = deque()

    def hit(self, now: float) -> int:
        if self.kind == "sliding":
            while self._sliding and now - self._sliding[0] >= self.window.seconds:
                self._sliding.popleft()
            self._sliding.append(now)
            return len(self._sliding)
        if now - self._start >= self.window.seconds:
            if self.kind == "first":
                self._start = now
            else:
                self._start += (now - self._start) // self.window.seconds * self.window.seconds
            self._count = 0
        self._count += 1
        return self._count


class _Server:
    def __init__(self, windows: tuple[Window, ...], kind: str, phase: float = 0.0) -> None:
        self.buckets = [_Bucket(window, kind, phase) for window in windows]
        self.rejected = 0
        self.arrivals: list[float] = []

    def hit(self, now: float) -> dict[float, int]:
        counts = {bucket.window.seconds: bucket.hit(now) for bucket in self.buckets}
        self.rejected += any(counts[bucket.window.seconds] > bucket.window.limit for bucket in self.buckets)
        self.arrivals.append(now)
        return counts


servers = st.builds(_Server, windows, st.sampled_from(["first", "phase", "sliding"]), st.floats(0, 60))


class _Event(NamedTuple):
    at: float
    number: int
    name: str


@dataclass
class _Run:
    """A client without end of wishes in front of a server."""

    log: RateLog[int]
    server: _Server
    delays: Iterator[tuple[float, float]]
    now: float = 0.0
    phantoms: list[Phantom] = field(default_factory=list)
    answered: list[tuple[float, float]] = field(default_factory=list)
    _events: list[_Event] = field(default_factory=list)
    _counts: dict[int, dict[float, int]] = field(default_factory=dict)
    _back: dict[int, float] = field(default_factory=dict)
    _granted: int = 0

    def until(self, end: float, requests: float = math.inf) -> None:
        """Send up to `requests`; everything in flight is answered at the end."""
        last = self._granted + requests
        while True:
            wants = self.now < end and self._granted < last
            earliest = self.log.earliest(self.now)
            if wants and earliest <= self.now:
                self._send()
                continue
            times = [self._events[0].at] if self._events else []
            # The event comes first: what it changes may matter to the grant at the same moment.
            times += [max(earliest, math.nextafter(self.now, math.inf))] if wants and earliest < math.inf else []
            if not times:
                return
            self.now = max(self.now, min(times))
            while self._events and self._events[0].at <= self.now:
                self._step(heapq.heappop(self._events))
            self.log.prune(self.now)

    def _send(self) -> None:
        self._granted += 1
        there, back = next(self.delays)
        self._back[self._granted] = back
        self.log.grant(self._granted, self.now)
        heapq.heappush(self._events, _Event(self.now + there, self._granted, "arrives"))

    def _step(self, event: _Event) -> None:
        if event.name == "arrives":
            self._counts[event.number] = self.server.hit(event.at)
            received = event.at + self._back.pop(event.number)
            heapq.heappush(self._events, _Event(received, event.number, "received"))
            return
        granted = self.log.granted_at(event.number)
        assert granted is not None
        self.answered.append((granted, event.at))
        self.log.finish(event.number, event.at)
        self.log.learn(tuple(bucket.window for bucket in self.server.buckets))
        for phantom in self.log.unknown_requests(self._counts.pop(event.number), granted, event.at):
            self.phantoms.append(phantom)
            self.log.add(phantom)


def _delays(seed: int, bounds: tuple[float, float]) -> Iterator[tuple[float, float]]:
    random = Random(seed)
    while True:
        yield random.uniform(0, bounds[0]), random.uniform(0, bounds[1])


def _horizon(server: _Server) -> float:
    return 3 * max(bucket.window.seconds for bucket in server.buckets)


@LAW
@given(servers, latencies, st.integers())
def test_no_server_counts_one_too_many(server: _Server, bounds: tuple[float, float], seed: int) -> None:
    run = _Run(RateLog(), server, _delays(seed, bounds))
    run.until(_horizon(server), 500)
    assert server.rejected == 0
    assert run.answered


@LAW
@given(servers, latencies, st.integers())
def test_a_client_that_is_alone_finds_no_other(server: _Server, bounds: tuple[float, float], seed: int) -> None:
    run = _Run(RateLog(), server, _delays(seed, bounds))
    run.until(_horizon(server), 500)
    assert run.phantoms == []


@LAW
@given(servers, latencies, st.integers(), st.integers(1, 200))
def test_a_log_that_was_kept_makes_a_restart_safe(
    server: _Server, bounds: tuple[float, float], seed: int, before: int
) -> None:
    first = _Run(RateLog(), server, _delays(seed, bounds))
    first.until(_horizon(server), before)
    windows = first.log.learned
    kept: RateLog[int] = RateLog(windows)
    for number, (granted, received) in enumerate(first.answered):
        kept.grant(-number, granted)
        kept.finish(-number, received)
    second = _Run(kept, server, _delays(seed + 1, bounds), now=first.now)
    second.until(first.now + _horizon(server), 300)
    assert server.rejected == 0
    assert second.phantoms == []


@LAW
@given(servers, latencies, st.integers(), st.integers(1, 200))
def test_counts_make_up_for_a_log_that_was_lost(
    server: _Server, bounds: tuple[float, float], seed: int, before: int
) -> None:
    first = _Run(RateLog(), server, _delays(seed, bounds))
    first.until(_horizon(server), before)
    second = _Run(RateLog(), server, _delays(seed + 1, bounds), now=first.now)
    second.until(first.now + _horizon(server), 300)
    # Only the first request can be one too many: nothing tells before its answer.
    assert server.rejected <= 1


@LAW
@given(servers, latencies, st.integers(), st.integers(2, 4))
def test_clients_that_share_a_log_share_the_windows(
    server: _Server, bounds: tuple[float, float], seed: int, clients: int
) -> None:
    """Each has latencies of its own; answers of all come in any order."""
    own = [_delays(seed + each, (bounds[0] * each, bounds[1])) for each in range(clients)]
    random = Random(seed)
    run = _Run(RateLog(), server, (next(own[random.randrange(clients)]) for _ in iter(int, 1)))
    run.until(_horizon(server), 500)
    assert server.rejected == 0


@LAW
@given(servers, windows, latencies, st.integers())
def test_windows_that_change_hold_from_their_first_answer(
    server: _Server, changed: tuple[Window, ...], bounds: tuple[float, float], seed: int
) -> None:
    run = _Run(RateLog(), server, _delays(seed, bounds))
    run.until(_horizon(server), 100)
    assert server.rejected == 0
    # The server's new windows have counted everything before, too.
    kinds = server.buckets[0].kind
    newer = _Server(changed, kinds)
    for at in server.arrivals:
        newer.hit(at)
    newer.rejected = 0
    run.server = newer
    # One request alone tells the new windows.
    run.until(run.now + 1000, 1)
    told = newer.rejected
    run.until(run.now + _horizon(newer), 300)
    assert newer.rejected == told <= 1


@LAW
@given(st.builds(Window, st.integers(1, 40), st.floats(0.5, 60)), latencies, st.integers(), st.integers(1, 5))
def test_a_full_window_costs_one_round_trip(
    window: Window, bounds: tuple[float, float], seed: int, periods: int
) -> None:
    server = _Server((window,), "sliding")
    log: RateLog[int] = RateLog((window,))
    run = _Run(log, server, _delays(seed, bounds))
    run.until(periods * (window.span + sum(bounds)) + 1e-6)
    assert len(server.arrivals) >= window.limit * (periods + 1)


@pytest.mark.parametrize("kind", ["first", "sliding"])
@pytest.mark.parametrize(("text", "horizon", "possible"), [("20:1,100:12", 36, 300), ("500:10", 30, 1500)])
def test_all_that_a_key_permits_is_used(kind: str, text: str, horizon: float, possible: int) -> None:
    random = Random(7)
    delays = ((random.uniform(0.005, 0.06), random.uniform(0.005, 0.06)) for _ in iter(int, 1))
    server = _Server(parse_windows(text), kind)
    _Run(RateLog(None, parse_windows("20:1,100:120")), server, delays).until(horizon)
    assert server.rejected == 0
    assert sum(at < horizon for at in server.arrivals) == possible


@LAW
@given(st.lists(st.floats(0, 100), min_size=1, max_size=40), windows, st.integers(), st.floats(0, 200))
def test_the_order_in_which_ends_are_heard_of_does_not_matter(
    ends: list[float], found: tuple[Window, ...], seed: int, now: float
) -> None:
    """As when other processes wrote theirs, or one is taken for dead."""
    sorted_log: RateLog[int] = RateLog(found)
    shuffled_log: RateLog[int] = RateLog(found)
    for log, order in ((sorted_log, sorted(ends)), (shuffled_log, Random(seed).sample(ends, len(ends)))):
        for number, end in enumerate(order):
            log.grant(number, 0)
            log.finish(number, end)
    assert shuffled_log.earliest(now) == sorted_log.earliest(now)
    assert shuffled_log.used(now) == sorted_log.used(now)


def test_while_nothing_is_known_one_request_goes_alone() -> None:
    log: RateLog[str] = RateLog()
    assert log.admits(0)
    log.grant("a", 0)
    assert log.earliest(5) == math.inf
    log.finish("a", 5)
    assert log.admits(5)
    log.grant("b", 5)
    log.learn(parse_windows("3:10"))
    assert log.admits(5)
    log.grant("c", 5)
    assert not log.admits(14.9)
    log.grant("d", 15.1)
    assert log.earliest(15.1) == math.inf


def test_assumed_windows_hold_until_others_are_told() -> None:
    log: RateLog[int] = RateLog(None, parse_windows("2:10"))
    for number in range(2):
        log.grant(number, number)
        log.finish(number, number)
    assert log.earliest(2) == pytest.approx(10, abs=0.1)
    log.learn(parse_windows("3:10"))
    assert log.admits(2)


def test_a_request_that_was_never_sent_counts_nowhere() -> None:
    log: RateLog[str] = RateLog(parse_windows("1:10"))
    log.grant("a", 0)
    assert not log.admits(0)
    log.withdraw("a")
    assert log.admits(0)


def test_a_block_holds_whatever_the_windows_say() -> None:
    log: RateLog[str] = RateLog(parse_windows("5:10"))
    log.block(7)
    log.block(3)
    assert log.earliest(1) == 7
    assert log.admits(7)


def test_requests_of_others_count_in_the_window_that_told_of_them() -> None:
    log: RateLog[str] = RateLog(parse_windows("2:1,10:100"))
    log.grant("a", 0)
    log.finish("a", 0.1)
    found = log.unknown_requests({1: 1, 100: 10}, 0, 0.1)
    assert found == [Phantom(100, 9, 0.1)]
    log.add(found[0])
    assert log.unknown_requests({1: 1, 100: 10}, 0, 0.1) == []
    assert log.earliest(2) == pytest.approx(100.1, abs=0.1)
    assert log.used(2) == [(Window(2, 1), 0), (Window(10, 100), 10)]


def test_memory_is_bounded_by_the_windows() -> None:
    log: RateLog[int] = RateLog(parse_windows("10:1,50:10"))
    now, largest = 0.0, 0
    for number in range(5000):
        now = max(now, log.earliest(now))
        log.grant(number, now)
        log.finish(number, now)
        log.prune(now)
        largest = max(largest, log.size)
    assert largest <= 2 * 50 + 1


@pytest.mark.parametrize("text", ["100:120,20:1", " 20:1 , 100:120 ", "20:1,100:120,500:120"])
def test_windows_in_any_order(text: str) -> None:
    assert parse_windows(text) == (Window(20, 1), Window(100, 120))


@pytest.mark.parametrize("text", ["", "20", "20:", ":1", "20:1,", "-1:1", "0:1", "20:0", "20:nan", "20:inf", "a:1"])
def test_what_is_no_list_of_windows(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_windows(text)


def test_what_a_hostile_server_says_is_bounded() -> None:
    assert parse_windows(f"{10**40}:1") == (Window(LARGEST_LIMIT, 1),)
    for text in ("1:1e9", ",".join(f"1:{seconds}" for seconds in range(1, 500))):
        with pytest.raises(ValueError, match=r"day|windows"):
            parse_windows(text)
        with pytest.raises(ValueError, match=r"day|windows"):
            parse_counts(text)


@LAW
@given(windows)
def test_windows_are_read_as_they_are_written(found: tuple[Window, ...]) -> None:
    rounded = tuple(Window(window.limit, round(window.seconds, 6)) for window in found)
    assert set(parse_windows(format_windows(rounded))) == set(parse_windows(format_windows(rounded[::-1])))
    assert {window.limit for window in parse_windows(format_windows(rounded))} <= {window.limit for window in found}
    assert parse_counts("1:1,36:120") == {1: 1, 120: 36}
