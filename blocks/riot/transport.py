"""Sends one request and reads its answer; sorts what comes back into success, trouble that passes, and refusal."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import httpx

from blocks.http_body import BodyError, read_body
from blocks.patience import PassingError, Patience
from blocks.rate_window import Scope
from blocks.riot.errors import RiotAnswerError
from blocks.riot.limits import Permit, read_limits, read_retry_after, read_scope
from blocks.riot.quiet import quiet
from blocks.riot.refusals import clean, message_of, phrase, refusal

#: Bytes of an error's body that are read; the message is short.
_ERROR_BODY = 64 * 1024


@dataclass(slots=True)
class RiotCounts:
    """What a client has sent and met since it was made. Every attempt counts as a request."""

    requests: int = 0
    retries: int = 0
    by_method: Counter[str] = field(default_factory=Counter)
    by_status: Counter[int] = field(default_factory=Counter)
    #: 429 by what they were about: `application`, `method`, `service` (also those that do not say).
    rate_limited: Counter[Scope] = field(default_factory=Counter)
    connection_errors: int = 0

    @property
    def http_429(self) -> int:
        """All 429."""
        return self.by_status[HTTPStatus.TOO_MANY_REQUESTS]

    @property
    def http_5xx(self) -> int:
        """All answers from 500 on."""
        return sum(number for status, number in self.by_status.items() if status >= 500)


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it is sent.

    Attributes:
        name: what it is, for logs and errors: no player's name, and only the beginning of a puuid.
        route: platform or regional.
        method: Riot's name of the operation.
        url: with its path encoded.
        query: its query.
        secrets: what errors must not repeat out of an answer.
    """

    name: str
    route: str
    method: str
    url: str
    query: Mapping[str, str | int]
    secrets: tuple[str, ...] = ()


class Transport:
    """Sends requests with one `httpx.AsyncClient`.

    Args:
        http: the client, with the key in its headers.
        counts: what is counted in.
        request_seconds: the time from sending to the end of the body, however slowly that trickles.
    """

    def __init__(self, http: httpx.AsyncClient, counts: RiotCounts, request_seconds: float) -> None:
        self._http = http
        self._counts = counts
        self._request_seconds = request_seconds
        # Route and method whose last answer was a service's 429.
        self._overloaded: set[tuple[str, str]] = set()

    async def send(self, request: Request, permit: Permit, patience: Patience) -> bytes:
        """The body of a 200. The permit is finished as soon as the headers are in: the server has counted it then.

        Raises:
            PassingError: what may pass: 408, 429, 5xx, a lost connection, no complete answer in time.
            RiotError: what does not pass.
        """
        self._counts.requests += 1
        self._counts.by_method[request.method] += 1
        # Raised outside the handlers: an error of httpx holds the request, and that the key.
        try:
            async with asyncio.timeout(self._request_seconds):
                with quiet():
                    return await self._exchange(request, permit, patience)
        except TimeoutError:
            problem = f"no complete answer within {self._request_seconds:g} s"
        except httpx.RequestError as error:
            problem = clean(f"{type(error).__name__} {error}")
        finally:
            # Where no headers came; the limiter takes the request for one that may have been counted until now.
            permit.finished()
        self._counts.connection_errors += 1
        raise PassingError(problem)

    async def _exchange(self, request: Request, permit: Permit, patience: Patience) -> bytes:
        async with self._http.stream("GET", request.url, params=dict(request.query)) as response:
            trouble = self._judge(request, response, permit, patience)
            if response.status_code != HTTPStatus.OK:
                message = message_of(await _error_body(response), request.secrets)
                if trouble is None:
                    raise refusal(request.name, request.method, response.status_code, message)
                trouble.reason += f": {message}" if message else ""
                raise trouble
            try:
                return await read_body(response)
            except BodyError as error:
                problem = f"the answer to {request.name} is {error}"
                passes = error.passes
            if passes:
                raise PassingError(problem, status=200)
            raise RiotAnswerError(problem, status=200, method=request.method)

    def _judge(
        self, request: Request, response: httpx.Response, permit: Permit, patience: Patience
    ) -> PassingError | None:
        """Finish the permit with what the headers say, and tell whether to try again."""
        status, place = response.status_code, (request.route, request.method)
        self._counts.by_status[status] += 1
        if status != HTTPStatus.TOO_MANY_REQUESTS:
            permit.finished(read_limits(response.headers))
            self._overloaded.discard(place)
            if status < 500 and status != HTTPStatus.REQUEST_TIMEOUT:
                return None
            least = min(read_retry_after(response.headers) or 0.0, patience.seconds)
            return PassingError(phrase(status), status=status, least_seconds=least)
        scope, told = read_scope(response.headers), read_retry_after(response.headers)
        self._counts.rate_limited[scope] += 1
        what = f"{phrase(status)} ({scope})"
        if scope == "service" and told is None:
            # One alone may be chance and holds back nobody else; a second one in a row is an overloaded service.
            blocked = patience.backoff_bound() if place in self._overloaded else None
            self._overloaded.add(place)
            permit.finished(read_limits(response.headers, blocked, scope))
            return PassingError(what, status=status)
        held = patience.block_seconds(told)
        permit.finished(read_limits(response.headers, held, scope))
        return PassingError(what, status=status, least_seconds=held, held=True)


async def _error_body(response: httpx.Response) -> bytes:
    """The body of an error; empty where it cannot be read, for the status says enough."""
    try:
        return await read_body(response, _ERROR_BODY)
    except (BodyError, httpx.RequestError):
        return b""
