"""What all operations of the Riot client share: the connection pool, the limiter, gates and patience."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr, TypeAdapter

from blocks.patience import PassingError, Patience
from blocks.riot.answers import Answer, MatchDto, TimelineDto
from blocks.riot.errors import RiotAnswerError, RiotUnavailableError
from blocks.riot.limits import RateLimiter
from blocks.riot.methods import Method
from blocks.riot.routes import regional_of_match
from blocks.riot.shapes import read_answer
from blocks.riot.transport import Request, RiotCounts, Transport

T = TypeVar("T")
M = TypeVar("M", MatchDto, TimelineDto)

#: Bound of the first wait after a 5xx or a lost connection, in seconds.
FIRST_BACKOFF = 0.5
#: An idle connection is kept so long. httpx's 5 s would shake hands anew after each wait for a window.
_KEEP_SECONDS = 60.0
#: Characters of a puuid that logs and errors show.
_SHOWN = 8


class RiotConnection:
    """Asks one operation at a time within the limits; `RiotClient` names the operations.

    Args:
        api_key: sent in the header X-Riot-Token and nowhere else.
        base_url: with `{route}` where the platform or region belongs.
        limiter: entered and left together with this.
        requests_at_once: requests in flight to one route.
        request_seconds: time from sending a request to the end of its answer.
        patience_seconds: time that one call spends on attempts that fail and on the waits after them.
        backoff_seconds: bound of the first such wait.
        transport: in place of the network, for tests.
    """

    def __init__(
        self,
        api_key: SecretStr,
        base_url: str,
        limiter: RateLimiter,
        *,
        requests_at_once: int = 50,
        request_seconds: float = 20,
        patience_seconds: float = 900,
        backoff_seconds: float = FIRST_BACKOFF,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._api_key = api_key
        self._base_url = base_url.rstrip("/")
        self._limiter = limiter
        self._requests_at_once = requests_at_once
        self._request_seconds = request_seconds
        self._patience_seconds = patience_seconds
        self._backoff_seconds = backoff_seconds
        self._network = transport
        self._counts = RiotCounts()
        self._transport: Transport | None = None
        self._exit = AsyncExitStack()
        # A method whose limit is used up must not keep the others of its route waiting, so each has a gate of its own
        # before the limiter; the one of the route stands behind it.
        self._method_gates: defaultdict[tuple[str, str], asyncio.Semaphore] = defaultdict(self._gate)
        self._route_gates: defaultdict[str, asyncio.Semaphore] = defaultdict(self._gate)

    @property
    def counts(self) -> RiotCounts:
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
            self._transport = Transport(http, self._counts, self._request_seconds)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes all connections and leaves the limiter."""
        self._transport = None
        await self._exit.aclose()

    async def ask(
        self,
        method: Method,
        route: str,
        shape: TypeAdapter[T],
        *,
        query: Mapping[str, str | int] | None = None,
        names: tuple[str, ...] = (),
        **parts: str,
    ) -> T:
        """Ask one operation and give the typed answer.

        Args:
            method: the operation.
            route: platform or regional, a known one.
            shape: what the answer must be.
            query: its query.
            names: of a player; told in no error.
            **parts: the parameters of its path.

        Raises:
            RiotError: as `blocks.riot.errors` draws them.
        """
        puuid = next((part for name, part in parts.items() if name.lower().endswith("puuid")), "")
        about = f" of {puuid[:_SHOWN]}..." if puuid else ""
        secrets = (*names, puuid) if puuid else names
        request = self._request(method, route, about, query or {}, secrets, parts)
        return (await self._ask(request, shape)).value

    async def ask_of_match(self, method: Method, match_id: str, shape: TypeAdapter[M]) -> Answer[M]:
        """Ask an operation on a match, on the region that its id tells.

        Raises:
            RiotError: as `blocks.riot.errors` draws them; an answer about another match is a `RiotAnswerError`.
        """
        route = regional_of_match(match_id)
        request = self._request(method, route, f" of {match_id}", {}, (), {"matchId": match_id})
        answer = await self._ask(request, shape)
        if answer.value.metadata.match_id != match_id:
            raise RiotAnswerError(
                f"the answer to {request.name} is about another match", status=200, method=method.name
            )
        return answer

    def _request(
        self,
        method: Method,
        route: str,
        about: str,
        query: Mapping[str, str | int],
        secrets: tuple[str, ...],
        parts: Mapping[str, str],
    ) -> Request:
        url = self._base_url.replace("{route}", route) + method.path_of(**parts)
        return Request(f"{method.name}{about} on {route}", route, method.name, url, query, secrets)

    async def _ask(self, request: Request, shape: TypeAdapter[T]) -> Answer[T]:
        patience = Patience(request.name, self._patience_seconds, self._backoff_seconds)
        try:
            return await patience.retrying()(self._attempt, request, shape, patience)
        except PassingError as trouble:
            last = trouble
        if last.final is not None:
            raise last.final
        raise RiotUnavailableError(patience.exhausted(last), status=last.status, method=request.method)

    async def _attempt(self, request: Request, shape: TypeAdapter[T], patience: Patience) -> Answer[T]:
        transport = self._transport
        if transport is None:
            raise RuntimeError("the client is not open: use it with `async with`")
        patience.attempts += 1
        self._counts.retries += patience.attempts > 1
        async with self._method_gates[request.route, request.method]:
            permit = await self._limiter.acquire(route=request.route, method=request.method)
            try:
                async with self._route_gates[request.route]:
                    with patience.spending():
                        body = await transport.send(request, permit, patience)
            finally:
                # What was sent is finished already, and this does nothing; what was cancelled at the gate never was.
                permit.withdraw()
        return Answer(read_answer(request, shape, body), body)

    def _gate(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(self._requests_at_once)

    def _http_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            http2=True,
            headers={
                "X-Riot-Token": self._api_key.get_secret_value(),
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
            # An http address is this machine: the key must not go to a proxy in the clear.
            trust_env=urlsplit(self._base_url).scheme == "https",
            transport=self._network,
        )
