"""One connection to the exchange's WebSocket, from its opening to its end.

Four things go on at once: frames are read and handed on; coins are subscribed, paced, and acknowledgements awaited; a
ping goes out every so often; and a watchdog ends a connection on which nothing comes any more, since a half-open one
would stay silent for ever.

When who reads the items is slow, `ItemQueue.put` waits, nothing is read from the socket, and the exchange feels it
through TCP. That silence is ours: meanwhile pings go on, and neither watchdog nor acknowledgements count the time.
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import Final

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from blocks.exchange.frames import printable, read_frame
from blocks.exchange.item_queue import ItemQueue
from blocks.exchange.items import Closed, Control, ErrorFrame, Item, Opened, Refused, Subscribed, Unreadable
from blocks.exchange.limits import MESSAGES_ROUTE
from blocks.exchange.pacing import StreamLimiter
from blocks.exchange.stream_options import StreamOptions
from blocks.exchange.subscriptions import Subscriptions

PING: Final = '{"method":"ping"}'
# As much of the exchange's reason for closing is told.
_REASON = 100
# How often the watchdog looks in the time that it permits: so much of a busy time it may take for silence.
_LOOKS = 10


def subscription(coin: str) -> str:
    """The request for the trades of a coin."""
    request = {"method": "subscribe", "subscription": {"type": "trades", "coin": coin}}
    return msgspec.json.encode(request).decode()


class Connection:
    """One open connection.

    Args:
        number: of the connection in its stream.
        coins: to subscribe.
        socket: open, with its own pings off: they would go unanswered while nothing is read.
        queue: for all that comes.
        options: times and sizes.
        limiter: gives leave for each message.
        stopping: set when it is to be closed.
    """

    def __init__(
        self,
        number: int,
        coins: tuple[str, ...],
        socket: ClientConnection,
        queue: ItemQueue,
        options: StreamOptions,
        limiter: StreamLimiter,
        stopping: asyncio.Event,
    ) -> None:
        self._number = number
        self._coins = coins
        self._socket = socket
        self._queue = queue
        self._options = options
        self._limiter = limiter
        self._stopping = stopping
        self._book = Subscriptions(coins, ack_seconds=options.ack_seconds, retry_seconds=options.retry_seconds)
        self._book_changed = asyncio.Event()
        self._last_error = ""
        #: When something came last; time in which we did not listen is left out.
        self._heard = time.monotonic()
        #: When the oldest ping without an answer was sent.
        self._pinged: float | None = None
        self._blocked = False
        self._verdict: str | None = None

    async def run(self) -> str:
        """Go on until the connection ends; what happens comes into the queue, `Opened` first and `Closed` last.

        Returns:
            Why it ended.
        """
        await self._queue.put(Opened(self._number, time.monotonic(), self._coins))
        self._heard = time.monotonic()
        async with asyncio.TaskGroup() as group:
            work = (self._subscribe(), self._ping(), self._watch(), self._close())
            companions = [group.create_task(_until_closed(one)) for one in work]
            reason = await self._read()
            for companion in companions:
                companion.cancel()
        await self._queue.put(Closed(self._number, time.monotonic(), self._coins, reason))
        return reason

    async def _read(self) -> str:
        receive, future_ms = self._socket.recv, round(self._options.future_seconds * 1000)
        while True:
            try:
                raw = await receive(decode=False)
            except ConnectionClosed as end:
                return await self._ended(end)
            now = self._heard = time.monotonic()
            frame = read_frame(raw, self._number, now, time.time_ns() // 1_000_000 + future_ms)
            if not self._queue.offer(frame):
                await self._put(frame)
            if type(frame) is Control:
                await self._control(frame)
            elif type(frame) is ErrorFrame:
                await self._error(frame)

    async def _put(self, item: Item) -> None:
        """Hand on what the reader has; until that is done, nothing is read."""
        if self._queue.offer(item):
            return
        self._blocked = True
        # Its answer may stand in line behind all that we have not read.
        self._pinged = None
        try:
            await self._queue.put(item)
        finally:
            self._blocked = False
            self._heard = time.monotonic()
            self._book.postpone(self._heard)
            self._book_changed.set()

    async def _control(self, frame: Control) -> None:
        if frame.channel == "pong":
            self._pinged = None
        elif frame.coin is not None:
            await self._acknowledged(frame.coin)

    async def _error(self, frame: ErrorFrame) -> None:
        self._last_error = frame.text
        coin = frame.coin or self._book.sole()
        if coin is None:
            return
        if "already subscribed" in frame.text.lower():
            # The acknowledgement was lost or late; what was wanted is so.
            await self._acknowledged(coin)
        elif (refused := self._refused(coin, frame.text, named=frame.coin is not None)) is not None:
            await self._put(refused)

    async def _acknowledged(self, coin: str) -> None:
        if self._book.acknowledge(coin):
            await self._put(Subscribed(self._number, time.monotonic(), coin))

    def _refused(self, coin: str, reason: str, *, named: bool = False) -> Refused | None:
        now = time.monotonic()
        wait = self._book.refuse(coin, now)
        if wait is None:
            return None
        self._book_changed.set()
        return Refused(self._number, now, coin, reason, wait, named)

    async def _subscribe(self) -> None:
        while True:
            now = time.monotonic()
            for coin in self._book.overdue(now) if not self._blocked else ():
                said = f"; the exchange said: {self._last_error}" if self._last_error else ""
                refused = self._refused(coin, f"not acknowledged within {self._options.ack_seconds:g} s{said}")
                if refused is not None:
                    await self._queue.put(refused)
            due = self._book.due(now)
            if due is not None:
                await self._send(subscription(due))
                await asyncio.sleep(self._options.subscribe_interval_seconds)
                continue
            await self._book_turn(now)

    async def _book_turn(self, now: float) -> None:
        """Wait until the book has something to do."""
        # While nothing is read nothing can be acknowledged; the reader tells when it goes on.
        next_time = None if self._blocked else self._book.next_time()
        self._book_changed.clear()
        try:
            async with asyncio.timeout(None if next_time is None else max(0.0, next_time - now)):
                await self._book_changed.wait()
        except TimeoutError:
            return

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self._options.ping_seconds)
            await self._send(PING)
            if self._pinged is None and not self._blocked:
                self._pinged = time.monotonic()

    async def _watch(self) -> None:
        limit = self._options.silence_seconds
        while True:
            now = time.monotonic()
            oldest = self._heard if self._pinged is None else min(self._heard, self._pinged)
            left = limit if self._blocked else oldest + limit - now
            if left <= 0:
                silent = now - self._heard >= limit
                self._verdict = f"silent for {limit:g} s" if silent else f"no pong for {limit:g} s"
                # A polite close would wait for an answer that does not come.
                self._socket.transport.abort()
                return
            step = min(left, limit / _LOOKS)
            await asyncio.sleep(step)
            # When the process was suspended or busy, nobody could have heard anything: that time does not count.
            late = max(0.0, time.monotonic() - now - step)
            self._heard += late
            if self._pinged is not None:
                self._pinged += late

    async def _close(self) -> None:
        await self._stopping.wait()
        await self._socket.close()

    async def _send(self, message: str) -> None:
        permit = await self._limiter.acquire(route=MESSAGES_ROUTE, method="send")
        try:
            await self._socket.send(message)
        finally:
            permit.finished()

    async def _ended(self, end: ConnectionClosed) -> str:
        """Why the connection has ended; a frame that was too large is told of as well."""
        if self._verdict is not None:
            return self._verdict
        if end.sent is not None and not end.rcvd_then_sent:
            if end.sent.code == CloseCode.MESSAGE_TOO_BIG:
                reason = f"a frame of more than {self._options.maximum_frame_bytes} bytes"
                await self._queue.put(Unreadable(self._number, time.monotonic(), reason, ""))
                return reason
            if end.sent.code != CloseCode.NORMAL_CLOSURE:
                return f"not understood ({end.sent.code}): {printable(end.sent.reason, _REASON)}"
            return "stopped"
        if end.rcvd is not None:
            said = f": {printable(end.rcvd.reason, _REASON)}" if end.rcvd.reason else ""
            return f"closed by the exchange ({end.rcvd.code}{said})"
        return f"connection lost ({CloseCode.ABNORMAL_CLOSURE.value})"


async def _until_closed(work: Coroutine[None, None, None]) -> None:
    """Go on with something until the connection is closed; why it is, the reader tells."""
    try:
        await work
    except ConnectionClosed:
        return
