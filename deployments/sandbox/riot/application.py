"""The ASGI application: keys, limits, faults and latency before the endpoints, and the sandbox's own `__` paths."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson

from deployments.sandbox.riot.buckets import Buckets, Verdict
from deployments.sandbox.riot.corpus import Corpus
from deployments.sandbox.riot.corpus_players import MAIN, Player
from deployments.sandbox.riot.endpoints import Answers, Call, RefusalError, error_body, find_endpoint
from deployments.sandbox.riot.faults import Faults
from deployments.sandbox.riot.options import OptionError, SandboxOptions, as_json
from deployments.sandbox.riot.responses import Receive, Response, Send, found, read_body, respond
from deployments.sandbox.riot.truth import REFUSED, Record, Register, account, accounts, expected


class Sandbox:
    """The ASGI application."""

    def __init__(self, options: SandboxOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self.options = options
        self.corpus = Corpus(options)
        self._clock = clock
        self._answers = Answers(self.corpus)
        self._buckets = Buckets()
        self._faults = Faults(options.seed)
        self._register = Register()
        #: 429s in a row by key, and keys that had too many.
        self._in_a_row: Counter[str] = Counter()
        self._blacklisted: set[str] = set()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']}: only HTTP is spoken here")
        headers = {name.lower(): value for name, value in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        if scope["path"].startswith("/__"):
            body = await read_body(receive)
            response = self._control(scope["method"], scope["path"], query, body)
        else:
            # Not the decoded path: a name may have an encoded slash.
            path = scope["raw_path"].decode("latin-1")
            response = await self._riot(scope["method"], path, query, headers)
        await respond(response, b"gzip" in headers.get(b"accept-encoding", b""), receive, send, self.options)

    async def _riot(self, verb: str, path: str, query: Mapping[str, str], headers: Mapping[bytes, bytes]) -> Response:
        route, _, rest = path.removeprefix("/").partition("/")
        key = headers.get(b"x-riot-token", b"").decode("latin-1") or query.get("api_key", "")
        await asyncio.sleep(self._faults.latency(self.options))
        try:
            self._check_key(key)
            if verb != "GET":
                raise RefusalError(405, "Method not allowed")
            endpoint, parts = find_endpoint(route, "/" + rest)
        except RefusalError as refusal:
            self._register.record(key, route, REFUSED).statuses[str(refusal.status)] += 1
            response = Response(refusal.status, error_body(refusal.status, refusal.message))
        else:
            call = Call(key, route, parts, query, self.options)
            record = self._register.record(key, route, endpoint.method)
            response = self._limited(endpoint.method, call, record)
        await asyncio.sleep(self._faults.latency(self.options))
        return response

    def _check_key(self, key: str) -> None:
        if not key:
            raise RefusalError(401, "Unauthorized")
        if key not in self.options.keys or self.options.expired or key in self._blacklisted:
            raise RefusalError(403, "Forbidden")

    def _limited(self, method: str, call: Call, record: Record) -> Response:
        """Count a request; then refuse it, spoil it or answer it."""
        options, now = self.options, self._clock()
        verdict = self._buckets.hit(
            now,
            key=call.key,
            route=call.route,
            method=method,
            app=options.app,
            per_method=options.method[method],
            mode=options.windows,
        )
        headers = self._rate_headers(verdict)
        rejected_by = verdict.rejected_by
        if rejected_by is not None:
            record.rejected.append(now)
            record.limits[rejected_by] += 1
            self._punish(call.key)
            headers += (("X-Rate-Limit-Type", rejected_by),)
            if options.retry_after:
                headers += (("Retry-After", str(verdict.retry_after)),)
            return self._refused(record, 429, "Rate limit exceeded", headers)
        record.admitted.append(now)
        fault = self._faults.draw(options)
        if fault is not None and fault.kind == "service_429":
            record.limits["service"] += 1
            self._punish(call.key)
            return self._refused(record, 429, "Service rate limit exceeded", headers)
        self._in_a_row[call.key] = 0
        if fault is not None and fault.kind == "error":
            record.statuses[str(fault.status)] += 1
            if fault.html:
                return Response(fault.status, fault.body().encode(), content_type=b"text/html")
            return Response(fault.status, error_body(fault.status, "Internal server error"))
        if fault is not None and fault.kind == "broken":
            record.statuses["broken"] += 1
            return Response(0, b"", fault=fault)
        try:
            body = self._answers.of(method, call)
        except RefusalError as refusal:
            return self._refused(record, refusal.status, refusal.message, headers)
        record.statuses["truncated" if fault is not None and fault.kind == "truncated" else "200"] += 1
        return found(body, headers, fault)

    def _punish(self, key: str) -> None:
        self._in_a_row[key] += 1
        if 0 < self.options.blacklist_after <= self._in_a_row[key]:
            self._blacklisted.add(key)

    def _refused(self, record: Record, status: int, message: str, headers: tuple[tuple[str, str], ...]) -> Response:
        record.statuses[str(status)] += 1
        return Response(status, error_body(status, message), headers=headers)

    def _rate_headers(self, verdict: Verdict) -> tuple[tuple[str, str], ...]:
        if not self.options.rate_headers:
            return ()
        found: list[tuple[str, str]] = []
        for name, reading in (("X-App-Rate-Limit", verdict.application), ("X-Method-Rate-Limit", verdict.method)):
            order = self._faults.order(len(reading.limits), self.options)
            found.append((name, ",".join(reading.limits[place] for place in order)))
            found.append((f"{name}-Count", ",".join(reading.counts[place] for place in order)))
        return tuple(found)

    def _control(self, verb: str, path: str, query: Mapping[str, str], body: bytes) -> Response:
        """The sandbox's own paths; they need no key and count nowhere."""
        try:
            told: dict[str, Any] = orjson.loads(body) if body else {}
            if not isinstance(told, dict):
                raise OptionError("the body has to be an object")
            if (verb, path) == ("GET", "/__truth"):
                answer: object = self.truth(query.get("key"), query.get("riot_id"), times=query.get("times") == "1")
            elif (verb, path) == ("POST", "/__reset"):
                answer = self.reset()
            elif (verb, path) == ("POST", "/__set"):
                answer = self.set(told)
            elif (verb, path) == ("POST", "/__play"):
                answer = self.play(int(told.get("n", 1)), told.get("riot_id"), at=told.get("at"))
            elif (verb, path) == ("POST", "/__rename"):
                answer = self.rename(str(told["game_name"]), str(told["tag_line"]), told.get("riot_id"))
            else:
                return Response(404, error_body(404, f"{verb} {path}: no path of the sandbox"))
        except (OptionError, KeyError, TypeError, ValueError) as error:
            return Response(400, error_body(400, str(error)))
        return Response(200, orjson.dumps(answer))

    def ready(self, port: int) -> dict[str, Any]:
        """What a client has to know."""
        key = self.options.keys[0]
        return {
            "host": "127.0.0.1",
            "port": port,
            "base_url": f"http://127.0.0.1:{port}/{{route}}",
            "key": key,
            "player": account(self.corpus, key, self.corpus.players.everyone[MAIN]),
            "accounts": accounts(self.corpus, key),
        }

    def truth(self, key: str | None = None, riot_id: str | None = None, *, times: bool = False) -> dict[str, Any]:
        """Requests so far (of one key or all), and a player's matches and statistics.

        Raises:
            OptionError: nobody is called so.
        """
        name = key or self.options.keys[0]
        told = {
            **self._register.told(key),
            "clock": self._clock(),
            "options": as_json(self.options),
            "accounts": accounts(self.corpus, name),
            "player": expected(self.corpus, self._answers, name, self._player(riot_id)),
        }
        return {**told, "times": self._register.times(key)} if times else told

    def reset(self) -> dict[str, Any]:
        """Forget all requests: counters, buckets, blacklist, and how often late matches were asked for."""
        self._register.clear()
        self._buckets.clear()
        self._in_a_row.clear()
        self._blacklisted.clear()
        self._answers.forget()
        return {}

    def set(self, told: Mapping[str, object]) -> dict[str, Any]:
        """Change options at run time.

        Raises:
            OptionError: not these, or not to that.
        """
        self.options = self.options.changed(told)
        self.corpus.options = self.options
        return {"set": sorted(told)}

    def play(self, count: int, riot_id: str | None = None, *, at: int | None = None) -> dict[str, Any]:
        """Let a player play; gives the new matches, newest first.

        Unless a moment (milliseconds) is given at which the last one starts, that is about now and after all matches
        there are, for who syncs asks for what came since. With a moment in the past, old games turn up late in lists.
        """
        played = self.corpus.calendar.play(self._player(riot_id).index, count, at)
        return {"match_ids": [outline.match_id for outline in played]}

    def rename(self, game_name: str, tag_line: str, riot_id: str | None = None) -> dict[str, Any]:
        """Give a player another Riot ID; matches already played keep the old one."""
        player = self._player(riot_id)
        bearer = self.corpus.players.by_riot_id(game_name, tag_line)
        if bearer not in (None, player):
            raise OptionError("that Riot ID is taken")
        self.corpus.players.rename(player, game_name, tag_line, since=self.corpus.calendar.last + 1)
        return account(self.corpus, self.options.keys[0], player)

    def _player(self, riot_id: str | None) -> Player:
        if riot_id is None:
            return self.corpus.players.everyone[MAIN]
        game_name, _, tag_line = riot_id.rpartition("#")
        player = self.corpus.players.by_riot_id(game_name, tag_line)
        if player is None:
            raise OptionError("nobody is called so")
        return player
