"""How an answer goes out over ASGI, whole or spoilt."""

import asyncio
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

from deployments.sandbox.riot.corpus_timelines import Encoded
from deployments.sandbox.riot.faults import Fault
from deployments.sandbox.riot.options import SandboxOptions

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON_TYPE = b"application/json;charset=utf-8"
#: Below this, compression gains nothing.
SMALL = 256


@dataclass(frozen=True)
class Response:
    """What is sent, and what spoils it on the way."""

    status: int
    plain: bytes
    gzipped: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    content_type: bytes = JSON_TYPE
    fault: Fault | None = None


def found(body: Encoded, headers: tuple[tuple[str, str], ...], fault: Fault | None) -> Response:
    """A 200; compressed for who takes it, unless that gains nothing."""
    return Response(200, body.plain, body.gzipped if len(body.plain) >= SMALL else None, headers, fault=fault)


async def read_body(receive: Receive) -> bytes:
    """The body of a request."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def respond(response: Response, gzip: bool, receive: Receive, send: Send, options: SandboxOptions) -> None:
    """Send a response, and what its fault makes of it."""
    kind = response.fault.kind if response.fault else None
    if response.fault is not None and kind == "broken":
        await _break(receive, send, reset=response.fault.reset)
        return
    body = response.gzipped if gzip and response.gzipped is not None else response.plain
    headers: Headers = [(b"content-type", response.content_type), (b"content-length", str(len(body)).encode())]
    if body is response.gzipped:
        headers += [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
    headers += [(name.encode(), value.encode()) for name, value in response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if kind == "truncated":
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await _break(receive, send)
        return
    if kind == "trickle":
        step = max(1, options.trickle_bytes // 20)
        for begin in range(0, len(body), step):
            await send({"type": "http.response.body", "body": body[begin : begin + step], "more_body": True})
            await asyncio.sleep(step / options.trickle_bytes)
        body = b""
    await send({"type": "http.response.body", "body": body})


async def _break(receive: Receive, send: Send, *, reset: bool = False) -> None:
    """Cut the connection. ASGI has no word for that, so uvicorn's transport is asked; elsewhere the call fails."""
    cycle = getattr(send, "__self__", None)
    transport = getattr(cycle, "transport", None)
    if transport is None:
        raise ConnectionAbortedError("the sandbox broke the connection, as it was told to")
    if reset:
        transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    # What was sent before has to leave first; then the peer sees the end.
    transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass
