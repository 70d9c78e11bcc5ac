"""The WebSocket side: subscriptions and their limits, and blocks sent to who subscribed."""

import asyncio
import json
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected

from deployments.sandbox.exchange.connection import GREETING, Connection
from deployments.sandbox.exchange.faults import Faults
from deployments.sandbox.exchange.fills import Fill
from deployments.sandbox.exchange.limits import Window
from deployments.sandbox.exchange.options import ExchangeOptions
from deployments.sandbox.exchange.responses import Receive, Send
from deployments.sandbox.exchange.tape import Block, Trade, frames_of, trades_message, written

#: Subscriptions that name a user; only fills carry data here.
USER_TYPES = ("userFills", "userFundings", "userEvents", "orderUpdates", "userNonFundingLedgerUpdates")
#: Closed connections that the truth remembers.
REMEMBERED = 10_000
#: Fills that the first message of a subscription holds at most.
SNAPSHOT_FILLS = 2000


class Stream:
    """All connections."""

    def __init__(
        self,
        options: Callable[[], ExchangeOptions],
        faults: Faults,
        addresses: Sequence[str],
        coins: Sequence[str],
        fills: Callable[[str], list[Fill] | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options, self._faults, self._addresses = options, faults, addresses
        self._fills, self._clock = fills, clock
        self.connections: dict[int, Connection] = {}
        self.past: deque[Connection] = deque(maxlen=REMEMBERED)
        self.refused: Counter[str] = Counter()
        self.opened = 0
        #: Set at every change of what is subscribed.
        self.changed = asyncio.Event()
        self.recent: dict[str, deque[tuple[int, Trade]]] = {
            coin: deque(maxlen=max(options().recent, 1000)) for coin in coins
        }
        self._new: dict[str, Window] = defaultdict(Window)
        self._messages: dict[str, Window] = defaultdict(Window)

    @property
    def subscribed(self) -> int:
        """Subscriptions on connections that are alive."""
        return sum(len(each.subscriptions) for each in self.connections.values() if each.alive)

    def of_host(self, host: str) -> list[Connection]:
        """A client address' living connections."""
        return [each for each in self.connections.values() if each.host == host and each.alive]

    async def serve(self, host: str, path: str, receive: Receive, send: Send) -> None:
        """Serve one connection to its end."""
        options, now = self._options(), self._clock()
        self.opened += 1
        connection = Connection(self.opened, host, receive, send, now)
        new = self._new[host]
        if path != "/ws":
            await connection.refuse(404, "")
            return
        if len(self.of_host(host)) >= options.connections:
            refused = "connections"
        elif new.used(now, options.ws_window, options.windows) >= options.new_connections:
            refused = "new_connections"
        else:
            refused = None
        if refused is not None:
            self.refused[refused] += 1
            await connection.refuse(429, "Too many connections")
            return
        new.use(now, 1)
        self.connections[connection.number] = connection
        try:
            await connection.accept(options.buffer_bytes)
            if options.greeting:
                connection.tell("greeting", GREETING)
            await self._listen(connection)
        except ClientDisconnected:
            connection.reason = connection.reason or "lost"
        finally:
            connection.closed = self._clock()
            del self.connections[connection.number]
            self.past.append(connection)
            self.changed.set()

    async def _listen(self, connection: Connection) -> None:
        while True:
            left = connection.heard + self._options().idle_seconds - self._clock()
            try:
                message = await connection.message(max(0.0, left))
            except TimeoutError:
                if self._clock() - connection.heard >= self._options().idle_seconds and connection.alive:
                    await connection.close(1000, "Inactive")
                    connection.heard = float("inf")
                elif not connection.alive:
                    connection.heard = float("inf")
                continue
            if message is None:
                return
            connection.heard = self._clock()
            self._hear(connection, message)

    def _hear(self, connection: Connection, message: str) -> None:
        options, now = self._options(), self._clock()
        window = self._messages[connection.host]
        if window.used(now, options.ws_window, options.windows) >= options.messages:
            self.refused["messages"] += 1
            connection.answer("error", "error", "Too many websocket messages.")
            return
        window.use(now, 1)
        try:
            told = json.loads(message)
            method = told["method"]
            subscription = told["subscription"] if method in ("subscribe", "unsubscribe") else {}
            if method not in ("ping", "subscribe", "unsubscribe") or not isinstance(subscription, dict):
                raise ValueError(method)
        except (ValueError, KeyError, TypeError):
            connection.answer("error", "error", f"Error parsing JSON into valid websocket request: {message}")
            return
        if method == "ping":
            connection.tell("pong", b'{"channel":"pong"}')
        elif method == "subscribe":
            self._subscribe(connection, subscription)
        else:
            self._unsubscribe(connection, subscription)

    def _subscribe(self, connection: Connection, subscription: dict[str, Any]) -> None:
        key, text = _key(subscription), json.dumps(subscription, separators=(",", ":"))
        kind, user = subscription.get("type"), str(subscription.get("user", "")).lower()
        here = self.of_host(connection.host)
        fills = self._fills(user) if kind in USER_TYPES else None
        if fills is None and not (kind == "trades" and subscription.get("coin") in self.recent):
            refused, text = "invalid", f"Invalid subscription {text}"
        elif key in connection.subscriptions:
            refused, text = "double", f"Already subscribed: {text}"
        elif sum(len(each.subscriptions) for each in here) >= self._options().subscriptions:
            refused, text = "subscriptions", f"Cannot subscribe to more than {self._options().subscriptions} channels."
        elif fills is not None and self._too_many_users(here, user):
            refused, text = "users", f"Cannot track more than {self._options().users} total users."
        else:
            refused = None
        if refused is not None:
            self.refused[refused] += 1
            connection.answer("error", "error", text)
            return
        connection.subscriptions[key] = subscription
        connection.answer("ack", "subscriptionResponse", {"method": "subscribe", "subscription": subscription})
        if kind == "trades":
            connection.coins.add(subscription["coin"])
            self.replay(connection, subscription["coin"], self._options().replay)
        elif fills is not None and kind == "userFills":
            connection.users[self._addresses.index(user)] = len(fills)
            newest = [fill.as_json() for fill in fills[-SNAPSHOT_FILLS:]]
            connection.answer("user", "userFills", {"isSnapshot": True, "user": user, "fills": newest})
        self.changed.set()

    def _too_many_users(self, here: Sequence[Connection], user: str) -> bool:
        tracked = {each.get("user", "").lower() for one in here for each in one.subscriptions.values()} - {""}
        return user not in tracked and len(tracked) >= self._options().users

    def _unsubscribe(self, connection: Connection, subscription: dict[str, Any]) -> None:
        if connection.subscriptions.pop(_key(subscription), None) is None:
            text = json.dumps(subscription, separators=(",", ":"))
            connection.answer("error", "error", f"Already unsubscribed: {text}")
            return
        connection.coins.discard(str(subscription.get("coin")))
        connection.answer("ack", "subscriptionResponse", {"method": "unsubscribe", "subscription": subscription})
        self.changed.set()

    def replay(self, connection: Connection, coin: str, count: int) -> None:
        """Send a coin's newest trades again."""
        newest = list(self.recent[coin])[-count:] if count else []
        if newest:
            connection.tell(
                "replay", trades_message(written(trade, str(time), self._addresses) for time, trade in newest)
            )
            connection.sent["trades"] += len(newest)

    def deliver(self, block: Block) -> None:
        """Send a block's trades to who subscribed."""
        options = self._options()
        alive = [each for each in self.connections.values() if each.alive and each.coins]
        wanted = set().union(*(each.coins for each in alive)).intersection(block.trades)
        frames = frames_of(block, wanted, self._addresses)
        for connection in alive:
            here = [coin for coin in frames if coin in connection.coins]
            if not here or not connection.write(b"".join(frames[coin] for coin in here)):
                continue
            connection.sent["frames"] += len(here)
            connection.sent["trades"] += sum(len(block.trades[coin]) for coin in here)
            block.sent.update(here)
            self._spoil(connection, block, here)
        for coin, trades in block.trades.items():
            self.recent[coin].extend((block.time, trade) for trade in trades[-options.recent * 10 :])

    def _spoil(self, connection: Connection, block: Block, coins: Sequence[str]) -> None:
        options, time = self._options(), str(block.time)
        for coin in coins:
            good = partial(written, block.trades[coin][-1], time, self._addresses)
            for kind, message in self._faults.extra_messages(options, good):
                connection.tell(kind, message.encode())
                connection.sent["trades"] += kind == "malformed_trade"

    def tell_users(self) -> None:
        """Send new fills to who subscribed to a user's."""
        for connection in list(self.connections.values()):
            for user, told in connection.users.items():
                fills = self._fills(self._addresses[user]) or []
                if len(fills) > told:
                    connection.users[user] = len(fills)
                    news = [fill.as_json() for fill in fills[told:]]
                    connection.answer("user", "userFills", {"user": self._addresses[user], "fills": news})

    @property
    def follows_users(self) -> bool:
        """Whether anybody subscribed to a user's fills."""
        return any(each.users for each in self.connections.values())

    async def drained(self) -> None:
        """Wait for slow clients, or close them."""
        options = self._options()
        for connection in [each for each in self.connections.values() if each.alive]:
            if options.slow_client == "wait":
                await connection.drained()
            elif connection.unread > options.buffer_bytes:
                await connection.close(1006, "too slow")

    async def misbehave(self, seconds: float) -> None:
        """Let connections fall silent or be closed at random, after so much time."""
        options, random = self._options(), self._faults.random
        for connection in [each for each in self.connections.values() if each.alive]:
            if random.random() < options.stall_rate * seconds:
                connection.stall()
                self.changed.set()
            elif random.random() < options.drop_rate * seconds:
                await connection.close(random.choice((1000, 1006)), "fault")

    def told(self) -> Mapping[str, Any]:
        """For the truth."""
        everybody = [*self.past, *self.connections.values()]
        sent: Counter[str] = Counter()
        for each in everybody:
            sent.update(each.sent)
        return {
            "opened": self.opened,
            "open": len(self.connections),
            "refused": dict(sorted(self.refused.items())),
            "sent": dict(sorted(sent.items())),
            "list": [each.told() for each in everybody],
        }


def _key(subscription: Mapping[str, Any]) -> str:
    same = {
        name: value.lower() if name == "user" and isinstance(value, str) else value
        for name, value in subscription.items()
    }
    return json.dumps(same, sort_keys=True)
