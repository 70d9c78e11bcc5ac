"""The ASGI application: the WebSocket, `/info` behind limits and faults, and the sandbox's own paths."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson

from deployments.sandbox.exchange.commands import Commands
from deployments.sandbox.exchange.faults import Fault, Faults
from deployments.sandbox.exchange.fills import Fill
from deployments.sandbox.exchange.info import Info, NotUnderstoodError
from deployments.sandbox.exchange.limits import surcharge
from deployments.sandbox.exchange.options import ExchangeOptions
from deployments.sandbox.exchange.pace import Pace
from deployments.sandbox.exchange.responses import Receive, Response, Send, read_body, refusal, respond
from deployments.sandbox.exchange.streaming import Stream
from deployments.sandbox.exchange.truth import Requests, Truth
from deployments.sandbox.exchange.world import World, wall_clock


class Exchange:
    """The ASGI application; `pace.run()` lets its market run."""

    def __init__(
        self,
        options: ExchangeOptions,
        clock: Callable[[], float] = time.monotonic,
        market_clock: Callable[[], int] = wall_clock,
    ) -> None:
        self.options = options
        self.world = World(options, market_clock)
        self._clock = clock
        self._faults = Faults(options.seed, clock())
        self._requests = Requests()
        self.stream = Stream(
            lambda: self.options, self._faults, self.world.addresses, list(self.world.coins), self._fills_of, clock
        )
        self.pace = Pace(self.world, self.stream, lambda: self.options)
        self.truth = Truth(self.world, self.stream, lambda: self._requests, lambda: self.options)
        self._info = Info(self.world, lambda coin: self.stream.recent[coin], options.recent)
        self._commands = Commands(self)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request or connection."""
        host = (scope.get("client") or ("unknown", 0))[0]
        if scope["type"] == "websocket":
            await self.stream.serve(host, scope["path"], receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']}: only HTTP and WebSockets are spoken here")
        verb, path, body = scope["method"], scope["path"], await read_body(receive)
        if path.startswith("/__"):
            query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
            response = await self._commands.answer(verb, path, query, body)
        elif path != "/info":
            response = refusal(404, "")
        elif verb != "POST":
            response = refusal(405, "")
        else:
            response = await self._asked(host, dict(scope["headers"]), body)
        await respond(response, receive, send)

    def ready(self, port: int) -> dict[str, Any]:
        """What a client has to know."""
        return {
            "host": "127.0.0.1",
            "port": port,
            "url": f"http://127.0.0.1:{port}",
            "ws_url": f"ws://127.0.0.1:{port}/ws",
            "coins": list(self.world.coins),
            "traders": len(self.world.addresses),
            "start": self.world.start,
        }

    def storm(self, seconds: float) -> None:
        """Answer 502 from now on for so long."""
        self._faults.storm(self._clock(), seconds)

    def forget_requests(self) -> None:
        """Forget all requests and what they weighed."""
        self._requests = Requests()

    def _fills_of(self, address: str) -> list[Fill] | None:
        index = self.world.index(address)
        return None if index is None else self.world.fills(index)

    async def _asked(self, host: str, headers: Mapping[bytes, bytes], body: bytes) -> Response:
        """Latency around an answer."""
        await asyncio.sleep(self._faults.latency(self.options))
        response = await self._weighed(host, headers, body)
        self._requests.count(response)
        await asyncio.sleep(self._faults.latency(self.options))
        return response

    async def _weighed(self, host: str, headers: Mapping[bytes, bytes], body: bytes) -> Response:
        """Weigh a request; then refuse it, spoil it or answer it."""
        options, now = self.options, self._clock()
        if self._faults.stormy(now, options):
            # What stands in front of the exchange weighs nothing.
            return Response(502, Fault("storm", 502).html(), b"text/html")
        if b"application/json" not in headers.get(b"content-type", b""):
            return refusal(415, "Expected request with `Content-Type: application/json`")
        try:
            told = orjson.loads(body)
        except orjson.JSONDecodeError:
            return refusal(400, "Failed to parse the request body as JSON")
        kind = str(told.get("type")) if isinstance(told, dict) else ""
        self._requests.by_type[kind] += 1
        if not self._requests.weigher(host).admit(now, kind, options):
            self._requests.limited += 1
            return Response(429, b"null")
        fault = self._faults.draw(options)
        if fault is not None and fault.kind == "too_many":
            self._requests.faulty_429 += 1
            return Response(429, b"null")
        if fault is not None and fault.kind == "error":
            return Response(fault.status, fault.html(), b"text/html")
        if fault is not None and fault.kind == "broken":
            return Response(0, b"", fault=fault)
        if fault is not None and fault.kind == "slow":
            await asyncio.sleep(options.slow_seconds)
        try:
            answer = self._info.answer(told)
        except NotUnderstoodError:
            return refusal(422, "Failed to deserialize the JSON body into the target type")
        self._requests.weigher(host).charge(self._clock(), kind, surcharge(kind, answer.items), self.options)
        return Response(200, orjson.dumps(answer.body), fault=fault)
