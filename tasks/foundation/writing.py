"""Writes of many concurrent fetches, done in threads so that the event loop, and with it the rate, waits for none."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from blocks.engine import engine, session

R = TypeVar("R")
Write = Callable[[Session], R]

#: SQLite has one writer at a time. Those of one process wait for their turn here: its own waiting is by polling.
_sqlite_turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
#: Writes that share a transaction on SQLite, where each commit waits for the disk: as many as came in meanwhile, but
#: not so many that others wait long for the lock.
SHARED = 16
#: PostgreSQL commits for several at once by itself; there each write is a transaction of its own, whose rows are
#: locked in one order, so that none ends in a deadlock.
POSTGRES_WRITERS = 4
#: Another program may lock rows in any order: PostgreSQL then ends one of the two, which has only to be repeated.
_REPEATABLE = {"40P01", "40001"}
_TRIES = 4


@dataclass(frozen=True)
class _Job:
    write: Write[Any]
    done: asyncio.Future[Any]


class Writer:
    """Takes writes one by one and does each in a transaction, or in one with those that wait beside it.

    A write that fails undoes nothing but itself, and the error goes to who asked for it. Leaving the context waits for
    the transaction under way; writes that had not begun are given up.

    Args:
        domain: whose database.
    """

    def __init__(self, domain: str) -> None:
        self._domain = domain
        self._sqlite = engine(domain).dialect.name == "sqlite"
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._writers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._writers = [asyncio.create_task(self._work()) for _ in range(1 if self._sqlite else POSTGRES_WRITERS)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        while not self._jobs.empty():
            self._jobs.get_nowait().done.cancel()
        for writer in self._writers:
            writer.cancel()
        await asyncio.gather(*self._writers, return_exceptions=True)

    async def do(self, write: Write[R]) -> R:
        """Do a write; it is committed when this returns.

        Args:
            write: is given the session; it may be called again where a transaction has to be repeated.
        """
        job = _Job(write, asyncio.get_running_loop().create_future())
        self._jobs.put_nowait(job)
        return cast(R, await job.done)

    async def _work(self) -> None:
        while True:
            jobs = [await self._jobs.get()]
            while self._sqlite and len(jobs) < SHARED and not self._jobs.empty():
                jobs.append(self._jobs.get_nowait())
            # Who asked may have been cancelled meanwhile.
            jobs = [job for job in jobs if not job.done.done()]
            thread = asyncio.ensure_future(asyncio.to_thread(self._transactions, [job.write for job in jobs]))
            try:
                outcomes = await asyncio.shield(thread)
            except asyncio.CancelledError:
                # A thread cannot be stopped, and must not outlive us.
                await asyncio.wait([thread])
                raise
            for job, outcome in zip(jobs, outcomes, strict=True):
                _settle(job.done, outcome)

    def _turn(self) -> AbstractContextManager[Any]:
        return _sqlite_turns[self._domain] if self._sqlite else nullcontext()

    def _transactions(self, writes: Sequence[Write[Any]]) -> list[Any]:
        with self._turn():
            if len(writes) > 1:
                # Whose fault it was shows when each is done alone.
                with suppress(Exception), session(self._domain) as opened:
                    return [write(opened) for write in writes]
            return [self._alone(write) for write in writes]

    def _alone(self, write: Write[Any]) -> Any:
        """What a write gives, or its exception."""
        for left in reversed(range(_TRIES)):
            try:
                with session(self._domain) as opened:
                    return write(opened)
            except OperationalError as error:
                if not left or getattr(error.orig, "sqlstate", None) not in _REPEATABLE:
                    return error
            except Exception as error:  # noqa: BLE001 - raised again where it was asked for
                return error
        raise AssertionError("unreachable")


def _settle(done: asyncio.Future[Any], outcome: Any) -> None:
    if done.done():
        return
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)
