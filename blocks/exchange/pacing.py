"""How fast the stream may knock: waits between attempts, and the exchange's limits on connections and messages."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

#: By route, how many in how many seconds.
Limits: TypeAlias = Mapping[str, tuple[int, float]]


class StreamPermit(Protocol):
    """Leave to do one thing now."""

    def finished(self) -> None:
        """It was done, or has failed."""


class StreamLimiter(Protocol):
    """Gives leave: `blocks.rate_ledger.RateLedger` among all processes of an address, `LocalLimiter` in this one."""

    async def acquire(self, *, route: str, method: str) -> StreamPermit:
        """Wait until one connection (`ws-connections`) may be made or one message (`ws-messages`) sent."""
        ...


class _Finished:
    """The limiter of one process counts from the beginning."""

    def finished(self) -> None:
        """Nothing is left to do."""


class LocalLimiter:
    """At most so many in any such time, for one process that has the address for itself.

    Args:
        limits: of the routes; another is free.
        clock: monotonic seconds.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._given: dict[str, deque[float]] = {route: deque(maxlen=limit) for route, (limit, _) in limits.items()}
        self._turns = {route: asyncio.Lock() for route in limits}

    async def acquire(self, *, route: str, method: str) -> StreamPermit:
        """Wait for one's turn, first come, first served.

        Args:
            route: what is limited.
            method: for the protocol's sake; limits are per route.
        """
        if route in self._limits:
            limit, seconds = self._limits[route]
            given = self._given[route]
            async with self._turns[route]:
                if len(given) == limit:
                    # One that left a full window's length ago counts no more; those behind it are younger.
                    await asyncio.sleep(max(0.0, given[0] + seconds - self._clock()))
                given.append(self._clock())
        return _Finished()


class Backoff:
    """Full jitter: each wait is anywhere between none and a bound that doubles up to the cap.

    Clients that lost the exchange in the same moment so come back spread out.

    Args:
        base: the first bound, seconds.
        cap: the greatest bound.
        share: gives numbers from 0 to 1.
    """

    def __init__(self, base: float, cap: float, share: Callable[[], float] = random.random) -> None:
        self._base = base
        self._cap = cap
        self._share = share
        self.attempts = 0

    def next(self) -> float:
        """How long to wait after one more failure, seconds."""
        # After 60 doublings it is the cap in any case; a float ends at 1,024.
        bound = min(self._cap, self._base * 2.0 ** min(self.attempts, 60))
        self.attempts += 1
        return float(bound * self._share())

    def reset(self) -> None:
        """It went well for long enough."""
        self.attempts = 0
