"""An exchange with one trader's past, which answers as the real one is documented to and can fail at any request."""

from typing import Any, TypeVar

import msgspec

from blocks.exchange.answers import LedgerUpdate, Portfolio, PortfolioPeriod, UserFill, UserFunding

R = TypeVar("R", UserFill, UserFunding, LedgerUpdate)

HOUR = 3_600_000
#: 2026-01-01, a midnight.
START = 20_454 * 24 * HOUR


class StoppedError(Exception):
    """Stands for a kill: nothing after it happens."""


class HistoryExchange:
    """Gives pages as the real one does; `fills` and so on are what there is, in any order."""

    def __init__(self, *, page: int = 2000, newest_first: bool = False) -> None:
        self.fills: list[UserFill] = []
        self.payments: list[UserFunding] = []
        self.updates: list[LedgerUpdate] = []
        self.periods: dict[str, PortfolioPeriod] = {}
        self.page = page
        self.most_fills = 10_000
        self.newest_first = newest_first
        #: Requests until it raises `failure`; None: never.
        self.left: int | None = None
        self.failure: Exception = StoppedError()
        self.asked: list[tuple[str, int]] = []

    def _count(self, kind: str, start: int) -> None:
        if self.left == 0:
            raise self.failure
        if self.left is not None:
            self.left -= 1
        self.asked.append((kind, start))

    def _page(self, rows: list[R], start: int, end: int | None, page: int) -> list[R]:
        found = [row for row in sorted(rows, key=lambda row: row.time) if start <= row.time]
        found = [row for row in found if end is None or row.time <= end]
        return found[::-1][:page] if self.newest_first else found[:page]

    async def user_fills_by_time(self, user: str, start_time: int, end_time: int | None = None) -> list[UserFill]:
        self._count("fills", start_time)
        newest = sorted(self.fills, key=lambda fill: fill.time)[-self.most_fills :]
        return self._page(newest, start_time, end_time, self.page)

    async def user_funding(self, user: str, start_time: int, end_time: int | None = None) -> list[UserFunding]:
        self._count("funding", start_time)
        return self._page(self.payments, start_time, end_time, min(self.page, 500))

    async def user_ledger_updates(self, user: str, start_time: int, end_time: int | None = None) -> list[LedgerUpdate]:
        self._count("updates", start_time)
        return self._page(self.updates, start_time, end_time, min(self.page, 500))

    async def portfolio(self, user: str) -> Portfolio:
        self._count("portfolio", 0)
        return Portfolio(self.periods)


def fill(hours: float, tid: int | None, side: str = "B", start: str = "0", **changed: Any) -> UserFill:
    """A fill of size 1, so many hours after START."""
    told = {
        "coin": "BTC",
        "px": "100",
        "sz": "1",
        "side": side,
        "time": START + round(hours * HOUR),
        "startPosition": start,
        "dir": "Open Long",
        "closedPnl": "0",
        "fee": "0.1",
        "feeToken": "USDC",
        "tid": tid,
        **changed,
    }
    return msgspec.convert(told, UserFill, strict=False)


def payment(hours: float, usdc: str, coin: str = "BTC") -> UserFunding:
    """A payment of funding."""
    told = {
        "time": START + round(hours * HOUR),
        "hash": "0x0",
        "delta": {"coin": coin, "usdc": usdc, "type": "funding"},
    }
    return msgspec.convert(told, UserFunding, strict=False)


def deposit(hours: float, usdc: str) -> LedgerUpdate:
    """A deposit."""
    told = {"time": START + round(hours * HOUR), "hash": f"0x{hours}", "delta": {"type": "deposit", "usdc": usdc}}
    return msgspec.convert(told, LedgerUpdate, strict=False)


def period(*points: tuple[float, str, str]) -> PortfolioPeriod:
    """A period of a portfolio from (hours, value, result)."""
    times = [START + round(hours * HOUR) for hours, _, _ in points]
    told = {
        "accountValueHistory": [(time, value) for time, (_, value, _) in zip(times, points, strict=True)],
        "pnlHistory": [(time, pnl) for time, (_, _, pnl) in zip(times, points, strict=True)],
    }
    return msgspec.convert(told, PortfolioPeriod, strict=False)
