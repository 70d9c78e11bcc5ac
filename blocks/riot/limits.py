"""What an answer's headers say about rate limits.

Windows come in any order and number (`20:1,100:120`, `100:120,20:1`), and any header may be missing. One that cannot
be read is told once and treated as missing: the limiter then keeps to what it knows.
"""

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, TypeVar

import httpx

from blocks.rate_window import AnswerLimits, Scope, parse_counts, parse_windows

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Headers that were told of already, so that one odd server does not fill the log.
_told: set[str] = set()


class Permit(Protocol):
    """Leave to send one request now."""

    def finished(self, limits: AnswerLimits | None = None) -> None:
        """The answer's headers were received, or none will come. A second call does nothing."""

    def withdraw(self) -> None:
        """The request was never sent."""


class RateLimiter(Protocol):
    """Gives leave to send: `blocks.rate_ledger.RateLedger`, or a stand-in."""

    async def __aenter__(self) -> object:
        """Begin."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End."""

    async def acquire(self, *, route: str, method: str) -> Permit:
        """Wait until one request of this method may be sent on this route."""
        ...


def read_limits(
    headers: httpx.Headers, blocked_seconds: float | None = None, blocked_scope: Scope | None = None
) -> AnswerLimits:
    """The limits in an answer's headers.

    Args:
        headers: of the answer.
        blocked_seconds: how long nobody is to send; what comes of it is the limiter's.
        blocked_scope: what is not to be sent.
    """
    return AnswerLimits(
        application=_read(headers, "X-App-Rate-Limit", parse_windows),
        application_counts=_read(headers, "X-App-Rate-Limit-Count", parse_counts),
        method=_read(headers, "X-Method-Rate-Limit", parse_windows),
        method_counts=_read(headers, "X-Method-Rate-Limit-Count", parse_counts),
        blocked_seconds=blocked_seconds,
        blocked_scope=blocked_scope,
    )


def read_scope(headers: httpx.Headers) -> Scope:
    """What a 429 is about; `service` where it does not say: only limits of the key's own always do."""
    scope = headers.get("X-Rate-Limit-Type", "").strip().lower()
    return "application" if scope == "application" else "method" if scope == "method" else "service"


def read_retry_after(headers: httpx.Headers) -> float | None:
    """Seconds that the server asks to wait; None where it does not say, or says nothing sensible."""
    return _read(headers, "Retry-After", _seconds)


def _seconds(text: str) -> float:
    seconds = float(text)
    # Turns away "nan" as well, which compares with nothing.
    if not seconds >= 0:
        raise ValueError(f"{text!r} is no time to wait")
    return seconds


def _read(headers: httpx.Headers, name: str, parse: Callable[[str], T]) -> T | None:
    text = headers.get(name)
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError:
        if name not in _told:
            _told.add(name)
            logger.warning("the Riot API's header %s cannot be read and is ignored: %.80r", name, text)
        return None
