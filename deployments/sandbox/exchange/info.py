"""`POST /info`: what is asked for, checked as the exchange does, and its answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.sandbox.exchange.fills import Fill
from deployments.sandbox.exchange.portfolio import portfolio
from deployments.sandbox.exchange.states import clearinghouse_state, contexts, meta, mids, spot_state
from deployments.sandbox.exchange.tape import Trade, as_json
from deployments.sandbox.exchange.world import World

#: Fills in one answer, and how many of a user's newest ones can be had at all.
FILLS_AT_ONCE, FILLS_KEPT = 2000, 10_000
#: Rows of funding and of ledger updates in one answer.
ROWS_AT_ONCE = 500


class NotUnderstoodError(Exception):
    """A request that the exchange cannot read: it answers 422."""


@dataclass(frozen=True)
class Answer:
    """What is answered, and how many items it has for the weight."""

    body: Any
    items: int = 0


@dataclass(frozen=True)
class Info:
    """All requests by their `type`."""

    world: World
    #: A coin's newest trades, oldest first.
    recent: Callable[[str], Sequence[tuple[int, Trade]]]
    kept: int

    def answer(self, told: object) -> Answer:
        """What the exchange says.

        Raises:
            NotUnderstoodError: there is no such type, or it lacks something.
        """
        if not isinstance(told, dict):
            raise NotUnderstoodError
        found = self._by_type().get(str(told.get("type")))
        if found is None:
            raise NotUnderstoodError
        return found(told)

    def _by_type(self) -> dict[str, Callable[[Mapping[str, Any]], Answer]]:
        world = self.world
        return {
            "clearinghouseState": lambda told: Answer(self._state(told)),
            "spotClearinghouseState": lambda told: Answer(self._spot(told)),
            "userFills": lambda told: self._newest_fills(_address(told)),
            "userFillsByTime": lambda told: self._fills_by_time(_address(told), *_times(told)),
            "userFunding": lambda told: self._rows("fundings", _address(told), *_times(told)),
            "userNonFundingLedgerUpdates": lambda told: self._rows("updates", _address(told), *_times(told)),
            "portfolio": lambda told: Answer(portfolio(world, world.index(_address(told)))),
            "recentTrades": self._recent_trades,
            "allMids": lambda told: Answer(mids(world, _dex(told))),
            "meta": lambda told: Answer(meta(world, _dex(told))),
            "metaAndAssetCtxs": lambda told: Answer([meta(world, _dex(told)), contexts(world, _dex(told))]),
            "exchangeStatus": lambda told: Answer({"specialStatuses": None, "time": world.time}),
            "userRole": lambda told: Answer({"role": self._role(_address(told))}),
        }

    def _state(self, told: Mapping[str, Any]) -> dict[str, Any]:
        dex = _dex(told)
        if dex and dex not in {coin.dex for coin in self.world.coins.values()}:
            raise NotUnderstoodError
        return clearinghouse_state(self.world, self.world.index(_address(told)), dex)

    def _spot(self, told: Mapping[str, Any]) -> dict[str, Any]:
        index = self.world.index(_address(told))
        return {"balances": []} if index is None else spot_state(self.world, index)

    def _fills(self, address: str) -> list[Fill]:
        index = self.world.index(address)
        return [] if index is None else self.world.fills(index)[-FILLS_KEPT:]

    def _newest_fills(self, address: str) -> Answer:
        found = [fill.as_json() for fill in reversed(self._fills(address)[-FILLS_AT_ONCE:])]
        return Answer(found, len(found))

    def _fills_by_time(self, address: str, start: int, end: int | None) -> Answer:
        inside = (fill for fill in self._fills(address) if start <= fill.time and (end is None or fill.time <= end))
        found = [fill.as_json() for fill, _ in zip(inside, range(FILLS_AT_ONCE), strict=False)]
        return Answer(found, len(found))

    def _rows(self, what: str, address: str, start: int, end: int | None) -> Answer:
        index = self.world.index(address)
        rows: list[dict[str, Any]] = [] if index is None else getattr(self.world, what)(index)
        inside = [row for row in rows if start <= row["time"] and (end is None or row["time"] <= end)][:ROWS_AT_ONCE]
        return Answer(inside, len(inside))

    def _recent_trades(self, told: Mapping[str, Any]) -> Answer:
        coin = told.get("coin")
        if coin not in self.world.coins:
            raise NotUnderstoodError
        newest = list(self.recent(str(coin)))[-self.kept :]
        found = [as_json(trade, time, self.world.addresses) for time, trade in reversed(newest)]
        return Answer(found, len(found))

    def _role(self, address: str) -> str:
        index = self.world.index(address)
        return "missing" if index is None else self.world.population.trader(index).role


def _address(told: Mapping[str, Any]) -> str:
    address = told.get("user")
    if not isinstance(address, str) or len(address) != 42 or not address.startswith("0x"):
        raise NotUnderstoodError
    try:
        int(address[2:], 16)
    except ValueError:
        raise NotUnderstoodError from None
    return address.lower()


def _dex(told: Mapping[str, Any]) -> str:
    dex = told.get("dex") or ""
    if not isinstance(dex, str):
        raise NotUnderstoodError
    return dex


def _times(told: Mapping[str, Any]) -> tuple[int, int | None]:
    start, end = told.get("startTime"), told.get("endTime")
    if not _is_time(start) or not (end is None or _is_time(end)):
        raise NotUnderstoodError
    return int(start or 0), None if end is None else int(end)


def _is_time(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
