"""The client against real sockets: time limits, lost bodies, many calls at once, and nothing left open."""

import asyncio
import gzip
import json

import pytest

from blocks.riot import RiotAnswerError, RiotKeyError, RiotUnavailableError
from tests.blocks.riot.stand_ins import PUUID, FreeLimiter, client_of, listening, match_body

_BODY = json.dumps(match_body()).encode()


async def _request(reader: asyncio.StreamReader) -> str:
    """The target of the next request; empty when the client has gone."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return ""
    return head.split(b" ", 2)[1].decode()


def _answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


async def test_connections_are_kept_and_gzip_is_taken() -> None:
    connections, heads = 0, []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while target := await _request(reader):
            heads.append(target)
            writer.write(_answer(gzip.compress(_BODY), "Content-Encoding: gzip"))
            await writer.drain()

    async with listening(peer) as url, client_of(url) as client:
        for _ in range(3):
            assert (await client.match("NA1_1")).body == _BODY
    assert connections == 1
    assert heads == ["/americas/lol/match/v5/matches/NA1_1"] * 3


async def test_a_body_that_trickles_for_ever_ends() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        writer.write(_answer(b"", length=10**9))
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    limiter = FreeLimiter()
    async with listening(peer) as url, client_of(url, limiter, request_seconds=0.2, patience_seconds=0.1) as client:
        with pytest.raises(RiotUnavailableError, match=r"no complete answer within 0\.2 s"):
            await client.match("NA1_1")
        assert client.counts.connection_errors == client.counts.requests == len(limiter.limits) == 1


async def test_a_server_that_never_answers() -> None:
    gone = asyncio.Event()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        await reader.read()
        gone.set()

    limiter = FreeLimiter()
    async with listening(peer) as url, client_of(url, limiter, request_seconds=0.1, patience_seconds=0.05) as client:
        with pytest.raises(RiotUnavailableError):
            await client.match("NA1_1")
        await gone.wait()
        assert limiter.limits == [None]


async def test_nobody_listens() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("nobody comes")

    async with listening(peer) as url:
        pass
    async with client_of(url, patience_seconds=1e-4) as client:
        with pytest.raises(RiotUnavailableError, match="ConnectError"):
            await client.match("NA1_1")


@pytest.mark.parametrize(
    "cut",
    [
        _answer(_BODY[:-5], length=len(_BODY)),
        _answer(gzip.compress(_BODY)[:-5], "Content-Encoding: gzip"),
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"met',
        b"HTTP/1.0 200 OK\r\n\r\n" + _BODY[:-5],
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"",
        b"\x00rubbish\r\n\r\n",
    ],
    ids=["length", "gzip", "chunked", "until closed", "headers", "nothing", "rubbish"],
)
async def test_answers_that_are_cut_off_are_tried_again(cut: bytes) -> None:
    answers = [cut, cut, _answer(_BODY)]

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await _request(reader):
            writer.write(answers.pop(0))
            await writer.drain()

    async with listening(peer) as url, client_of(url) as client:
        assert (await client.match("NA1_1")).body == _BODY
        assert client.counts.retries == 2


async def test_a_redirect_is_not_followed() -> None:
    targets = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while target := await _request(reader):
            targets.append(target)
            writer.write(_answer(b"", "Location: /elsewhere", status="302 Found"))
            await writer.drain()

    async with listening(peer) as url, client_of(url) as client:
        with pytest.raises(RiotAnswerError, match="302 Found"):
            await client.match("NA1_1")
    assert len(targets) == 1


async def test_hundreds_of_calls_at_once_on_several_routes() -> None:
    at_once: dict[str, int] = {}
    most: dict[str, int] = {}

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while target := await _request(reader):
            route, match_id = target.split("/")[1], target.split("/")[-1]
            at_once[route] = at_once.get(route, 0) + 1
            most[route] = max(most.get(route, 0), at_once[route])
            await asyncio.sleep(0)
            at_once[route] -= 1
            writer.write(_answer(json.dumps(match_body(match_id)).encode()))
            await writer.drain()

    limiter = FreeLimiter()
    ids = [f"{platform}_{number}" for number in range(100) for platform in ("NA1", "KR", "EUW1", "SG2")]
    async with listening(peer) as url, client_of(url, limiter, requests_at_once=7) as client:
        found = await asyncio.gather(*(client.match(match_id) for match_id in ids))
    assert [answer.value.metadata.match_id for answer in found] == ids
    assert client.counts.requests == len(limiter.limits) == 400
    assert set(most) == {"americas", "asia", "europe", "sea"} and max(most.values()) <= 7


async def test_one_failure_leaves_the_other_calls_alone() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while target := await _request(reader):
            bad = target.endswith("_13")
            body = b"" if bad else json.dumps(match_body(target.split("/")[-1])).encode()
            writer.write(_answer(body, status="403 Forbidden" if bad else "200 OK"))
            await writer.drain()

    async with listening(peer) as url, client_of(url) as client:
        calls = (client.match(f"NA1_{number}") for number in range(30))
        found = await asyncio.gather(*calls, return_exceptions=True)
    assert [number for number, one in enumerate(found) if isinstance(one, RiotKeyError)] == [13]
    assert sum(isinstance(one, BaseException) for one in found) == 1


async def test_a_used_up_method_does_not_keep_other_methods_waiting() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await _request(reader):
            writer.write(_answer(json.dumps({"puuid": PUUID}).encode()))
            await writer.drain()

    class Slow(FreeLimiter):
        async def acquire(self, *, route: str, method: str):  # type: ignore[no-untyped-def]
            if method == "match-v5.getMatch":
                await asyncio.Event().wait()
            return await super().acquire(route=route, method=method)

    async with listening(peer) as url, client_of(url, Slow(), requests_at_once=2) as client:
        waiting = [asyncio.create_task(client.match(f"KR_{number}")) for number in range(5)]
        await asyncio.sleep(0)
        assert (await client.account_by_puuid(PUUID, regional="asia")).puuid == PUUID
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_cancelled_calls_give_back_what_they_hold() -> None:
    """In flight: the server may have counted it. Waiting at the gate: it was never sent."""
    asked = asyncio.Event()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _request(reader)
        asked.set()
        await reader.read()

    limiter = FreeLimiter()
    async with listening(peer) as url, client_of(url, limiter, requests_at_once=1) as client:
        calls = [
            asyncio.create_task(client.match("NA1_1")),
            asyncio.create_task(client.timeline("NA1_1")),
        ]
        await asked.wait()
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert [(permit.answers, permit.withdrawn) for permit in limiter.permits] == [([None], False), ([], True)]
        # The gates are free again.
        asked.clear()
        again = asyncio.create_task(client.match("NA1_1"))
        await asked.wait()
        again.cancel()
        await asyncio.gather(again, return_exceptions=True)
