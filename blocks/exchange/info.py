"""The client of `POST /info`: one method for each question that is asked."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from decimal import Decimal
from types import TracebackType
from typing import Self, TypeVar

import httpx
import msgspec

from blocks.exchange import limits, shapes
from blocks.exchange.address import shown, trader
from blocks.exchange.answers import (
    Candle,
    ClearinghouseState,
    ExchangeStatus,
    LedgerUpdate,
    Meta,
    Portfolio,
    UserFill,
    UserFunding,
)
from blocks.exchange.errors import ExchangeRequestError, ExchangeUnavailableError
from blocks.exchange.limits import INFO_ROUTE, Kind, WeightLimiter
from blocks.exchange.shapes import RecentTrades, Shape, read_answer
from blocks.exchange.transport import ExchangeCounts, Question, Reservation, Transport
from blocks.patience import PassingError, Patience

T = TypeVar("T")

#: Bound of the first wait after a 5xx or a lost connection, in seconds.
FIRST_BACKOFF = 0.5
#: An idle connection is kept so long. httpx's 5 s would shake hands anew after each wait for the window.
_KEEP_SECONDS = 90.0
_USER = "user"


class ExchangeClient:
    """Asks the exchange: typed answers, within the weight that our address is permitted, retried with patience.

    Use it as an asynchronous context manager in one event loop, for any number of calls at once.

    Every method waits for its turn and raises `ExchangeRequestError` (refused), `ExchangeAnswerError` (not the shape
    that the exchange documents) or `ExchangeUnavailableError` (429, 5xx and lost connections outlasted the patience).

    Args:
        url: of the exchange, without `/info`.
        limiter: entered and left together with this.
        requests_at_once: requests in flight.
        request_seconds: time from sending a request to the end of its answer.
        patience_seconds: time that one call spends on attempts that fail and on the waits after them.
        window_seconds: how long everybody of the address waits after a 429 without Retry-After.
        backoff_seconds: bound of the first wait after an attempt that failed.
        transport: in place of the network, for tests.
    """

    def __init__(
        self,
        url: str,
        limiter: WeightLimiter,
        *,
        requests_at_once: int = 20,
        request_seconds: float = 20,
        patience_seconds: float = 900,
        window_seconds: float = 60,
        backoff_seconds: float = FIRST_BACKOFF,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = f"{url}/info"
        self._limiter = limiter
        self._requests_at_once = requests_at_once
        self._request_seconds = request_seconds
        self._patience_seconds = patience_seconds
        self._window_seconds = window_seconds
        self._backoff_seconds = backoff_seconds
        self._network = transport
        self._counts = ExchangeCounts()
        self._transport: Transport | None = None
        self._exit = AsyncExitStack()
        # Before the limiter: a permit that waits for a connection would hold weight that others could use.
        self._gate = asyncio.Semaphore(requests_at_once)

    @property
    def counts(self) -> ExchangeCounts:
        """What was sent and met so far."""
        return self._counts

    async def __aenter__(self) -> Self:
        """Registers with the limiter and opens the connection pool.

        Raises:
            RuntimeError: the client is open already.
        """
        if self._transport is not None:
            raise RuntimeError("this client is open already")
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._limiter)
            http = await stack.enter_async_context(self._http_client())
            self._transport = Transport(http, self._url, self._counts, self._request_seconds, self._window_seconds)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes all connections and leaves the limiter."""
        self._transport = None
        await self._exit.aclose()

    async def clearinghouse_state(self, user: str, dex: str = "") -> ClearinghouseState:
        """A trader's positions and margin on one dex; empty where nobody knows the address. Weight 2.

        Args:
            user: the trader's address.
            dex: of a builder (HIP-3); empty is the exchange's own.
        """
        asked = {_USER: user, "dex": dex or None}
        return await self._ask(limits.CLEARINGHOUSE_STATE, shapes.CLEARINGHOUSE_STATE, asked)

    async def user_fills_by_time(self, user: str, start_time: int, end_time: int | None = None) -> list[UserFill]:
        """One page of a trader's fills, the oldest first: at most 2,000, of the newest 10,000. Weight 20 to 120.

        Args:
            user: the trader's address.
            start_time: milliseconds, included.
            end_time: milliseconds, included; None: until now.
        """
        asked = {_USER: user, "startTime": start_time, "endTime": end_time}
        return await self._ask(limits.USER_FILLS_BY_TIME, shapes.USER_FILLS, asked)

    async def user_funding(self, user: str, start_time: int, end_time: int | None = None) -> list[UserFunding]:
        """One page of what a trader paid and received as funding: at most 500. Weight 20 to 45."""
        asked = {_USER: user, "startTime": start_time, "endTime": end_time}
        return await self._ask(limits.USER_FUNDING, shapes.USER_FUNDING, asked)

    async def user_ledger_updates(self, user: str, start_time: int, end_time: int | None = None) -> list[LedgerUpdate]:
        """One page of a trader's deposits, withdrawals, transfers...: at most 500. Weight 20 to 45."""
        asked = {_USER: user, "startTime": start_time, "endTime": end_time}
        return await self._ask(limits.USER_LEDGER_UPDATES, shapes.LEDGER_UPDATES, asked)

    async def portfolio(self, user: str) -> Portfolio:
        """What a trader was worth and earned, over a day, a week, a month and all time. Weight 20."""
        return await self._ask(limits.PORTFOLIO, shapes.portfolio, {_USER: user})

    async def recent_trades(self, coin: str) -> RecentTrades:
        """The newest trades of a coin. Weight 20 and more.

        Raises:
            ExchangeRequestError: there is no such coin.
        """
        return await self._ask(limits.RECENT_TRADES, shapes.recent_trades, {"coin": coin})

    async def candles(self, coin: str, interval: str, start_time: int, end_time: int | None = None) -> list[Candle]:
        """Prices of a coin by intervals such as `1h` or `1d`: at most 5,000. Weight 20 to 104.

        Raises:
            ExchangeRequestError: there is no such coin or interval.
        """
        end = time.time_ns() // 1_000_000 if end_time is None else end_time
        asked = {"coin": coin, "req": {"coin": coin, "interval": interval, "startTime": start_time, "endTime": end}}
        return await self._ask(limits.CANDLE_SNAPSHOT, shapes.CANDLES, asked)

    async def all_mids(self, dex: str = "") -> dict[str, Decimal]:
        """The price between bid and ask of each coin. Weight 2."""
        return await self._ask(limits.ALL_MIDS, shapes.mids, {"dex": dex or None})

    async def meta(self, dex: str = "") -> Meta:
        """The perpetuals of one dex. Weight 20."""
        return await self._ask(limits.META, shapes.META, {"dex": dex or None})

    async def exchange_status(self) -> ExchangeStatus:
        """The exchange's clock: the cheapest question whether it is there. Weight 2."""
        return await self._ask(limits.EXCHANGE_STATUS, shapes.EXCHANGE_STATUS, {})

    async def _ask(self, kind: Kind, shape: Shape[T], asked: Mapping[str, object]) -> T:
        question = _question(kind, asked)
        patience = Patience(question.item, self._patience_seconds, self._backoff_seconds)
        try:
            return await patience.retrying()(self._attempt, question, shape, patience)
        except PassingError as trouble:
            last = trouble
        if last.final is not None:
            raise last.final
        raise ExchangeUnavailableError(patience.exhausted(last), item=question.item, status=last.status)

    async def _attempt(self, question: Question, shape: Shape[T], patience: Patience) -> T:
        transport = self._transport
        if transport is None:
            raise RuntimeError("the client is not open: use it with `async with`")
        patience.attempts += 1
        self._counts.retries += patience.attempts > 1
        kind = question.kind
        async with self._gate:
            permit = await self._limiter.acquire(route=INFO_ROUTE, method=kind.name, weight=kind.most)
            reservation = Reservation(permit, kind, self._counts)
            try:
                with patience.spending():
                    body = await transport.send(question, reservation, patience)
                answer = read_answer(question, shape, body)
                reservation.settle(kind.weight_of(answer))
            finally:
                # What has no answer that can be read may have been one of any weight.
                reservation.lose()
        return answer

    def _http_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            http2=True,
            headers={
                "Accept": "application/json",
                # What `read_body` can check for its end.
                "Accept-Encoding": "gzip",
                "User-Agent": "quintet",
            },
            timeout=self._request_seconds,
            limits=httpx.Limits(
                max_connections=None,
                max_keepalive_connections=self._requests_at_once,
                keepalive_expiry=_KEEP_SECONDS,
            ),
            follow_redirects=False,
            transport=self._network,
        )


def _question(kind: Kind, asked: Mapping[str, object]) -> Question:
    """What is sent, without what is None."""
    body = {"type": kind.name, **{name: value for name, value in asked.items() if value is not None}}
    about = str(body.get("coin", ""))
    if "req" in body:
        del body["coin"]
    if _USER in body:
        user = str(body[_USER])
        about = shown(user)
        address = trader(user)
        if address is None:
            item = f"{kind.name} of {about!r}"
            raise ExchangeRequestError(f"{item} was not asked for: that is no address of a trader", item=item)
        body[_USER] = address
    dex = body.get("dex")
    item = kind.name + (f" of {about}" if about else "") + (f" on {dex}" if dex else "")
    return Question(item, kind, msgspec.json.encode(body))
