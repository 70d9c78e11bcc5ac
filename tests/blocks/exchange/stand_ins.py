"""What the tests of the exchange's client share: a limiter that only writes down, answers in memory, real payloads."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import pytest

import blocks
from blocks.exchange import ExchangeClient
from blocks.rate_window import AnswerLimits

URL = "https://exchange.test"
USER = "0x" + "ab12" * 10
DATA = Path(blocks.__file__).parent.parent.parent / "shared" / "data" / "hyperliquid"

needs_data = pytest.mark.skipif(not DATA.exists(), reason="../shared is not beside this clone")


def payload(name: str) -> Any:
    """A real answer."""
    told = json.loads((DATA / f"{name}.json").read_text())
    return told["response"] if isinstance(told, dict) and set(told) == {"request", "response"} else told


@dataclass
class Permit:
    """Writes down how it ended."""

    route: str
    method: str
    reserved: int
    ended: list[tuple[AnswerLimits | None, int | None]] = field(default_factory=list)

    def finished(self, limits: AnswerLimits | None = None, weight: int | None = None) -> None:
        self.ended.append((limits, weight))

    def withdraw(self) -> None:
        raise AssertionError("everything that is granted is sent at once")

    @property
    def weight(self) -> int | None:
        """What it weighed in the end."""
        ((_, weight),) = self.ended
        return weight

    @property
    def limits(self) -> AnswerLimits | None:
        """What its answer told."""
        ((limits, _),) = self.ended
        return limits


@dataclass
class FreeLimiter:
    """Gives every permit at once and keeps them all."""

    permits: list[Permit] = field(default_factory=list)
    entered: int = 0
    left: int = 0

    async def __aenter__(self) -> "FreeLimiter":
        self.entered += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.left += 1

    async def acquire(self, *, route: str, method: str, weight: int = 1) -> Permit:
        self.permits.append(Permit(route, method, weight))
        return self.permits[-1]


Scripted = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


@dataclass
class Script:
    """Answers requests from a list, the last one for ever, and keeps what was asked."""

    answers: list[Scripted]
    requests: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, httpx.Response):
            return answer(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    @property
    def bodies(self) -> list[Any]:
        """What was asked, as JSON."""
        return [json.loads(request.content) for request in self.requests]


@asynccontextmanager
async def scripted(
    *answers: Scripted, patience_seconds: float = 600, limiter: FreeLimiter | None = None
) -> AsyncIterator[tuple[ExchangeClient, Script, FreeLimiter]]:
    """An open client whose answers come from memory, and whose waits are as good as none."""
    script, limiter = Script(list(answers)), limiter or FreeLimiter()
    transport = httpx.MockTransport(script)
    client = ExchangeClient(URL, limiter, patience_seconds=patience_seconds, backoff_seconds=1e-6, transport=transport)
    async with client:
        yield client, script, limiter


def answered(told: object) -> httpx.Response:
    """A 200."""
    return httpx.Response(200, json=told)


def fill(**changes: object) -> dict[str, object]:
    """A small fill as the exchange writes it."""
    return {
        "coin": "BTC",
        "px": "100.5",
        "sz": "0.25",
        "side": "B",
        "time": 1_700_000_000_000,
        "startPosition": "-0.25",
        "dir": "Close Short",
        "closedPnl": "1.5",
        "hash": "0x" + "1" * 64,
        "oid": 7,
        "crossed": True,
        "fee": "0.01",
        "tid": 42,
        "feeToken": "USDC",
    } | changes
