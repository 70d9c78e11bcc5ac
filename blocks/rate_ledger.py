"""One limiter for all processes that use a key, kept in the database `rates`.

    async with RateLedger(fingerprint, assumed=parse_windows("20:1,100:120")) as ledger:
        permit = await ledger.acquire(route="americas", method="match-v5.getMatch")
        try:
            answer = await send()
        finally:
            permit.finished(limits)

Every request is a row from its grant until it counts in no window any more, so a restart costs nothing and any number
of processes share the windows. The rule itself is in `rate_window`, what a transaction does in `rate_route`. Each
process and route has one transaction at a time, in a thread of the ledger's own, and it takes along all that waits.

Windows are learned from the answers (`AnswerLimits`) and kept. Until then one request at a time is in flight, within
the windows assumed. Where no answer tells any they are `fixed`: all methods of a route share them, each request by its
weight (`acquire(..., weight=120)`), of which `finished(..., weight=21)` gives back what was not used. The key itself
comes nowhere near: `key_name` is a fingerprint.
"""

import asyncio
import itertools
import logging
import math
import os
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from sqlalchemy.exc import OperationalError, SQLAlchemyError

from blocks.engine import LedgerError, LedgerUnreadableError, engine, ledger_errors
from blocks.rate_mirror import DOMAIN, BucketUse, database_clock, read_rates
from blocks.rate_owners import BEAT_SECONDS, LEASE_SECONDS, Owner, OwnerWatch
from blocks.rate_route import RouteState
from blocks.rate_window import AnswerLimits, Window, format_windows
from blocks.rate_wish import Finish, Wish

__all__ = ["BucketUse", "RateLedger", "RatePermit", "read_rates"]

# One for each route that is busy at once; a transaction is mostly waiting for the database.
_THREADS = 4
# Between two looks at requests of other processes, when only their end makes room: at first, and at most.
_POLL_SECONDS = 0.01
_POLL_CAP_SECONDS = 0.05
# Longest sleep of a waiter: limits that another process learned may have made room.
_LOOK_SECONDS = 1.0
# A database server that is restarted is back within this; the requests wait meanwhile.
_PATIENCE_SECONDS = 60.0
_RETRY_SECONDS = 0.5

_log = logging.getLogger(__name__)


class RatePermit:
    """Leave to send one request. `finished` must be called once it was answered or has failed."""

    def __init__(self, pump: "_Pump", number: int, wish: Wish) -> None:
        self._pump = pump
        self._number = number
        self._method, self._weight = wish
        self._done = False

    def finished(self, limits: AnswerLimits | None = None, weight: int | None = None) -> None:
        """The answer was received just now, or none will be. A second call does nothing.

        Args:
            limits: what the answer says. None where there was no answer: the request may be on its way still, and
                counts for a little longer.
            weight: what it weighed; None: as much as was acquired.
        """
        weight = self._weight if weight is None else weight
        self._end(Finish(self._number, self._method, time.monotonic(), limits, weight))

    def withdraw(self) -> None:
        """The request was never sent and never will be."""
        self._end(Finish(self._number, self._method, time.monotonic(), None, self._weight, sent=False))

    def _end(self, finish: Finish) -> None:
        if not self._done:
            self._done = True
            self._pump.finish(finish)


class _Waiter:
    def __init__(self, wish: Wish, future: "asyncio.Future[RatePermit]") -> None:
        self.wish = wish
        self.future = future


class _Pump:
    """Serves those who wait on one route, first come, first served; a method that must wait lets others pass."""

    def __init__(self, state: RouteState, threads: ThreadPoolExecutor) -> None:
        self._state = state
        self._threads = threads
        self._waiters: deque[_Waiter] = deque()
        self._finishes: list[Finish] = []
        self._held: set[int] = set()
        self._wake = asyncio.Event()
        self._closing = False
        self._failing_since: float | None = None
        self._poll = _POLL_SECONDS
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def acquire(self, wish: Wish) -> RatePermit:
        if self._task.done():
            raise RuntimeError("the rate ledger is closed")
        waiter = _Waiter(wish, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self._wake.set()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            # Granted in the moment in which the caller was cancelled.
            if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
                waiter.future.result().withdraw()
            # It may have been for this one that the others were held back.
            self._wake.set()
            raise

    def finish(self, finish: Finish) -> None:
        self._held.discard(finish.number)
        self._finishes.append(finish)
        self._wake.set()

    async def close(self) -> None:
        self._closing = True
        self._wake.set()
        try:
            await self._task
        finally:
            finishes, self._finishes = self._finishes, []
            self._held.clear()
            await asyncio.get_running_loop().run_in_executor(self._threads, self._state.close, finishes)

    async def _run(self) -> None:
        sleep: float | None = None
        error: BaseException = RuntimeError("the rate ledger was closed while a request waited")
        try:
            while not self._closing:
                try:
                    async with asyncio.timeout(sleep):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._wake.clear()
                if not self._closing:
                    sleep = await self._turn()
        except BaseException as caught:
            error = caught
            raise
        finally:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        waiters, self._waiters = self._waiters, deque()
        for waiter in waiters:
            if not waiter.future.done():
                waiter.future.set_exception(error if isinstance(error, Exception) else RuntimeError(str(error)))

    async def _turn(self) -> float | None:
        """One transaction; gives how long to sleep after it, None where nothing is left to do."""
        waiters = [waiter for waiter in self._waiters if not waiter.future.done()]
        finishes, self._finishes = self._finishes, []
        wishes = [waiter.wish for waiter in waiters]
        loop = asyncio.get_running_loop()
        try:
            outcome = await loop.run_in_executor(
                self._threads, self._state.transact, finishes, wishes, frozenset(self._held)
            )
        except (LedgerError, SQLAlchemyError) as error:
            self._finishes = finishes + self._finishes
            return self._failed(error)
        self._failing_since = None
        for waiter, number in zip(waiters, outcome.granted, strict=True):
            if number is None:
                continue
            self._held.add(number)
            permit = RatePermit(self, number, waiter.wish)
            if waiter.future.done():
                permit.withdraw()
            else:
                waiter.future.set_result(permit)
        self._waiters = deque(waiter for waiter in self._waiters if not waiter.future.done())
        if not self._waiters:
            return BEAT_SECONDS if self._held else None
        if outcome.wait < math.inf:
            self._poll = _POLL_SECONDS
            return min(outcome.wait, _LOOK_SECONDS)
        if not outcome.others:
            return _LOOK_SECONDS
        poll, self._poll = self._poll, min(self._poll * 1.5, _POLL_CAP_SECONDS)
        return poll

    def _failed(self, error: Exception) -> float:
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
            _log.warning("The rates database cannot be used, requests wait: %s", type(error).__name__)
        # Operational: also a transaction that PostgreSQL gave up for another's sake.
        transient = isinstance(error, LedgerUnreadableError | OperationalError)
        if not transient or now - self._failing_since > _PATIENCE_SECONDS:
            self._fail(error)
        return _RETRY_SECONDS


class RateLedger:
    """The limiter of one key, for the process and event loop that enter it.

    Args:
        key_name: a fingerprint of the key, the same in all processes that share it.
        assumed: windows of the application that hold until an answer tells the key's own.
        fixed: route -> windows that hold for ever, where no answer tells any.
        lease_seconds: a process of another machine is taken for dead when it has not been heard of for so long.
    """

    def __init__(
        self,
        key_name: str,
        assumed: tuple[Window, ...] = (),
        *,
        fixed: Mapping[str, tuple[Window, ...]] | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._key_name = key_name
        self._assumed = assumed
        self._fixed = dict(fixed or {})
        self._lease = lease_seconds
        self._pumps: dict[str, _Pump] = {}
        self._owner: Owner | None = None
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> "RateLedger":
        """Register this process.

        Raises:
            LedgerOutdatedError: the database has no tables yet; the text says what to run.
            LedgerUnreadableError: it cannot be reached.
        """
        if self._owner is not None:
            raise RuntimeError("the rate ledger is open already")
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="rates")
        owner = Owner.here()
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, _register, owner)
        except BaseException:
            self._threads.shutdown(wait=False)
            raise
        self._owner = owner
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is finished, let go of what is held, and leave."""
        owner, self._owner = self._owner, None
        pumps, self._pumps = self._pumps, {}
        if owner is None:
            return
        try:
            closed = await asyncio.gather(*(pump.close() for pump in pumps.values()), return_exceptions=True)
            await asyncio.get_running_loop().run_in_executor(self._threads, _unregister, owner)
        finally:
            self._threads.shutdown(wait=False)
        for outcome in closed:
            if isinstance(outcome, BaseException):
                raise outcome

    async def acquire(self, *, route: str, method: str, weight: int = 1) -> RatePermit:
        """Wait until a request may be sent.

        Args:
            route: `americas`, `na1`...: application limits hold per route.
            method: the method's name; method limits hold per route and method.
            weight: the most that the request may weigh.

        Returns:
            The permit; call its `finished` whatever becomes of the request.

        Raises:
            LedgerError: the database cannot be used, or not for longer than a minute.
            RuntimeError: the ledger is not open, or was opened before this process was forked.
            ValueError: a weight that no window ever has room for.
        """
        fixed = self._fixed.get(route, ())
        if not 1 <= weight <= min((window.limit for window in fixed), default=weight):
            raise ValueError(f"a request of weight {weight} is never within the windows {format_windows(fixed)!r}")
        owner = self._owner
        if owner is None:
            raise RuntimeError("the rate ledger is not open")
        if owner.pid != os.getpid():
            raise RuntimeError("the rate ledger was opened before a fork: each process opens its own")
        if route not in self._pumps:
            watch = OwnerWatch(owner, self._lease)
            state = RouteState(self._key_name, route, self._assumed, owner, watch, self._numbers, fixed)
            self._pumps[route] = _Pump(state, self._threads)
        return await self._pumps[route].acquire(Wish(method, weight))

    async def snapshot(self) -> list[BucketUse]:
        """What each bucket of the key is at, as `read_rates` tells."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, read_rates, self._key_name, self._fixed)


def _register(owner: Owner) -> None:
    with ledger_errors(DOMAIN), engine(DOMAIN).begin() as connection:
        clock = database_clock(connection)
        OwnerWatch(owner).remove_strays(connection, clock)
        owner.beat(connection, clock)


def _unregister(owner: Owner) -> None:
    with ledger_errors(DOMAIN), engine(DOMAIN).begin() as connection:
        owner.remove(connection)
