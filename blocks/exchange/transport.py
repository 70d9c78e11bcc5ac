"""Sends one request to `/info`; sorts what comes back into success, trouble that passes, and refusal."""

import asyncio
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus

import httpx
import msgspec

from blocks.exchange.errors import ExchangeAnswerError, ExchangeRequestError
from blocks.exchange.limits import Kind, Permit
from blocks.http_body import BodyError, read_body
from blocks.patience import PassingError, Patience
from blocks.rate_window import AnswerLimits

#: Bytes of an error's body that are read; the message is short.
_ERROR_BODY = 64 * 1024
#: Characters of it that an error repeats.
_LONGEST_MESSAGE = 200
#: A whole address of a trader in a message.
_ADDRESS = re.compile(r"(0x[0-9a-fA-F]{4})[0-9a-fA-F]+([0-9a-fA-F]{4})")
#: What the exchange answers, as a 500, where it does not know a coin or a dex: sent again it says the same.
_UNKNOWN = b"null"


@dataclass(slots=True)
class ExchangeCounts:
    """What a client has sent and met since it was made. Every attempt counts as a request."""

    requests: int = 0
    #: That all of them together cost, as far as it is known.
    weight: int = 0
    retries: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    by_status: Counter[int] = field(default_factory=Counter)
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
class Question:
    """One request.

    Attributes:
        item: what it asks for, fit for a log.
        kind: of request.
        body: what is sent, as JSON.
    """

    item: str
    kind: Kind
    body: bytes


class Reservation:
    """The weight of one request in flight: reserved as the most that it may be, and settled once.

    Args:
        permit: of the limiter.
        kind: of request.
        counts: what the weight is counted in.
    """

    def __init__(self, permit: Permit, kind: Kind, counts: ExchangeCounts) -> None:
        self._permit = permit
        self._most = kind.most
        self._counts = counts
        self._open = True

    def settle(self, weight: int, blocked_seconds: float | None = None) -> None:
        """It was answered, and weighed so much.

        Args:
            weight: that it cost.
            blocked_seconds: how long nobody of this address may send.
        """
        self._end(AnswerLimits(blocked_seconds=blocked_seconds, blocked_scope="application"), weight)

    def lose(self) -> None:
        """Nobody knows what became of it: it counts in full. Nothing happens where it was settled."""
        self._end(None, self._most)

    def _end(self, limits: AnswerLimits | None, weight: int) -> None:
        if self._open:
            self._open = False
            self._counts.weight += weight
            self._permit.finished(limits, weight)


class Transport:
    """Sends requests with one `httpx.AsyncClient`.

    Args:
        http: the client.
        url: of `/info`.
        counts: what is counted in.
        request_seconds: the time from sending to the end of the body, however slowly that trickles.
        window_seconds: how long everybody waits after a 429 that does not say.
    """

    def __init__(
        self, http: httpx.AsyncClient, url: str, counts: ExchangeCounts, request_seconds: float, window_seconds: float
    ) -> None:
        self._http = http
        self._url = url
        self._counts = counts
        self._request_seconds = request_seconds
        self._window_seconds = window_seconds

    async def send(self, question: Question, reservation: Reservation, patience: Patience) -> bytes:
        """The body of a 200, whose weight is still to be settled; that of anything else is settled here.

        Raises:
            PassingError: what may pass: 408, 429, 5xx, a lost connection, no complete answer in time.
            ExchangeError: what does not pass.
        """
        self._counts.requests += 1
        self._counts.by_kind[question.kind.name] += 1
        # Raised outside the handlers, whose errors hold the request.
        try:
            async with asyncio.timeout(self._request_seconds):
                return await self._exchange(question, reservation, patience)
        except TimeoutError:
            problem = f"no complete answer within {self._request_seconds:g} s"
        except httpx.RequestError as error:
            problem = clean(f"{type(error).__name__} {error}")
        self._counts.connection_errors += 1
        raise PassingError(problem)

    async def _exchange(self, question: Question, reservation: Reservation, patience: Patience) -> bytes:
        headers = {"Content-Type": "application/json"}
        async with self._http.stream("POST", self._url, content=question.body, headers=headers) as response:
            self._counts.by_status[response.status_code] += 1
            if response.status_code != HTTPStatus.OK:
                raise await self._trouble(question, response, reservation, patience)
            try:
                return await read_body(response)
            except BodyError as error:
                problem = f"the answer to {question.item} is {error}"
                passes = error.passes
            if passes:
                raise PassingError(problem, status=200)
            raise ExchangeAnswerError(problem, item=question.item, status=200)

    async def _trouble(
        self, question: Question, response: httpx.Response, reservation: Reservation, patience: Patience
    ) -> Exception:
        """Settle what was sent in vain, and tell whether to try again. Items that were not sent weigh nothing."""
        status, weight, told = response.status_code, question.kind.weight, retry_after(response.headers)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            # The address' weight is used up, by whomever: nobody of it is to try before the window is over.
            held = patience.block_seconds(self._window_seconds if told is None else told)
            reservation.settle(weight, held)
            return PassingError(phrase(status), status=status, least_seconds=held, held=True)
        reservation.settle(weight)
        body = await _error_body(response)
        said = phrase(status, message_of(body))
        if status < 500 and status != HTTPStatus.REQUEST_TIMEOUT:
            text = f"{question.item} was answered {said}"
            if status >= 400:
                return ExchangeRequestError(text, item=question.item, status=status)
            return ExchangeAnswerError(f"{text}, which is not documented", item=question.item, status=status)
        if status == HTTPStatus.INTERNAL_SERVER_ERROR and body.strip() == _UNKNOWN:
            text = f"{question.item} was answered {phrase(status)} and null, as for what the exchange does not know"
            final = ExchangeRequestError(text, item=question.item, status=status)
            return PassingError(said, status=status, final=final)
        return PassingError(said, status=status, least_seconds=min(told or 0.0, patience.seconds))


def retry_after(headers: httpx.Headers) -> float | None:
    """Seconds that the server asks to wait; None where it does not say, or says nothing sensible."""
    try:
        seconds = float(headers["Retry-After"])
    except (KeyError, ValueError):
        return None
    # "nan" compares with nothing.
    return seconds if seconds >= 0 else None


def phrase(status: int, message: str = "") -> str:
    """`502 Bad Gateway: what it said`."""
    try:
        known = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        known = str(status)
    return f"{known}: {message}" if message else known


def clean(text: str) -> str:
    """A text from outside, fit for a log: on one line, short, without whole addresses and control characters."""
    text = _ADDRESS.sub(r"\1…\2", text)
    text = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in text)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}..."


def message_of(body: bytes) -> str:
    """What an error's body says; empty where it is a page of HTML, or nothing."""
    text = body.decode(errors="replace").strip()
    if text.startswith("<") or text == _UNKNOWN.decode():
        return ""
    try:
        said = msgspec.json.decode(body, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = text
    return clean(said)


async def _error_body(response: httpx.Response) -> bytes:
    """The body of an error; empty where it cannot be read, for the status says enough."""
    try:
        return await read_body(response, _ERROR_BODY)
    except (BodyError, httpx.RequestError):
        return b""
