"""How an answer goes out over ASGI, whole or spoilt."""

import struct
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

from deployments.sandbox.exchange.faults import Fault

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True)
class Response:
    """What is sent, and what spoils it on the way."""

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    fault: Fault | None = None


def refusal(status: int, text: str) -> Response:
    """A refusal as the exchange words it: plain text."""
    return Response(status, text.encode(), b"text/plain; charset=utf-8")


async def read_body(receive: Receive) -> bytes:
    """The body of a request."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


async def respond(response: Response, receive: Receive, send: Send) -> None:
    """Send a response, and what its fault makes of it."""
    fault, body = response.fault, response.body
    if fault is not None and fault.kind == "broken":
        await _break(receive, send, reset=fault.reset)
        return
    headers = [(b"content-type", response.content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if fault is not None and fault.kind == "truncated":
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await _break(receive, send)
        return
    await send({"type": "http.response.body", "body": body})


async def _break(receive: Receive, send: Send, *, reset: bool = False) -> None:
    """Cut the connection. ASGI has no word for that, so uvicorn's transport is asked; elsewhere the call fails."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionAbortedError("the sandbox broke the connection, as it was told to")
    if reset:
        transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    # What was sent before has to leave first; then the peer sees the end.
    transport.close()
    while (await receive())["type"] != "http.disconnect":
        pass
