"""A server that counts requests on its own clock, and a client that asks a `RateLedger` before each; for tests.

    python -m tests.rate_server PORT KEY REQUESTS AT_ONCE

runs the client in a process of its own. A request is one line, the method; the answer is one line of JSON.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

from blocks.rate_ledger import RateLedger
from blocks.rate_window import AnswerLimits, Window, parse_windows


class CountingServer:
    """Answers each request with its windows; what arrived when can be asked afterwards.

    Args:
        windows: the application's, as `LIMIT:SECONDS,...`.
        latency: longest one-way delay, before and after a request is counted.
    """

    def __init__(self, windows: str, latency: float = 0.02) -> None:
        self.windows = windows
        self.latency = latency
        self.arrivals: list[tuple[float, str]] = []
        #: While it is cleared, requests are counted and not answered.
        self.answering = asyncio.Event()
        self.answering.set()
        self._random = random.Random(5)
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def arrived(self, number: int) -> None:
        """Wait until so many requests have arrived."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.arrivals) >= number)

    def most(self, seconds: float, since: int = 0) -> int:
        """The most requests in any interval of that length: no fixed window, wherever it begins, counts more."""
        times = [at for at, _ in self.arrivals[since:]]
        most = first = 0
        for last, at in enumerate(times):
            while at - times[first] >= seconds:
                first += 1
            most = max(most, last - first + 1)
        return most

    def exceeded(self, since: int = 0) -> list[Window]:
        """The windows that held more requests than they allow."""
        return [window for window in parse_windows(self.windows) if self.most(window.seconds, since) > window.limit]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with suppress(ConnectionError):
            while line := await reader.readline():
                await asyncio.sleep(self._random.uniform(0, self.latency))
                async with self._changed:
                    self.arrivals.append((time.monotonic(), line.decode().strip()))
                    self._changed.notify_all()
                answer = json.dumps({"application": self.windows})
                await asyncio.sleep(self._random.uniform(0, self.latency))
                await self.answering.wait()
                writer.write(answer.encode() + b"\n")
                await writer.drain()
        writer.close()
        self._tasks.discard(task)


class Connection:
    """One connection to a `CountingServer`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ask(self, ledger: RateLedger, method: str = "match", **more: Any) -> None:
        """One request with a permit, and its answer given back."""
        permit = await ledger.acquire(route="americas", method=method)
        limits = None
        try:
            self._writer.write(f"{method}\n".encode())
            await self._writer.drain()
            answer = json.loads(await self._reader.readline())
            # The server's method windows are wide, so that only the application's count.
            limits = AnswerLimits(parse_windows(answer["application"]), method=parse_windows("2000:10"), **more)
        finally:
            permit.finished(limits)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    """A connection that is closed at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


async def client(port: int, key: str, requests: int, at_once: int) -> None:
    """Send `requests` through a ledger of this process, `at_once` at a time."""
    left = iter(range(requests))

    async def worker(ledger: RateLedger) -> None:
        async with connected(port) as connection:
            for _ in left:
                await connection.ask(ledger)

    async with RateLedger(key, parse_windows("20:1")) as ledger, asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(worker(ledger))


if __name__ == "__main__":
    asyncio.run(client(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
