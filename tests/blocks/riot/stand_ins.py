"""What the tests of the Riot client share: a limiter that only writes down, answers in memory, and real payloads."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import httpx
import pytest
from pydantic import SecretStr

import blocks
from blocks.rate_window import AnswerLimits
from blocks.riot import RiotClient

KEY = "RGAPI-01234567-89ab-cdef-0123-456789abcdef"
PUUID = "1IWWi_Z2TuKiZtTVsVBgSYkW-5GxORcBZCQB3scHe1iXWFOD3NbylhP6YZHpdQfKgTEoAS1OjEgEMQ"
DATA = Path(blocks.__file__).parent.parent.parent / "shared" / "data" / "riot"

needs_data = pytest.mark.skipif(not DATA.exists(), reason="../shared is not beside this clone")


@dataclass
class Permit:
    """Writes down how it ended."""

    route: str
    method: str
    answers: list[AnswerLimits | None] = field(default_factory=list)
    withdrawn: bool = False

    def finished(self, limits: AnswerLimits | None = None) -> None:
        if not self.ended:
            self.answers.append(limits)

    def withdraw(self) -> None:
        if not self.ended:
            self.withdrawn = True

    @property
    def ended(self) -> bool:
        return self.withdrawn or bool(self.answers)


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

    async def acquire(self, *, route: str, method: str) -> Permit:
        self.permits.append(Permit(route, method))
        return self.permits[-1]

    @property
    def limits(self) -> list[AnswerLimits | None]:
        """What the permits were finished with, in order of their giving."""
        assert all(permit.ended for permit in self.permits)
        return [limits for permit in self.permits for limits in permit.answers]


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


@asynccontextmanager
async def scripted(
    *answers: Scripted, patience_seconds: float = 60, limiter: FreeLimiter | None = None
) -> AsyncIterator[tuple[RiotClient, Script, FreeLimiter]]:
    """An open client whose answers come from memory, and whose waits are as good as none."""
    script, limiter = Script(list(answers)), limiter or FreeLimiter()
    client = RiotClient(
        SecretStr(KEY),
        "https://{route}.api.riotgames.com",
        limiter,
        patience_seconds=patience_seconds,
        backoff_seconds=1e-6,
        transport=httpx.MockTransport(script),
    )
    async with client:
        yield client, script, limiter


def refused(status: int, message: str = "", **headers: str) -> httpx.Response:
    """An error as Riot words it."""
    return httpx.Response(status, headers=headers, json={"status": {"message": message, "status_code": status}})


def account() -> httpx.Response:
    return httpx.Response(200, json={"puuid": PUUID, "gameName": "Name", "tagLine": "TAG"})


def match_body(match_id: str = "NA1_1") -> dict[str, object]:
    """The least that is a match."""
    return {"metadata": {"matchId": match_id}, "info": {"participants": []}}


Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(peer: Peer) -> AsyncIterator[str]:
    """A server on a free port that does just what `peer` does with each connection; gives the address."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await peer(reader, writer)
        except ConnectionError:
            # The client has gone, as some of these tests mean it to.
            return
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/{{route}}"
    finally:
        server.close()
        await server.wait_closed()


def client_of(base_url: str, limiter: FreeLimiter | None = None, **options: float) -> RiotClient:
    """A client of a real server."""
    chosen = {"request_seconds": 20.0, "patience_seconds": 60.0, "backoff_seconds": 1e-6} | options
    return RiotClient(
        SecretStr(KEY),
        base_url,
        limiter or FreeLimiter(),
        requests_at_once=int(chosen.pop("requests_at_once", 50)),
        request_seconds=chosen["request_seconds"],
        patience_seconds=chosen["patience_seconds"],
        backoff_seconds=chosen["backoff_seconds"],
    )
