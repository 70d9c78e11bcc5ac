"""One WebSocket connection: what is subscribed on it, what was sent on it, and how it ends or falls silent."""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from math import isinf
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from deployments.sandbox.exchange.responses import Receive, Send
from deployments.sandbox.exchange.tape import websocket_frame

GREETING = b"Websocket connection established."


class SilentProtocol(WebSocketsSansIOProtocol):
    """A connection that can fall silent: it stays open, but hears nothing and answers nothing, not even pings."""

    silent = False

    def data_received(self, data: bytes) -> None:
        """Hear, unless it is silent."""
        if not self.silent:
            super().data_received(data)


class Connection:
    """A client's connection."""

    def __init__(self, number: int, host: str, receive: Receive, send: Send, now: float) -> None:
        protocol = getattr(send, "__self__", None)
        if not isinstance(protocol, SilentProtocol):
            raise TypeError("WebSockets are served by the sandbox's own server only")
        self.number = number
        self.host = host
        self.opened = now
        self.heard = now
        self.closed: float | None = None
        self.reason: str | None = None
        #: By what makes a subscription the same as another.
        self.subscriptions: dict[str, dict[str, Any]] = {}
        self.coins: set[str] = set()
        #: How many fills of a user were told, by the user's index.
        self.users: dict[int, int] = {}
        #: What was sent, by kind; `trades` counts single ones.
        self.sent: Counter[str] = Counter()
        self.received = 0
        self._receive, self._send, self._protocol = receive, send, protocol

    @property
    def alive(self) -> bool:
        """Whether the exchange talks to it."""
        return self.closed is None and not self._protocol.silent

    @property
    def stalled(self) -> bool:
        """Open, but silent."""
        return self._protocol.silent

    @property
    def unread(self) -> int:
        """Bytes that its client has not taken yet."""
        return self._protocol.transport.get_write_buffer_size()

    async def accept(self, buffer_bytes: int) -> None:
        """Complete the handshake."""
        await self._receive()
        await self._send({"type": "websocket.accept"})
        self._protocol.transport.set_write_buffer_limits(high=buffer_bytes)

    async def refuse(self, status: int, text: str) -> None:
        """Answer the handshake with an HTTP error."""
        await self._receive()
        await self._send({"type": "websocket.http.response.start", "status": status, "headers": []})
        await self._send({"type": "websocket.http.response.body", "body": text.encode()})

    async def message(self, seconds: float) -> str | None:
        """The next message; None when there will be no more.

        Raises:
            TimeoutError: nothing for so long.
        """
        async with asyncio.timeout(None if self.stalled or isinf(seconds) else seconds):
            told = await self._receive()
        if told["type"] != "websocket.receive":
            if self.reason is None:
                self.reason = f"closed by the client ({told.get('code')})"
            return None
        self.received += 1
        text = told.get("text")
        return text if isinstance(text, str) else (told.get("bytes") or b"").decode(errors="replace")

    def write(self, frames: bytes) -> bool:
        """Send frames as they are; whether that was possible."""
        protocol = self._protocol
        if not self.alive or protocol.close_sent or protocol.disconnected or protocol.transport.is_closing():
            return False
        protocol.transport.write(frames)
        return True

    def tell(self, kind: str, message: bytes) -> None:
        """Send one message."""
        if self.write(websocket_frame(message)):
            self.sent[kind] += 1

    def answer(self, kind: str, channel: str, data: object) -> None:
        """Send one message made of a channel and its data."""
        self.tell(kind, json.dumps({"channel": channel, "data": data}, separators=(",", ":")).encode())

    async def drained(self) -> None:
        """Wait until its client has read."""
        if self.alive:
            await self._protocol.writable.wait()

    def stall(self) -> None:
        """Fall silent: nothing is sent or heard any more, and only the client can end it."""
        if self.closed is None:
            self._protocol.silent = True
            self.reason = "stalled"

    async def close(self, code: int, reason: str) -> None:
        """Close it: in good order with a code, or, as 1006, without a word."""
        if self.closed is not None or self._protocol.close_sent:
            return
        self.reason = f"{reason} ({code})"
        if code == 1006:
            self._protocol.transport.abort()
        else:
            await self._send({"type": "websocket.close", "code": code, "reason": reason})

    def told(self) -> Mapping[str, Any]:
        """For the truth."""
        return {
            "connection": self.number,
            "host": self.host,
            "opened": self.opened,
            "closed": self.closed,
            "stalled": self.stalled,
            "reason": self.reason,
            "coins": sorted(self.coins),
            "messages": self.received,
            "sent": dict(sorted(self.sent.items())),
        }
