"""The sandbox's own paths under `/__`: what really happened, and what is to happen now."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from deployments.sandbox.exchange.connection import Connection
from deployments.sandbox.exchange.options import OptionError
from deployments.sandbox.exchange.responses import Response, refusal

if TYPE_CHECKING:
    from deployments.sandbox.exchange.application import Exchange

Told = Mapping[str, Any]


class Commands:
    """Does what is told; that weighs nothing."""

    def __init__(self, exchange: "Exchange") -> None:
        self._exchange = exchange
        self._by_path: dict[str, Callable[[Told], Awaitable[object]]] = {
            "/__set": self._set,
            "/__pause": lambda told: self._set({"paused": True}),
            "/__resume": lambda told: self._set({"paused": False}),
            "/__play": self._play,
            "/__trade": self._trade,
            "/__leverage": self._leverage,
            "/__transfer": self._transfer,
            "/__finish": self._finish,
            "/__reset": self._reset,
            "/__fault": self._fault,
        }

    async def answer(self, verb: str, path: str, query: Mapping[str, str], body: bytes) -> Response:
        """Answer a request to one of the paths; 400 says what cannot be."""
        try:
            told: dict[str, Any] = orjson.loads(body) if body else {}
            if not isinstance(told, dict):
                raise OptionError("the body has to be an object")
            if (verb, path) == ("GET", "/__truth"):
                answer: object = self._exchange.truth.told(query)
            elif verb == "POST" and path in self._by_path:
                answer = await self._by_path[path](told)
            else:
                return refusal(404, f"{verb} {path}: no path of the sandbox")
        except (KeyError, TypeError, ValueError) as error:
            return refusal(400, f"{type(error).__name__}: {error}")
        return Response(200, orjson.dumps(answer))

    async def _set(self, told: Told) -> object:
        exchange = self._exchange
        exchange.options = exchange.options.changed(told)
        exchange.pace.changed.set()
        return {"set": sorted(told)}

    async def _play(self, told: Told) -> object:
        played = await self._exchange.pace.play(int(told.get("n", 1)), int(told.get("block", 0)))
        return {"trades": played, "time": self._exchange.world.time}

    async def _trade(self, told: Told) -> object:
        block = self._exchange.world.trade(told["trades"])
        self._exchange.pace.deliver(block)
        return {"time": block.time, "tids": [trade.tid for trades in block.trades.values() for trade in trades]}

    async def _leverage(self, told: Told) -> object:
        return {"time": self._exchange.world.set_leverage(told).time}

    async def _transfer(self, told: Told) -> object:
        return {"time": self._exchange.world.transfer(told).time}

    async def _finish(self, _told: Told) -> object:
        self._exchange.pace.finish()
        await self._exchange.stream.drained()
        return {"trades": self._exchange.world.played, "time": self._exchange.world.time}

    async def _reset(self, _told: Told) -> object:
        self._exchange.forget_requests()
        return {}

    async def _fault(self, told: Told) -> object:
        """Something goes wrong now: with one connection, or with all."""
        kind, number = told["kind"], told.get("connection")
        if kind == "storm":
            self._exchange.storm(float(told.get("seconds", self._exchange.options.storm_seconds)))
            return {"connections": []}
        if kind not in ("stall", "close", "replay", "send"):
            raise OptionError("kind: storm, stall, close, replay or send")
        everybody = list(self._exchange.stream.connections.values())
        chosen = [each for each in everybody if each.alive and number in (None, each.number)]
        for connection in chosen:
            await self._spoil(connection, kind, told)
        self._exchange.stream.changed.set()
        return {"connections": [each.number for each in chosen]}

    async def _spoil(self, connection: Connection, kind: str, told: Told) -> None:
        if kind == "stall":
            connection.stall()
        elif kind == "close":
            await connection.close(int(told.get("code", 1006)), str(told.get("reason", "fault")))
        elif kind == "replay":
            for coin in sorted(connection.coins):
                self._exchange.stream.replay(connection, coin, int(told.get("n", 10)))
        else:
            connection.tell("told", str(told["message"]).encode())
