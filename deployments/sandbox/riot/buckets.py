"""Rate limit buckets, fixed and sliding. A request that is rejected counts like any other, as at Riot."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

#: Requests and seconds of each window.
Windows = tuple[tuple[int, float], ...]


def read_windows(text: str) -> Windows:
    """Windows from a text like `20:1,100:120`; seconds may have a fraction.

    Raises:
        ValueError: it is no such text.
    """
    try:
        pairs = [part.split(":") for part in text.split(",")]
        found = tuple((int(limit), float(seconds)) for limit, seconds in pairs)
    except ValueError:
        found = ((0, 0.0),)
    if any(limit < 1 or seconds <= 0 for limit, seconds in found):
        raise ValueError(f"{text!r} are no windows, such as 20:1,100:120")
    return found


class Window(Protocol):
    """One window of one bucket."""

    limit: int
    seconds: float

    def hit(self, now: float) -> int:
        """Count a request that arrives now; gives the count with it."""
        ...

    def wait(self, now: float) -> float:
        """Seconds until a request would be admitted, if no other comes."""
        ...


@dataclass
class FixedWindow:
    """Starts with the first request, ends `seconds` later; the next request then starts another."""

    limit: int
    seconds: float
    started: float | None = None
    count: int = 0

    def hit(self, now: float) -> int:
        """Count a request that arrives now; gives the count with it."""
        if self.started is None or now - self.started >= self.seconds:
            self.started, self.count = now, 0
        self.count += 1
        return self.count

    def wait(self, now: float) -> float:
        """Seconds until a request would be admitted, if no other comes."""
        if self.started is None or self.count < self.limit:
            return 0.0
        return max(0.0, self.started + self.seconds - now)


@dataclass
class SlidingWindow:
    """Counts the requests of the last `seconds`, whenever one arrives."""

    limit: int
    seconds: float
    arrivals: deque[float] = field(default_factory=deque)

    def hit(self, now: float) -> int:
        """Count a request that arrives now; gives the count with it."""
        while self.arrivals and now - self.arrivals[0] >= self.seconds:
            self.arrivals.popleft()
        self.arrivals.append(now)
        return len(self.arrivals)

    def wait(self, now: float) -> float:
        """Seconds until a request would be admitted, if no other comes."""
        surplus = len(self.arrivals) - self.limit
        return max(0.0, self.arrivals[surplus] + self.seconds - now) if surplus >= 0 else 0.0


@dataclass(frozen=True)
class Reading:
    """What a bucket's headers say after a request, and whether that was one too many."""

    limits: tuple[str, ...]
    counts: tuple[str, ...]
    admitted: bool
    wait: float


class Bucket:
    """The windows that one application, or one method, has on one route."""

    def __init__(self) -> None:
        self._windows: list[Window] = []
        self._told: tuple[Windows, str] = ((), "")

    def hit(self, now: float, windows: Windows, mode: Literal["fixed", "sliding"]) -> Reading:
        """Count a request; the windows may have changed since the last one."""
        if (windows, mode) != self._told:
            self._change(windows, mode)
        counts = [window.hit(now) for window in self._windows]
        over = [window.wait(now) for count, window in zip(counts, self._windows, strict=True) if count > window.limit]
        return Reading(
            limits=tuple(f"{window.limit}:{window.seconds:g}" for window in self._windows),
            counts=tuple(f"{count}:{window.seconds:g}" for count, window in zip(counts, self._windows, strict=True)),
            admitted=not over,
            wait=max(over, default=0.0),
        )

    def _change(self, windows: Windows, mode: str) -> None:
        """Windows that keep their length keep their count, so that a new limit is no fresh start."""
        kept = {window.seconds: window for window in self._windows} if mode == self._told[1] else {}
        self._windows = []
        for limit, seconds in windows:
            window = kept.get(seconds)
            if window is None:
                window = FixedWindow(limit, seconds) if mode == "fixed" else SlidingWindow(limit, seconds)
            window.limit = limit
            self._windows.append(window)
        self._told = (windows, mode)


@dataclass(frozen=True)
class Verdict:
    """Whether a request is admitted; if not, who says so, and for how many whole seconds."""

    application: Reading
    method: Reading

    @property
    def rejected_by(self) -> Literal["application", "method"] | None:
        """The bucket that is over its limit; the application's where both are."""
        if not self.application.admitted:
            return "application"
        return None if self.method.admitted else "method"

    @property
    def retry_after(self) -> int:
        """Whole seconds, at least one."""
        return max(1, math.ceil(max(self.application.wait, self.method.wait)))


class Buckets:
    """All buckets: application by key and route, method by key, route and method."""

    def __init__(self) -> None:
        self._buckets: dict[Sequence[str], Bucket] = {}

    def hit(
        self,
        now: float,
        *,
        key: str,
        route: str,
        method: str,
        app: Windows,
        per_method: Windows,
        mode: Literal["fixed", "sliding"],
    ) -> Verdict:
        """Count one request in its two buckets."""
        application = self._buckets.setdefault((key, route), Bucket())
        of_method = self._buckets.setdefault((key, route, method), Bucket())
        return Verdict(application.hit(now, app, mode), of_method.hit(now, per_method, mode))

    def clear(self) -> None:
        """Forget all requests."""
        self._buckets.clear()
