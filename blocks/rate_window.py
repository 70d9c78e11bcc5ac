"""Rate windows: when a request may be sent so that its server never sees more than `limit` in any `seconds`. Pure.

A request reaches the server somewhere between its grant and the receipt of its answer; nobody here knows when. So one
that is in flight may count now, and one that was answered may count for as long as the window is, from its *receipt*.
A new one is granted only if all that may count leave room for it. Whatever the latencies are and however answers
overtake each other, no interval of the window's length then holds more than the limit: neither a sliding window, nor a
fixed one wherever it begins. When a full window is used up at once, all that this costs is one round trip per window.

A request may weigh more than one. What it weighs in the end may only be known with its answer: it is granted with the
most that it can be, and what was too much is given back when it ends.

Times are seconds on any one clock that never goes back; the caller gives them.
"""

import math
from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeVar

# Added to every window: what a clock's resolution and a transaction's rounding may take away...
MARGIN_SECONDS = 0.002
# ... and the drift of this machine's clock against the server's: NTP corrects by at most 500 ppm, mostly far less.
DRIFT = 0.0002
# While no window is known, answered requests are kept for as long as the longest window that Riot is known to use.
UNKNOWN_SECONDS = 600.0
# What a broken or hostile server may say costs no more than this: entries in memory, windows to look at, and a wait.
LARGEST_LIMIT = 1_000_000
_MOST_WINDOWS = 16
_LONGEST_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` requests, or the weight of so many, in `seconds`."""

    limit: int
    seconds: float

    def __str__(self) -> str:
        # Twelve digits hold every length that a header names, and 120.0 stays "120".
        return f"{self.limit}:{self.seconds:.12g}"

    @property
    def span(self) -> float:
        """How long an answered request counts, from its receipt."""
        return self.seconds * (1 + DRIFT) + MARGIN_SECONDS


Request = TypeVar("Request")
Scope = Literal["application", "method", "service"]


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """What one answer says about the limits; None for what it does not say. One that says nothing was still an answer.

    Args:
        application: the key's windows on this route.
        application_counts: window's seconds -> requests that the server has counted in it, this one included.
        method: the windows of the method.
        method_counts: same for the method.
        blocked_seconds: send nothing for so long (Retry-After of a 429, or the caller's own backoff).
        blocked_scope: what must wait: `application` the whole route, else the method.
    """

    application: tuple[Window, ...] | None = None
    application_counts: Mapping[float, int] | None = None
    method: tuple[Window, ...] | None = None
    method_counts: Mapping[float, int] | None = None
    blocked_seconds: float | None = None
    blocked_scope: Scope | None = None


def _pairs(text: str) -> list[tuple[int, float]]:
    pairs = []
    for part in text.split(","):
        number, colon, seconds = part.strip().partition(":")
        # `int` alone would take signs, underscores and spaces as well.
        if not (colon and number.isdecimal()):
            raise ValueError(f"{text!r} is no list of LIMIT:SECONDS")
        length = float(seconds)
        if not 0 < length <= _LONGEST_SECONDS:
            raise ValueError(f"{text!r} holds a window of no length, or one of more than a day")
        pairs.append((int(number), length))
    if len(pairs) > _MOST_WINDOWS:
        raise ValueError(f"a list of {len(pairs)} windows is none of a rate limit")
    return pairs


def parse_windows(text: str) -> tuple[Window, ...]:
    """Read windows such as `100:120,20:1`, any number in any order; the shortest comes first.

    Of two windows of the same length the stricter one is kept; a limit beyond `LARGEST_LIMIT` is taken for that.

    Raises:
        ValueError: it is no such list, or holds a window that lets nothing through, has no length or outlasts a day.
    """
    found: dict[float, int] = {}
    for limit, seconds in _pairs(text):
        if limit < 1:
            raise ValueError(f"{text!r} holds a window that lets nothing through")
        found[seconds] = min(limit, found.get(seconds, LARGEST_LIMIT))
    return tuple(Window(limit, seconds) for seconds, limit in sorted(found.items()))


def parse_counts(text: str) -> dict[float, int]:
    """Read counts such as `1:1,36:120` as seconds -> requests counted.

    Raises:
        ValueError: it is no such list.
    """
    return {seconds: count for count, seconds in _pairs(text)}


def format_windows(windows: Iterable[Window]) -> str:
    """The text that `parse_windows` reads."""
    return ",".join(map(str, windows))


class Phantom(NamedTuple):
    """Requests that the server counted in the window of `seconds` and that are none of ours."""

    seconds: float
    number: int
    at: float


class RateLog(Generic[Request]):
    """What is known of one bucket: its windows, and the requests that may count in them.

    While its windows are not known, one request at a time may be in flight; its answer tells them.

    Args:
        windows: the windows as the server told them; None when it has not yet.
        assumed: windows that hold until then.
    """

    def __init__(self, windows: tuple[Window, ...] | None = None, assumed: tuple[Window, ...] = ()) -> None:
        self._assumed = assumed
        self.learned: tuple[Window, ...] | None = None
        self.doubted = False
        self.blocked_until = -math.inf
        # Request -> when it was granted, and its weight.
        self._in_flight: dict[Request, tuple[float, int]] = {}
        # The weight of all in flight.
        self._load = 0
        # Receipts of our own answered requests, oldest first, one entry for each unit of weight; those before `_start`
        # count nowhere any more.
        self._receipts: list[float] = []
        self._start = 0
        # Window's seconds -> receipts that told of others' requests, one entry each, oldest first.
        self._phantoms: dict[float, list[float]] = {}
        self.learn(windows)

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows in force."""
        return self._assumed if self.learned is None else self.learned

    @property
    def in_flight(self) -> int:
        """How many requests are granted and not answered."""
        return len(self._in_flight)

    @property
    def horizon(self) -> float:
        """How long an answered request may matter."""
        if self.learned is None:
            return max([UNKNOWN_SECONDS, *(window.span for window in self._assumed)])
        return max(window.span for window in self.learned)

    def learn(self, windows: tuple[Window, ...] | None) -> None:
        """Take the server's windows; the log is kept, so that what was sent before counts in new windows too."""
        self.learned = tuple(sorted(windows, key=lambda window: window.seconds)) if windows else None
        self.doubted = False
        lengths = {window.seconds for window in self.windows}
        self._phantoms = {seconds: stamps for seconds, stamps in self._phantoms.items() if seconds in lengths}

    def doubt(self) -> None:
        """The log may lack its newest requests: until an answer has told the counts, one request at a time is sent."""
        self.doubted = True

    def grant(self, request: Request, at: float, weight: int = 1) -> None:
        """A request is about to be sent, and may weigh so much."""
        self.withdraw(request)
        self._in_flight[request] = at, weight
        self._load += weight

    def finish(self, request: Request, at: float, weight: int | None = None) -> None:
        """Its answer was received, or it is certain that it does not reach the server after `at`.

        Args:
            request: that has ended.
            at: when.
            weight: what it weighed; None: as it was granted.
        """
        _, granted = self._in_flight.get(request, (at, 1))
        self.withdraw(request)
        self._insert(self._receipts, at, self._start, granted if weight is None else weight)

    def withdraw(self, request: Request) -> None:
        """It was never sent."""
        _, weight = self._in_flight.pop(request, (0.0, 0))
        self._load -= weight

    def holds(self, request: Request) -> bool:
        """Whether it is in flight."""
        return request in self._in_flight

    def granted_at(self, request: Request) -> float | None:
        """When a request in flight was granted."""
        granted = self._in_flight.get(request)
        return None if granted is None else granted[0]

    def weight_of(self, request: Request) -> int | None:
        """What a request in flight may weigh."""
        granted = self._in_flight.get(request)
        return None if granted is None else granted[1]

    def requests(self) -> list[Request]:
        """Those in flight."""
        return list(self._in_flight)

    def block(self, until: float) -> None:
        """Grant nothing before `until`."""
        self.blocked_until = max(self.blocked_until, until)

    def earliest(self, now: float, weight: int = 1) -> float:
        """From when on a request may be granted if nothing else happens.

        Args:
            now: the present.
            weight: the most that it may weigh. More than a window's limit is never granted.

        Returns:
            `now` or before: at once. Infinity: only once a request in flight has been answered.
        """
        at = self.blocked_until
        if (self.learned is None or self.doubted) and self._in_flight:
            return math.inf
        for window in self.windows:
            at = max(at, self._earliest_in(window, now, weight))
        return at

    def admits(self, now: float, weight: int = 1) -> bool:
        """Whether a request of this weight may be granted now."""
        return self.earliest(now, weight) <= now

    def _earliest_in(self, window: Window, now: float, weight: int) -> float:
        # What may count besides it.
        room = window.limit - self._load - weight
        if room < 0:
            return math.inf
        phantoms = self._phantoms.get(window.seconds, [])
        # A request received at r counts while r + span > s.
        own, other = self._counted_from(now - window.span), bisect_right(phantoms, now - window.span)
        surplus = len(self._receipts) - own + len(phantoms) - other - room
        freed = -math.inf
        # A step for each unit of weight when the window is just full; more only after others' requests were found or a
        # limit shrank.
        for _ in range(surplus):
            if other == len(phantoms) or (own < len(self._receipts) and self._receipts[own] <= phantoms[other]):
                freed, own = self._receipts[own], own + 1
            else:
                freed, other = phantoms[other], other + 1
        return freed + window.span

    def _counted_from(self, after: float) -> int:
        return bisect_right(self._receipts, after, self._start)

    @staticmethod
    def _insert(stamps: list[float], at: float, start: int, number: int = 1) -> None:
        if number == 1:
            if not stamps or stamps[-1] <= at:
                stamps.append(at)
            else:
                insort(stamps, at, start)
        elif number > 0:
            place = bisect_right(stamps, at, start)
            stamps[place:place] = [at] * number

    def unknown_requests(self, counts: Mapping[float, int], granted: float, received: float) -> list[Phantom]:
        """What a server's counts tell beyond this log: others use the key, or the log was lost.

        Everything of ours that the server may have counted is taken off first, so that a client that is alone finds
        none, however its answers overtake each other. To be asked after `finish` of the request and after `learn`.

        Args:
            counts: window's seconds -> count, as the answer says.
            granted: when the request was granted.
            received: when its answer was received.
        """
        found = []
        for window in self.windows:
            if window.seconds not in counts:
                continue
            since = granted - window.span
            phantoms = self._phantoms.get(window.seconds, [])
            known = self._load + len(self._receipts) - self._counted_from(since)
            known += len(phantoms) - bisect_right(phantoms, since)
            # A full window is full: more than its limit would only cost memory.
            number = min(counts[window.seconds] - known, window.limit)
            if number > 0:
                found.append(Phantom(window.seconds, number, received))
        return found

    def add(self, phantom: Phantom) -> None:
        """Count requests that are none of ours."""
        if any(window.seconds == phantom.seconds for window in self.windows):
            stamps = self._phantoms.setdefault(phantom.seconds, [])
            self._insert(stamps, phantom.at, 0, phantom.number)

    def prune(self, now: float) -> None:
        """Forget what counts nowhere any more.

        What may have counted when a request in flight was granted is kept until its answer's counts are understood.
        """
        now = min(now, next(iter(self._in_flight.values()), (now, 0))[0])
        self._start = self._counted_from(now - self.horizon)
        # Moving the rest to the front each time would cost as much as there is of it.
        if self._start * 2 > len(self._receipts):
            del self._receipts[: self._start]
            self._start = 0
        for window in self.windows:
            if stamps := self._phantoms.get(window.seconds):
                del stamps[: bisect_right(stamps, now - window.span)]

    def used(self, now: float) -> list[tuple[Window, int]]:
        """For each window in force: the weight of what may count in it, those in flight included."""
        return [
            (
                window,
                self._load
                + len(self._receipts)
                - self._counted_from(now - window.span)
                + sum(at > now - window.span for at in self._phantoms.get(window.seconds, [])),
            )
            for window in self.windows
        ]

    @property
    def size(self) -> int:
        """How many entries it holds in memory."""
        return len(self._in_flight) + len(self._receipts) + sum(map(len, self._phantoms.values()))
