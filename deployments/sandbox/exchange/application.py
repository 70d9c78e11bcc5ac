"""The ASGI application: the WebSocket, `/info` behind limits and faults, the sandbox's own paths, and the market."""

import asyncio
import time
from collections.abc import Callable, Mapping
from math import isinf
from typing import Any
from urllib.parse import parse_qsl

import orjson

from deployments.sandbox.exchange.faults import Fault, Faults
from deployments.sandbox.exchange.info import Answer, Info, NotUnderstoodError
from deployments.sandbox.exchange.limits import surcharge
from deployments.sandbox.exchange.options import ExchangeOptions, OptionError
from deployments.sandbox.exchange.responses import Receive, Response, Send, read_body, refusal, respond
from deployments.sandbox.exchange.streaming import Stream
from deployments.sandbox.exchange.tape import Block
from deployments.sandbox.exchange.truth import Requests, Truth
from deployments.sandbox.exchange.world import World, wall_clock

#: Seconds between two looks at what is to go wrong with connections.
LOOK = 0.1
#: Trades that may be made up for at once when the machine was too slow, in seconds of the rate.
CATCH_UP = 1.0


class Exchange:
    """The ASGI application."""

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
        self._info = Info(self.world, lambda coin: self.stream.recent[coin], options.recent)
        self._truth = Truth(self.world, self.stream, lambda: self._requests, lambda: self.options)
        self._set = asyncio.Event()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request or connection."""
        host = (scope.get("client") or ("unknown", 0))[0]
        if scope["type"] == "websocket":
            await self.stream.serve(host, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']}: only HTTP and WebSockets are spoken here")
        body = await read_body(receive)
        if scope["path"].startswith("/__"):
            query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
            response = await self._control(scope["method"], scope["path"], query, body)
        elif scope["path"] != "/info":
            response = refusal(404, "")
        elif scope["method"] != "POST":
            response = refusal(405, "")
        else:
            response = await self._asked(host, dict(scope["headers"]), body)
        await respond(response, receive, send)

    def _fills_of(self, address: str) -> Any:
        index = self.world.index(address)
        return None if index is None else self.world.fills(index)

    async def _asked(self, host: str, headers: Mapping[bytes, bytes], body: bytes) -> Response:
        """Latency and faults around an answer."""
        await asyncio.sleep(self._faults.latency(self.options))
        response = await self._weighed(host, headers, body)
        self._requests.by_status["broken" if response.status == 0 else str(response.status)] += 1
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
        weigher = self._requests.weigher(host)
        if not weigher.admit(
            now,
            kind,
            permitted=options.weight,
            seconds=options.weight_window,
            windows=options.windows,
            count_rejected=options.count_rejected,
        ):
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
            answer = self._info.answer(told) if isinstance(told, dict) else None
        except NotUnderstoodError:
            answer = None
        if answer is None:
            return refusal(422, "Failed to deserialize the JSON body into the target type")
        self._charge(host, kind, answer)
        return Response(200, orjson.dumps(answer.body), fault=fault)

    def _charge(self, host: str, kind: str, answer: Answer) -> None:
        self._requests.weigher(host).charge(
            self._clock(),
            kind,
            surcharge(kind, answer.items),
            seconds=self.options.weight_window,
            windows=self.options.windows,
        )

    async def _control(self, verb: str, path: str, query: Mapping[str, str], body: bytes) -> Response:
        """The sandbox's own paths; they weigh nothing."""
        try:
            told: dict[str, Any] = orjson.loads(body) if body else {}
            if not isinstance(told, dict):
                raise OptionError("the body has to be an object")
            if (verb, path) == ("GET", "/__truth"):
                answer: object = self._truth.told(query)
            elif verb == "POST" and path in self._commands:
                answer = await self._commands[path](self, told)
            else:
                return refusal(404, f"{verb} {path}: no path of the sandbox")
        except (KeyError, TypeError, ValueError) as error:
            return refusal(400, str(error))
        return Response(200, orjson.dumps(answer))

    async def _change(self, told: Mapping[str, Any]) -> object:
        self.options = self.options.changed(told)
        self._set.set()
        return {"set": sorted(told)}

    async def _pause(self, _told: Mapping[str, Any]) -> object:
        return await self._change({"paused": True})

    async def _resume(self, _told: Mapping[str, Any]) -> object:
        return await self._change({"paused": False})

    async def _play(self, told: Mapping[str, Any]) -> object:
        """So many trades now, in blocks of the usual size, or of `block` trades each."""
        left, size = int(told.get("n", 1)), int(told.get("block", 0)) or self._block_size()
        before = self.world.played
        while left > 0:
            block = self.world.play(min(left, size))
            left -= len(block)
            self._deliver(block)
        await self.stream.drained()
        return {"trades": self.world.played - before, "time": self.world.time}

    async def _trade(self, told: Mapping[str, Any]) -> object:
        block = self.world.trade(told["trades"])
        self._deliver(block)
        return {"time": block.time, "tids": [trade.tid for trades in block.trades.values() for trade in trades]}

    async def _leverage(self, told: Mapping[str, Any]) -> object:
        return {"time": self.world.set_leverage(told).time}

    async def _transfer(self, told: Mapping[str, Any]) -> object:
        return {"time": self.world.transfer(told).time}

    async def _finish(self, _told: Mapping[str, Any]) -> object:
        self.finish()
        await self.stream.drained()
        return {"trades": self.world.played, "time": self.world.time}

    async def _reset(self, _told: Mapping[str, Any]) -> object:
        """Forget all requests and what they weighed; not the market."""
        self._requests = Requests()
        return {}

    async def _fault(self, told: Mapping[str, Any]) -> object:
        """Something goes wrong now: with one connection, or with all."""
        kind, number = told["kind"], told.get("connection")
        if kind == "storm":
            self._faults.storm(self._clock(), float(told.get("seconds", self.options.storm_seconds)))
            return {"storm": True}
        chosen = [each for each in self.stream.connections.values() if each.alive and number in (None, each.number)]
        for connection in chosen:
            if kind == "stall":
                connection.stall()
            elif kind == "close":
                await connection.close(int(told.get("code", 1006)), str(told.get("reason", "fault")))
            elif kind == "replay":
                for coin in sorted(connection.coins):
                    self.stream.replay(connection, coin, int(told.get("n", 10)))
            elif kind == "send":
                connection.tell("told", str(told["message"]).encode())
            else:
                raise OptionError("kind: storm, stall, close, replay or send")
        return {"connections": [each.number for each in chosen]}

    _commands = {
        "/__set": _change,
        "/__pause": _pause,
        "/__resume": _resume,
        "/__play": _play,
        "/__trade": _trade,
        "/__leverage": _leverage,
        "/__transfer": _transfer,
        "/__finish": _finish,
        "/__reset": _reset,
        "/__fault": _fault,
    }

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

    def finish(self) -> None:
        """Stop the market for good, after every coin was traded once more."""
        if not self.world.finished:
            self._deliver(self.world.last_block())
            self._set.set()

    def _deliver(self, block: Block) -> None:
        if self.options.stream_delay > 0:
            asyncio.get_running_loop().call_later(self.options.stream_delay, self.stream.deliver, block)
        else:
            self.stream.deliver(block)
        if self.stream.follows_users:
            self.stream.tell_users()

    def _block_size(self) -> int:
        return max(1, round(min(self.options.rate, 1e6) * self.options.block_ms / 1000))

    def _stands_still(self) -> bool:
        return self.options.paused or self.stream.subscribed < self.options.await_subscriptions

    async def run(self) -> None:
        """Let the market run, and go wrong what is to go wrong, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run_market())
            group.create_task(self._misbehave())

    async def _run_market(self) -> None:
        loop = asyncio.get_running_loop()
        due, before = 0.0, loop.time()
        while not self.world.finished:
            if self._stands_still():
                self._set.clear()
                self.stream.changed.clear()
                waiting = [asyncio.ensure_future(each.wait()) for each in (self._set, self.stream.changed)]
                try:
                    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for each in waiting:
                        each.cancel()
                due, before = 0.0, loop.time()
                continue
            options, now = self.options, loop.time()
            due = (
                min(due + options.rate * (now - before), max(options.rate * CATCH_UP, 1.0))
                if not isinf(options.rate)
                else 1e9
            )
            before = now
            due -= await self._blocks_due(due)
            if options.trades and self.world.played >= options.trades:
                self.finish()
            await self.stream.drained()
            await asyncio.sleep(0 if isinf(options.rate) else max(0.0, now + options.block_ms / 1000 - loop.time()))

    async def _blocks_due(self, due: float) -> int:
        """Let so many trades happen; gives how many did."""
        before, limit = self.world.played, self.options.trades
        left = int(min(due, limit - before)) if limit else int(due)
        if not self.world.prepared:
            if left > 0:
                self._deliver(self.world.play(left))
            return self.world.played - before
        while self.world.prepared and left >= len(self.world.prepared[-1]) and not self._stands_still():
            self._deliver(self.world.play(0))
            left = left - len(self.world.blocks[-1])
            await self.stream.drained()
            # Requests and messages are heard between two blocks.
            await asyncio.sleep(0)
        return self.world.played - before

    async def _misbehave(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            await self.stream.misbehave(LOOK)
