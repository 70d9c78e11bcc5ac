"""One run of discovery: the stream is read and stored, gaps are filled and positions kept current beside it."""

import asyncio
import os
import signal
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from structlog.stdlib import BoundLogger

from blocks.engine import LedgerUnreadableError
from blocks.exchange.errors import ExchangeRequestError
from blocks.exchange.info import ExchangeClient
from blocks.exchange.items import Closed, Failed, Item, Refused, Subscribed
from blocks.exchange.stream import TradeStream
from blocks.settings import settings
from tasks.traders.discovery_plan import Intake, Quiet
from tasks.traders.discovery_writing import Tally, Writer
from tasks.traders.gap_filling import GapFiller
from tasks.traders.leasing import Hold
from tasks.traders.positions import advance_positions
from tasks.traders.publishing import Publisher

T = TypeVar("T")

#: Positions are brought up to date, and changes published, so often.
FOLD_SECONDS = 2.0
#: So many empty looks in a row show that nothing is left to be read: one could be a loop that was busy.
_QUIET_LOOKS = 2
_TAKEN_OVER = "another run has taken over"
_REFUSED = "the exchange refused every coin"
#: Of a thousand coins, so many are named in an error.
_NAMED_COINS = 10
_PASSING = (OperationalError, InterfaceError, LedgerUnreadableError)


class CoinsRefusedError(ExchangeRequestError):
    """The exchange knows none of the coins that are to be followed."""

    def __init__(self, coins: Sequence[str], reason: str) -> None:
        names = ", ".join(coins[:_NAMED_COINS])
        more = f" and {len(coins) - _NAMED_COINS} more" if len(coins) > _NAMED_COINS else ""
        super().__init__(
            f"the exchange refused every coin that was to be followed: {names}{more}. Of {coins[0]} it says: {reason}. "
            "Name coins as the exchange does, in its letters: BTC, xyz:AAPL (of a builder's dex), @107 (spot); in "
            "QUINTET_TRADERS__COINS, or in `coins` where the run was given some.",
            item=f"trades of {names}{more}",
        )


class DiscoveryRun:
    """Follows a stream until it is stopped.

    Args:
        hold: on the lease of discovery.
        log: of the run.
    """

    def __init__(self, hold: Hold, log: BoundLogger) -> None:
        traders = settings().traders
        self._hold = hold
        self._log = log
        self._batch = traders.batch_trades
        self._flush = traders.flush_seconds
        self._gap_weight = traders.gap_fill_weight
        self._writer = Writer(hold.owner, traders.settle_seconds, log)
        self._thread = ThreadPoolExecutor(1, "discovery-writer")
        self._fetched: deque[Intake] = deque()
        self._stream: TradeStream | None = None
        self._empty_looks: list[float] = []
        self._fold_error: Exception | None = None
        self._failure: BaseException | None = None
        #: Coins that the exchange answered no to; None once it took one.
        self._refused: set[str] | None = set()
        #: Why it was stopped; None while it goes on.
        self.stopped_for: str | None = None

    @property
    def tally(self) -> Tally:
        """What was received and stored so far."""
        return self._writer.tally

    @property
    def connections(self) -> int:
        """How many were opened so far."""
        return self._writer.connections

    def stop(self, reason: str) -> None:
        """End it: connections are closed, and what has come is stored. Of several reasons the first holds."""
        if self.stopped_for is None:
            self.stopped_for = reason
            self._writer.hurry(reason)
            if self._stream is not None:
                self._stream.stop()

    async def follow(
        self, stream: TradeStream, client: ExchangeClient, companions: Sequence[Callable[[], Coroutine[Any, Any, None]]]
    ) -> None:
        """Follow a stream until `stop`, or until the task is cancelled; then all that has come is stored.

        Args:
            stream: open.
            client: open; fills gaps.
            companions: go on beside it; one that fails stops the run.

        Raises:
            LedgerError: the database cannot be used, and that does not pass.
            CoinsRefusedError: the exchange knows none of the coins.
            Exception: what a companion raised.
        """
        self._stream = stream
        if self.stopped_for is not None:
            stream.stop()
        filler = GapFiller(client, self._fetched.append, self._gap_weight, self._log)
        self._filler = filler
        work = (filler.run, self._until_lost, self._advance, *companions)
        try:
            async with self._beside(work):
                try:
                    while not stream.ended:
                        await self._turn(stream)
                finally:
                    await self._drain(stream)
        finally:
            self._thread.shutdown(wait=False)
        if self._failure is not None:
            raise self._failure
        if self._fold_error is not None:
            raise self._fold_error

    async def finish(self) -> None:
        """Bring positions up to date with what was stored last, and publish."""
        async with Publisher() as publisher:
            await in_thread(advance_positions)
            await publisher.publish()

    async def _turn(self, stream: TradeStream) -> None:
        began = time.monotonic()
        items = await stream.take(self._batch, self._flush)
        self._tell(items)
        self.look_for_refusals(stream.coins, items)
        if items:
            self._empty_looks.clear()
        else:
            self._empty_looks.append(began)
        intake: list[Intake] = [*items]
        if len(self._empty_looks) >= _QUIET_LOOKS:
            intake.append(Quiet(self._empty_looks.pop(0)))
        while self._fetched:
            intake.append(self._fetched.popleft())
        if intake:
            gaps = await in_thread(lambda: self._writer.write(intake), self._thread)
            self._filler.want(gaps)
        if self._writer.lost_lease:
            self.stop(_TAKEN_OVER)

    async def _drain(self, stream: TradeStream) -> None:
        """Store what has come and is not stored.

        Raises:
            LedgerError: the database is away, and stays so for a while; a gap holds what is lost.
        """
        self.stop("stopped")
        while not stream.ended:
            await self._turn(stream)
        reason = self.stopped_for or "stopped"
        await in_thread(lambda: self._writer.end(reason), self._thread)

    def _tell(self, items: Sequence[Item]) -> None:
        for item in items:
            if isinstance(item, Closed) and self.stopped_for is None:
                self._log.warning("connection closed", connection=item.connection, reason=item.reason)
            elif isinstance(item, Failed):
                self._log.warning(
                    "no connection", attempt=item.attempt, reason=item.reason, again_in=round(item.retry_seconds, 1)
                )
            elif isinstance(item, Refused):
                self._log.warning("coin refused", coin=item.coin, reason=item.reason)

    def look_for_refusals(self, coins: Sequence[str], items: Sequence[Item]) -> None:
        """End it where no coin is left to be followed: to wait for one would look as if nobody traded.

        Args:
            coins: that are to be followed.
            items: of the stream, in order.
        """
        for item in items:
            if isinstance(item, Subscribed):
                self._refused = None
            elif isinstance(item, Refused) and item.named and self._refused is not None:
                self._refused.add(item.coin)
                if len(self._refused) == len(coins):
                    self._failure = self._failure or CoinsRefusedError(coins, item.reason)
                    self.stop(_REFUSED)

    @asynccontextmanager
    async def _beside(self, work: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> AsyncIterator[None]:
        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self._failure = self._failure or error
                self.stop(f"failed ({type(error).__name__})")

        tasks = [asyncio.create_task(each()) for each in work]
        for task in tasks:
            task.add_done_callback(ended)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _until_lost(self) -> None:
        await self._hold.lost.wait()
        self.stop(_TAKEN_OVER)

    async def _advance(self) -> None:
        """Keep positions current. What fails here does not stop the stream; it is raised at the end of the run."""
        async with Publisher() as publisher:
            # A failure in the thread takes the place of a cancellation: the run being stopped ends this as well.
            while self.stopped_for is None:
                await asyncio.sleep(FOLD_SECONDS)
                try:
                    # A day's trades take minutes: a run that is to end leaves them to the next.
                    await in_thread(lambda: advance_positions(lambda: self.stopped_for is None))
                    await publisher.publish()
                    self._fold_error = None
                except _PASSING as error:
                    self._log.warning("positions cannot be advanced now", error=type(error).__name__)
                except Exception as error:  # noqa: BLE001 - raised at the end of the run
                    if type(error) is not type(self._fold_error):
                        self._log.error("positions cannot be advanced", error=type(error).__name__)
                    self._fold_error = error


async def in_thread(work: Callable[[], T], pool: ThreadPoolExecutor | None = None) -> T:
    """Do something in a thread; a cancellation waits for its end, for a thread cannot be stopped."""
    done = asyncio.get_running_loop().run_in_executor(pool, work)
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        if not done.done():
            await asyncio.wait([done])
        if not done.cancelled() and done.exception() is not None:
            raise done.exception() from None  # type: ignore[misc]
        raise


@contextmanager
def sigterm_held() -> Iterator[asyncio.Event]:
    """While this lasts, SIGTERM sets an event instead of ending the process; afterwards it takes its former effect.

    Outside the main thread, where signals cannot be had, the event is never set.
    """
    came = asyncio.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)
    try:
        loop.add_signal_handler(signal.SIGTERM, came.set)
    except NotImplementedError:
        # Windows has no such signal.
        yield came
        return
    try:
        yield came
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)
        if came.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
