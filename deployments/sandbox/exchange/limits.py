"""What one IP address may do: weight of requests, and connections, subscriptions and messages of the WebSocket."""

from collections import deque
from dataclasses import dataclass
from typing import Literal

from deployments.sandbox.exchange.options import ExchangeOptions

#: Weight of a request, as documented; all others cost `OTHER`.
WEIGHTS = {
    "l2Book": 2,
    "allMids": 2,
    "clearinghouseState": 2,
    "orderStatus": 2,
    "spotClearinghouseState": 2,
    "exchangeStatus": 2,
    "userRole": 60,
}
OTHER = 20
#: Requests whose answers cost one more for each so many items.
PER_ITEM = ("recentTrades", "userFills", "userFillsByTime", "userFunding", "userNonFundingLedgerUpdates")
ITEMS = 20


def weight_of(kind: str) -> int:
    """What a request costs before it is answered."""
    return WEIGHTS.get(kind, OTHER)


def surcharge(kind: str, items: int) -> int:
    """What its answer costs on top."""
    return items // ITEMS if kind in PER_ITEM else 0


class Window:
    """How much was used in the last so many seconds (sliding), or since the window's first use (fixed)."""

    def __init__(self) -> None:
        self._uses: deque[tuple[float, int]] = deque()
        self._sum = 0
        self._began = float("-inf")

    def used(self, now: float, seconds: float, kind: Literal["fixed", "sliding"]) -> int:
        """What counts now."""
        if kind == "fixed":
            if now - self._began >= seconds:
                self._uses.clear()
                self._sum = 0
            return self._sum
        while self._uses and now - self._uses[0][0] >= seconds:
            self._sum -= self._uses.popleft()[1]
        return self._sum

    def use(self, now: float, amount: int) -> None:
        """Count something."""
        if not self._uses:
            self._began = now
        self._uses.append((now, amount))
        self._sum += amount


@dataclass
class Use:
    """One request that was weighed, for the truth."""

    at: float
    kind: str
    weight: int
    admitted: bool


class Weigher:
    """The weight of one address."""

    def __init__(self) -> None:
        self._window = Window()
        #: Every request, in order; surcharges are entries of their own.
        self.uses: list[Use] = []
        #: The most that ever counted at once, surcharges included.
        self.peak = 0

    def admit(self, now: float, kind: str, options: ExchangeOptions) -> bool:
        """Weigh a request; whether it may pass. One whose weight exceeds what is left does not."""
        weight = weight_of(kind)
        admitted = self._window.used(now, options.weight_window, options.windows) + weight <= options.weight
        self.uses.append(Use(now, kind, weight, admitted))
        if admitted or options.count_rejected:
            self._count(now, weight, options)
        return admitted

    def charge(self, now: float, kind: str, weight: int, options: ExchangeOptions) -> None:
        """Count what an answer cost on top; that may exceed what is permitted, and then later requests wait for it."""
        if weight:
            self.uses.append(Use(now, kind, weight, admitted=True))
            self._count(now, weight, options)

    def _count(self, now: float, weight: int, options: ExchangeOptions) -> None:
        # What is over has to be forgotten first: it may not begin a window anew.
        used = self._window.used(now, options.weight_window, options.windows)
        self._window.use(now, weight)
        self.peak = max(self.peak, used + weight)
