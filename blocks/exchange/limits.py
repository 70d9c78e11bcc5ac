"""What requests to `/info` weigh: https://hyperliquid.gitbook.io/hyperliquid-docs, "Rate limits and user limits".

An answer with many items weighs more than its request: how many there will be is known only afterwards. A request
therefore reserves the most that it may weigh, and what was too much is given back when it is answered.
"""

from collections.abc import Sized
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from blocks.rate_window import AnswerLimits

#: Routes of an address in its ledger: weight of `/info`, connections made to the WebSocket, messages sent there.
INFO_ROUTE = "info"
CONNECTIONS_ROUTE = "ws-connections"
MESSAGES_ROUTE = "ws-messages"


class Permit(Protocol):
    """Leave to send one request now."""

    def finished(self, limits: AnswerLimits | None = None, weight: int | None = None) -> None:
        """It was answered, or will not be. A second call does nothing."""

    def withdraw(self) -> None:
        """It was never sent."""


class WeightLimiter(Protocol):
    """Gives leave to send: `blocks.rate_ledger.RateLedger`, or a stand-in."""

    async def __aenter__(self) -> object:
        """Begin."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End."""

    async def acquire(self, *, route: str, method: str, weight: int = 1) -> Permit:
        """Wait until a request of this weight may be sent."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request.

    Attributes:
        name: its `type`.
        weight: of a request whose answer holds no items.
        items_a_weight: how many items of an answer weigh one more; None where items weigh nothing.
        most_items: that one answer holds.
    """

    name: str
    weight: int = 20
    items_a_weight: int | None = None
    most_items: int = 0

    @property
    def most(self) -> int:
        """The most that it may weigh."""
        return self.weighed(self.most_items)

    def weighed(self, items: int) -> int:
        """What it weighed, given the items of its answer. The exchange rounds it knows how: a part counts as one."""
        return self.weight + (-(-items // self.items_a_weight) if self.items_a_weight else 0)

    def weight_of(self, answer: object) -> int:
        """What a request weighed that was answered so."""
        return self.weighed(len(answer) if self.items_a_weight and isinstance(answer, Sized) else 0)


CLEARINGHOUSE_STATE = Kind("clearinghouseState", 2)
ALL_MIDS = Kind("allMids", 2)
EXCHANGE_STATUS = Kind("exchangeStatus", 2)
META = Kind("meta")
PORTFOLIO = Kind("portfolio")
USER_FILLS_BY_TIME = Kind("userFillsByTime", 20, 20, 2000)
USER_FUNDING = Kind("userFunding", 20, 20, 500)
USER_LEDGER_UPDATES = Kind("userNonFundingLedgerUpdates", 20, 20, 500)
# How many it gives is not documented; those that give a range of time give 500.
RECENT_TRADES = Kind("recentTrades", 20, 20, 500)
CANDLE_SNAPSHOT = Kind("candleSnapshot", 20, 60, 5000)
