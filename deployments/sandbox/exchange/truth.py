"""`GET /__truth`: what really happened, in parts."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from deployments.sandbox.exchange.coins import plain
from deployments.sandbox.exchange.limits import Weigher
from deployments.sandbox.exchange.options import ExchangeOptions, OptionError, as_json
from deployments.sandbox.exchange.past_truth import days, round_trips
from deployments.sandbox.exchange.responses import Response
from deployments.sandbox.exchange.streaming import Stream
from deployments.sandbox.exchange.world import World

#: What is told unless parts are asked for.
USUAL = ("market", "coins", "requests", "connections")


class Requests:
    """What `/info` was asked, by client address."""

    def __init__(self) -> None:
        self.weighers: dict[str, Weigher] = {}
        self.by_type: Counter[str] = Counter()
        self.by_status: Counter[str] = Counter()
        #: 429s: for the weight, and by the fault.
        self.limited = 0
        self.faulty_429 = 0

    def weigher(self, host: str) -> Weigher:
        """The weigher of a client address."""
        return self.weighers.setdefault(host, Weigher())

    def count(self, response: Response) -> None:
        """Count an answer, or that there was none."""
        spoilt = response.fault.kind if response.fault is not None else ""
        self.by_status[spoilt if spoilt in ("broken", "truncated") else str(response.status)] += 1

    def told(self) -> dict[str, Any]:
        """Counts, and the weight by client address."""
        weights = {
            host: {
                "weight": sum(use.weight for use in weigher.uses if use.admitted),
                "rejected_weight": sum(use.weight for use in weigher.uses if not use.admitted),
                "peak": weigher.peak,
            }
            for host, weigher in self.weighers.items()
        }
        return {
            "requests": self.by_status.total(),
            "weight": sum(each["weight"] for each in weights.values()),
            "by_type": dict(sorted(self.by_type.items())),
            "by_status": dict(sorted(self.by_status.items())),
            "http_429": {"weight": self.limited, "fault": self.faulty_429},
            "hosts": weights,
        }


class Truth:
    """Tells it."""

    def __init__(
        self, world: World, stream: Stream, requests: Callable[[], Requests], options: Callable[[], ExchangeOptions]
    ) -> None:
        self._world, self._stream = world, stream
        self._requests, self._options = requests, options
        self._parts: dict[str, Callable[[Mapping[str, str]], Any]] = {
            "market": self._market,
            "coins": self._coins,
            "requests": lambda query: self._requests().told(),
            "connections": lambda query: self._stream.told(),
            "options": lambda query: as_json(self._options()),
            "uses": self._uses,
            "traders": self._traders,
            "trades": self._trades,
            "changes": self._changes,
            "leverages": self._leverages,
            "positions": self._positions,
            "days": lambda query: self._by_user(
                query, lambda index: days(self._world.past(index), self._world.pasts.end)
            ),
            "round_trips": lambda query: self._by_user(query, self._round_trips),
            "fills": lambda query: self._by_user(
                query, lambda index: [fill.as_json() for fill in self._world.fills(index) if fill.time >= _since(query)]
            ),
            "funding": lambda query: self._by_user(query, self._world.fundings),
            "updates": lambda query: self._by_user(query, self._world.updates),
        }

    def told(self, query: Mapping[str, str]) -> dict[str, Any]:
        """The parts that are asked for, of one user or coin, or from a time on.

        Raises:
            OptionError: there is no such part.
        """
        names = query["parts"].split(",") if query.get("parts") else USUAL
        unknown = sorted(set(names) - set(self._parts))
        if unknown:
            raise OptionError(f"parts: {', '.join(unknown)}: there are {', '.join(self._parts)}")
        return {name: self._parts[name](query) for name in names}

    def _market(self, _query: Mapping[str, str]) -> dict[str, Any]:
        world = self._world
        return {
            "start": world.start,
            "time": world.time,
            "blocks": len(world.blocks),
            "trades": world.played,
            "prepared": sum(map(len, world.prepared)),
            "finished": world.finished,
            "paused": self._options().paused,
        }

    def _coins(self, _query: Mapping[str, str]) -> dict[str, Any]:
        found: dict[str, dict[str, Any]] = {
            name: {"trades": 0, "unsent": 0, "first_time": None, "last_time": None} for name in self._world.coins
        }
        for block in self._world.blocks:
            for coin, trades in block.trades.items():
                here = found[coin]
                here["trades"] += len(trades)
                here["unsent"] += 0 if coin in block.sent else len(trades)
                here["first_time"] = here["first_time"] or block.time
                here["last_time"] = block.time
        return found

    def _uses(self, _query: Mapping[str, str]) -> dict[str, Any]:
        return {host: [asdict(use) for use in each.uses] for host, each in self._requests().weighers.items()}

    def _traders(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        return [asdict(self._world.population.trader(index)) for index in self._chosen(query)]

    def _trades(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        user, addresses = query.get("user", "").lower(), self._world.addresses
        return [
            {
                "time": block.time,
                "coin": trade.coin,
                "tid": trade.tid,
                "side": trade.side,
                "px": trade.px,
                "sz": trade.sz,
                "buyer": addresses[trade.buyer],
                "seller": addresses[trade.seller],
                "liquidation": trade.liquidation,
                "sent": trade.coin in block.sent,
            }
            for block in self._world.blocks
            if block.time >= _since(query)
            for coin in sorted(block.trades)
            if query.get("coin", coin) == coin
            for trade in block.trades[coin]
            if not user or user in (addresses[trade.buyer], addresses[trade.seller])
        ]

    def _changes(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        return _matching(self._world.ledger().changes, query)

    def _leverages(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        return _matching(self._world.ledger().leverage_changes, query)

    def _positions(self, query: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        accounts = self._world.ledger().accounts
        return {
            self._world.addresses[index]: {
                coin: {
                    "szi": plain(holding.szi),
                    "entry_px": plain(holding.entry),
                    "opened_time": holding.opened_time,
                    "realised": plain(holding.realised),
                }
                for coin, holding in sorted(accounts[index].holdings.items())
                if holding.szi and not self._world.coins[coin].is_spot and query.get("coin", coin) == coin
            }
            for index in self._chosen(query)
            if index in accounts
        }

    def _days(self, index: int) -> list[dict[str, Any]]:
        return days(self._world.past(index), self._world.pasts.end)

    def _fills(self, index: int, since: int) -> list[dict[str, Any]]:
        return [fill.as_json() for fill in self._world.fills(index) if fill.time >= since]

    def _round_trips(self, index: int) -> list[dict[str, Any]]:
        return round_trips(self._world.fills(index), self._world.fundings(index))

    def _by_user(self, query: Mapping[str, str], of: Callable[[int], Any]) -> dict[str, Any]:
        return {self._world.addresses[index]: of(index) for index in self._chosen(query)}

    def _chosen(self, query: Mapping[str, str]) -> list[int]:
        if not query.get("user"):
            return list(range(len(self._world.addresses)))
        found = self._world.index(query["user"])
        if found is None:
            raise OptionError(f"{query['user']}: nobody has this address")
        return [found]


def _since(query: Mapping[str, str]) -> int:
    return int(query.get("since", 0))


def _matching(rows: list[dict[str, Any]], query: Mapping[str, str]) -> list[dict[str, Any]]:
    user, coin = query.get("user", "").lower(), query.get("coin")
    return [
        row
        for row in rows
        if row["time"] >= _since(query) and (not user or row["user"] == user) and coin in (None, row["coin"])
    ]
