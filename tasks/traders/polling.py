"""One run's polls and histories: side by side, each its share of the weight, every answer stored as it comes.

A trader that cannot be polled is noted with the reason and asked for again after a growing wait; the rest goes on. Only
an exchange that gives no answer at all, or a database that cannot be used, ends the run.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from blocks.engine import session
from blocks.exchange.errors import ExchangeAnswerError, ExchangeRequestError, ExchangeUnavailableError
from blocks.exchange.limits import CLEARINGHOUSE_STATE
from blocks.settings import TradersSettings
from tasks.foundation.core.columns import utc_now
from tasks.foundation.lifecycle import logger
from tasks.foundation.writing import Writer
from tasks.traders.asking import Asker, TimeIsUpError, TrackedExchange
from tasks.traders.core.addresses import short
from tasks.traders.core.budget import Shares
from tasks.traders.core.due import DuePoll, due_polls, poll_failed
from tasks.traders.core.due_histories import DueHistory, due_histories
from tasks.traders.core.snapshots import UnreadablePositionError, positions_of
from tasks.traders.core.tables import DOMAIN
from tasks.traders.core.tracking_runs import store_answer
from tasks.traders.histories import refresh_history

T = TypeVar("T", bound=Hashable)

#: Read from the ledger at once.
POLLS, HISTORIES = 500, 50
#: Seconds after which an empty queue is looked at again while other work goes on.
_LOOK_SECONDS = 2.0
#: Time that requests in flight get when the run's is up.
_GRACE_SECONDS = 2.0
#: What a history is expected to weigh until some have been fetched: four requests of 20, and a page of fills.
_HISTORY_WEIGHT = 100
#: Of those who work at once, one in so many fetches histories while positions wait.
_HISTORY_WORKERS = 4


@dataclass
class Done:
    """What one run has done so far."""

    polled: int = 0
    failed: int = 0
    histories: int = 0
    failed_histories: int = 0
    #: The last one that was asked for, shortened.
    current: str | None = None


class Polling:
    """Polls and fetches until nothing is due, or the time is up.

    Args:
        client: an open client.
        writer: of the traders ledger.
        traders: the settings.
        seconds: after which nothing new is begun.
        batch_size: polls at most, and histories at most; None: no bound.
        full: poll also who was not seen trading.
        goes_on: whether the run may still do anything.
    """

    def __init__(
        self,
        client: TrackedExchange,
        writer: Writer,
        traders: TradersSettings,
        *,
        seconds: float,
        batch_size: int | None = None,
        full: bool = False,
        goes_on: Callable[[], bool] = lambda: True,
    ) -> None:
        self.done = Done()
        self._client = client
        self._writer = writer
        self._traders = traders
        self._full = full
        self._goes_on = goes_on
        self._ends = asyncio.get_running_loop().time() + seconds
        self._shares = Shares(traders.history_share)
        self._polls: _Queue[DuePoll] = _Queue(self._due_polls, POLLS, batch_size)
        self._histories: _Queue[DueHistory] = _Queue(self._due_histories, HISTORIES, batch_size)
        self._choosing = asyncio.Lock()
        self._fetching = 0
        self._unavailable: ExchangeUnavailableError | None = None
        self._history_weights: list[int] = []

    async def run(self) -> None:
        """Poll and fetch.

        Raises:
            ExchangeUnavailableError: the exchange gave no answer for longer than the patience.
            LedgerError: a database cannot be used.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._traders.requests_at_once):
                    group.create_task(self._work())
        except ExceptionGroup as errors:
            failure: Exception | None = errors.exceptions[0]
        else:
            failure = self._unavailable
        if failure is not None:
            raise failure

    async def _work(self) -> None:
        while (job := await self._next()) is not None:
            try:
                await job()
            except TimeIsUpError:
                return
            except ExchangeUnavailableError as error:
                # Raised at the end: what others are storing is not to be lost.
                self._unavailable = error

    async def _next(self) -> Callable[[], Awaitable[None]] | None:
        async with self._choosing:
            if self._unavailable is not None or not self._goes_on() or asyncio.get_running_loop().time() >= self._ends:
                return None
            poll = await self._polls.first()
            at_most = max(1, self._traders.requests_at_once // _HISTORY_WORKERS)
            wanted = poll is None or (self._shares.history_is_next and self._fetching < at_most)
            if wanted and (history := await self._histories.first()) is not None:
                self._histories.take()
                self._fetching += 1
                return partial(self._fetch, history)
            if poll is None:
                return None
            self._polls.take()
            self._shares.polls += CLEARINGHOUSE_STATE.weight
            return partial(self._poll, poll)

    async def _due_polls(self, limit: int) -> list[DuePoll]:
        def read() -> list[DuePoll]:
            with session(DOMAIN, read_only=True) as opened:
                return due_polls(opened, now=utc_now(), limit=limit, full=self._full)

        return await asyncio.to_thread(read)

    async def _due_histories(self, limit: int) -> list[DueHistory]:
        def read() -> list[DueHistory]:
            with session(DOMAIN, read_only=True) as opened:
                return due_histories(opened, now=utc_now(), limit=limit, hours=self._traders.history_hours)

        return await asyncio.to_thread(read)

    def _asker(self, spent: Callable[[int], None]) -> Asker:
        return Asker(self._client, self._ends + _GRACE_SECONDS, spent)

    async def _poll(self, due: DuePoll) -> None:
        self.done.current = short(due.address)
        try:
            state = await self._asker(lambda _weight: None).clearinghouse_state(due.address, due.dex)
            positions = positions_of(state)
        except (ExchangeRequestError, ExchangeAnswerError, UnreadablePositionError) as error:
            await self._failed(due, str(error))
            return
        if state.time is None:
            await self._failed(due, "the answer does not say of what time it is")
            return
        await self._writer.do(
            partial(
                store_answer,
                trader_id=due.trader_id,
                dex=due.dex,
                time=state.time,
                account_value=state.account_value,
                positions=positions,
                now=utc_now(),
            )
        )
        self.done.polled += 1

    async def _failed(self, due: DuePoll, reason: str) -> None:
        logger().warning("a trader could not be polled", trader=short(due.address), dex=due.dex, reason=reason)
        await self._writer.do(
            partial(
                poll_failed,
                trader_id=due.trader_id,
                dex=due.dex,
                reason=reason,
                now=utc_now(),
                base_seconds=self._traders.recheck_base_seconds,
                cap_seconds=self._traders.recheck_cap_seconds,
                uniform=random.uniform,
            )
        )
        self.done.failed += 1

    async def _fetch(self, due: DueHistory) -> None:
        self.done.current = short(due.address)
        weights: list[int] = []
        known = self._history_weights
        expected = sum(known) // len(known) if known else _HISTORY_WEIGHT
        self._shares.histories += expected
        try:
            await refresh_history(self._asker(weights.append), due.trader_id, due.address, now=utc_now())
        except (ExchangeRequestError, ExchangeAnswerError) as error:
            # The history's own row says so as well, and when it is due again.
            logger().warning("a history could not be fetched", trader=short(due.address), reason=str(error))
            self.done.failed_histories += 1
        else:
            self.done.histories += 1
            known.append(sum(weights))
        finally:
            self._fetching -= 1
            self._shares.histories += sum(weights) - expected


class _Queue(Generic[T]):
    """What is due of one kind, each at most once a run; read anew when it is empty, for more comes in meanwhile."""

    def __init__(self, read: Callable[[int], Awaitable[list[T]]], page: int, most: int | None) -> None:
        self._read = read
        self._page = page
        self._most = most
        self._waiting: deque[T] = deque()
        self._taken: set[T] = set()
        self._look_at = 0.0

    async def first(self) -> T | None:
        """The next one; None where none is due, or there were enough."""
        if self._most is not None and len(self._taken) >= self._most:
            return None
        if not self._waiting and time.monotonic() >= self._look_at:
            # What is being asked for, or failed, is due still and comes first.
            found = await self._read(self._page + len(self._taken))
            self._waiting.extend(one for one in found if one not in self._taken)
            if not self._waiting:
                self._look_at = time.monotonic() + _LOOK_SECONDS
        return self._waiting[0] if self._waiting else None

    def take(self) -> None:
        """It will be done."""
        self._taken.add(self._waiting.popleft())
