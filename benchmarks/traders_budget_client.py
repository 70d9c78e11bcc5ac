"""One process that asks the exchange as much as its method lets it, until it is ended; see `traders_budget.py`.

Arguments: the method, the exchange's address, the window's seconds and a seed; traders come on standard input.
"""

import asyncio
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable

import httpx

from blocks.exchange import Exchange, ExchangeClient
from blocks.rate_ledger import RateLedger
from blocks.settings import TradersSettings

AT_ONCE = TradersSettings().requests_at_once
PERMITTED = 1200
# Longer than any round trip here.
_ANSWER_SECONDS = 1.0
# The tracking's own mixture: most requests are positions, a quarter of the weight is histories.
_STATES, _HISTORIES = 0.975, ("userFillsByTime", "userFunding", "portfolio")
_ITEMS_A_WEIGHT = 20


def wishes(seed: int, traders: list[str]) -> Callable[[], tuple[str, str]]:
    """Draws what is asked next, and about whom; the same for every method."""
    drawn = random.Random(seed)

    def next_wish() -> tuple[str, str]:
        kind = "clearinghouseState" if drawn.random() < _STATES else drawn.choice(_HISTORIES)
        return kind, drawn.choice(traders)

    return next_wish


async def ours(url: str, window: float, next_wish: Callable[[], tuple[str, str]], ended: asyncio.Event) -> None:
    """The real client with the real ledger."""
    exchange = Exchange(url=url, weight_per_minute=PERMITTED, weight_window_seconds=window)
    limiter: RateLedger = exchange.limiter()
    async with exchange.client(limiter=limiter) as client:

        async def ask() -> None:
            kind, user = next_wish()
            await _ask(client, kind, user)

        await _until(ended, ask, AT_ONCE)


async def _ask(client: ExchangeClient, kind: str, user: str) -> None:
    if kind == "clearinghouseState":
        await client.clearinghouse_state(user)
    elif kind == "userFillsByTime":
        await client.user_fills_by_time(user, 0)
    elif kind == "userFunding":
        await client.user_funding(user, 0)
    else:
        await client.portfolio(user)


class TokenBucket:
    """As one well-known trading platform's adapter: full at first, refilled all the time, surcharges taken afterwards.

    Args:
        capacity: weight that it holds.
        rate: weight a second that comes in.
    """

    def __init__(self, capacity: float, rate: float) -> None:
        self._capacity = self._tokens = capacity
        self._rate = rate
        self._at = time.monotonic()

    async def take(self, weight: int) -> None:
        """Wait until there is so much."""
        while True:
            now = time.monotonic()
            self._tokens = min(self._capacity, self._tokens + (now - self._at) * self._rate)
            self._at = now
            if self._tokens >= weight:
                self._tokens -= weight
                return
            await asyncio.sleep((weight - self._tokens) / self._rate)

    def debit(self, weight: int) -> None:
        """Take what an answer cost on top, below zero where need be."""
        self._tokens -= weight


async def _post(http: httpx.AsyncClient, url: str, kind: str, user: str) -> int:
    """How many items the answer has; none where it is refused."""
    body: dict[str, object] = {"type": kind, "user": user}
    if kind in ("userFillsByTime", "userFunding"):
        body["startTime"] = 0
    answer = await http.post(f"{url}/info", json=body)
    return len(answer.json()) if answer.status_code == 200 and "startTime" in body else 0


async def bucket(url: str, window: float, next_wish: Callable[[], tuple[str, str]], ended: asyncio.Event) -> None:
    """A token bucket of this process's own."""
    tokens = TokenBucket(PERMITTED, PERMITTED / window)
    async with httpx.AsyncClient(timeout=20) as http:

        async def ask() -> None:
            kind, user = next_wish()
            await tokens.take(2 if kind == "clearinghouseState" else 20)
            tokens.debit(await _post(http, url, kind, user) // _ITEMS_A_WEIGHT)

        await _until(ended, ask, AT_ONCE)


async def sequential(url: str, window: float, next_wish: Callable[[], tuple[str, str]], ended: asyncio.Event) -> None:
    """As the former system: positions only, one after the other, with a pause of 100 ms."""
    async with httpx.AsyncClient(timeout=20) as http:

        async def ask() -> None:
            await _post(http, url, "clearinghouseState", next_wish()[1])
            await asyncio.sleep(0.1 * window / 60)

        await _until(ended, ask, 1)


async def _until(ended: asyncio.Event, ask: Callable[[], Awaitable[None]], at_once: int) -> None:
    """Ask again and again; at the end what is on its way is awaited, what waits for its turn is not."""

    async def worker() -> None:
        while not ended.is_set():
            await ask()

    workers = [asyncio.create_task(worker()) for _ in range(at_once)]
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait([waiting, *workers], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    _, pending = await asyncio.wait(workers, timeout=_ANSWER_SECONDS)
    for task in pending:
        task.cancel()
    for outcome in await asyncio.gather(*workers, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


METHODS = {"ours": ours, "token bucket": bucket, "sequential": sequential}


async def main(method: str, url: str, window: float, seed: int) -> None:
    """Ask until SIGTERM; traders come on standard input, one a line."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await METHODS[method](url, window, wishes(seed, sys.stdin.read().split()), ended)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
