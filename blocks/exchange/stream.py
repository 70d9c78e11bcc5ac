"""The exchange's public trades, coin by coin, as they happen.

    async with TradeStream("wss://api.hyperliquid.xyz/ws", ["BTC", "ETH"]) as stream:
        while not stream.ended:
            for item in await stream.take(trades=10_000, seconds=1):
                ...

Coins are spread over connections. Each connection that ends is made anew, after a wait with full jitter, and its coins
are subscribed again; what was traded meanwhile is not known here (`Closed` and `Opened` tell when that was). Nothing is
dropped: when who reads is slow, the sockets are not read.

It needs no key. The exchange's limits hold per IP address; a limiter that several processes share keeps them together.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from types import TracebackType

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from blocks.exchange.address import check_url
from blocks.exchange.connection import Connection
from blocks.exchange.frames import printable
from blocks.exchange.item_queue import ItemQueue
from blocks.exchange.items import Failed, Item
from blocks.exchange.limits import CONNECTIONS_ROUTE
from blocks.exchange.pacing import Backoff, LocalLimiter, StreamLimiter
from blocks.exchange.stream_options import StreamOptions

_REASON = 200


def shards(coins: Iterable[str], options: StreamOptions) -> list[tuple[str, ...]]:
    """Which coins share a connection: as few connections as will do, evenly filled, each coin once.

    Raises:
        ValueError: no coin, or more than the exchange permits.
    """
    names = tuple(dict.fromkeys(coins))
    if not names:
        raise ValueError("a trade stream needs a coin")
    most = min(options.subscriptions, options.connections * options.subscriptions_per_connection)
    if len(names) > most:
        raise ValueError(
            f"{len(names)} coins, but only {most} can be followed ({options.subscriptions} subscriptions, "
            f"{options.connections} connections of {options.subscriptions_per_connection} coins)"
        )
    count = -(-len(names) // options.subscriptions_per_connection)
    return [names[first::count] for first in range(count)]


class TradeStream:
    """Trades of some coins, until it is left or stopped. For one reader.

    Args:
        url: of the WebSocket, `ws://` or `wss://`.
        coins: to follow.
        options: times and sizes.
        limiter: gives leave for connections and messages; without one, the options' limits are kept in this process.
        jitter: gives numbers from 0 to 1.

    Raises:
        ValueError: the address is none, no coin, or more than the exchange permits.
    """

    def __init__(
        self,
        url: str,
        coins: Iterable[str],
        options: StreamOptions | None = None,
        *,
        limiter: StreamLimiter | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._url = check_url(url, "ws")
        self._options = options or StreamOptions()
        self._shards = shards(coins, self._options)
        self._limiter = limiter
        self._jitter = jitter
        self._queue = ItemQueue(self._options.queue_trades)
        self._connections = 0
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def coins(self) -> tuple[str, ...]:
        """All coins that are followed."""
        return tuple(coin for shard in self._shards for coin in shard)

    @property
    def ended(self) -> bool:
        """It was stopped, and everything that had come was taken."""
        return self._queue.ended

    @property
    def held(self) -> int:
        """Trades that wait to be taken."""
        return self._queue.held

    async def __aenter__(self) -> "TradeStream":
        """Begin to connect; what comes of it comes as items."""
        if self._task is not None:
            raise RuntimeError("the trade stream was opened already")
        limiter = self._limiter or LocalLimiter(self._options.limits)
        self._task = asyncio.create_task(self._run(limiter))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections; what was not taken is gone."""
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])

    async def take(self, trades: int = 10_000, seconds: float | None = 1.0) -> list[Item]:
        """Take what has come once it is enough, no more fits in, or the time is over.

        Args:
            trades: how many are enough (an item without trades counts as one); the last item may bring more.
            seconds: how long to wait for them; None: until they come.

        Returns:
            Items in order; none where none came in time, or the stream has ended.

        Raises:
            RuntimeError: somebody else is reading.
            Exception: the limiter's, where that could not be used any more.
        """
        return await self._queue.take(trades, seconds)

    def stop(self) -> None:
        """Close all connections; `ended` is true once everything that had come was taken."""
        self._stopping.set()

    def __aiter__(self) -> "TradeStream":
        """Item by item; `take` is faster."""
        return self

    async def __anext__(self) -> Item:
        """The next item.

        Raises:
            StopAsyncIteration: the stream was stopped, and nothing is left.
        """
        while not self._queue.ended:
            for item in await self._queue.take(1, None):
                return item
        raise StopAsyncIteration

    async def _run(self, limiter: StreamLimiter) -> None:
        error: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for coins in self._shards:
                    group.create_task(self._follow(coins, limiter))
        except ExceptionGroup as several:
            error = _first(several)
        finally:
            self._queue.end(error)

    async def _follow(self, coins: tuple[str, ...], limiter: StreamLimiter) -> None:
        """Keep one connection for these coins, until the stream is stopped."""
        options = self._options
        backoff = Backoff(options.reconnect_base_seconds, options.reconnect_cap_seconds, self._jitter)
        while not self._stopping.is_set():
            try:
                socket = await self._connect(limiter)
            except (OSError, WebSocketException) as error:
                wait = backoff.next()
                await self._queue.put(Failed(time.monotonic(), coins, _reason(error), backoff.attempts, wait))
            else:
                opened = time.monotonic()
                await self._serve(socket, coins, limiter)
                if time.monotonic() - opened >= options.stable_seconds:
                    backoff.reset()
                wait = backoff.next()
            await self._pause(wait)

    async def _connect(self, limiter: StreamLimiter) -> ClientConnection:
        options = self._options
        permit = await limiter.acquire(route=CONNECTIONS_ROUTE, method="connect")
        try:
            return await connect(
                self._url,
                # Costs more time than the few bytes a second are worth.
                compression=None,
                # The exchange has a ping of its own; this one goes unanswered while nothing is read.
                ping_interval=None,
                open_timeout=options.open_seconds,
                close_timeout=options.close_seconds,
                max_size=options.maximum_frame_bytes,
            )
        finally:
            permit.finished()

    async def _serve(self, socket: ClientConnection, coins: tuple[str, ...], limiter: StreamLimiter) -> None:
        self._connections += 1
        connection = Connection(self._connections, coins, socket, self._queue, self._options, limiter, self._stopping)
        try:
            await connection.run()
        finally:
            await socket.close()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


def _reason(error: Exception) -> str:
    if isinstance(error, InvalidStatus):
        return f"the exchange answered HTTP {error.response.status_code}"
    return printable(f"{type(error).__name__}: {error}", _REASON)


def _first(several: ExceptionGroup[Exception]) -> Exception:
    """The error itself: who reads knows nothing of the tasks it came through."""
    error: Exception = several
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
