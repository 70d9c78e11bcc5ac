"""What a trader did before the market opened: rows as the exchange tells them, and what its account was worth when."""

from bisect import bisect_right
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from itertools import accumulate
from typing import Any

from deployments.sandbox.exchange.fills import ZERO, Fill, Holding

DAY = 86_400_000
HOUR = 3_600_000

Amounts = list[tuple[int, Decimal]]


@dataclass
class Past:
    """One trader's; all lists begin with the oldest.

    At most one position is open at a time. Between two `marks` its price moves in a straight line, so that an account
    has a worth at every moment.
    """

    fills: list[Fill] = field(default_factory=list)
    fundings: list[dict[str, Any]] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    #: Money that came (above 0) and went; results, fees and funding.
    flows: Amounts = field(default_factory=list)
    results: Amounts = field(default_factory=list)
    #: Size and entry after each time at which they changed, and prices of what is held.
    states: list[tuple[int, Decimal, Decimal]] = field(default_factory=list)
    marks: Amounts = field(default_factory=list)
    #: What is still open at its end, by coin.
    open: dict[str, Holding] = field(default_factory=dict)

    @property
    def created(self) -> int | None:
        """When the first money came; None for who has no past."""
        return self.flows[0][0] if self.flows else None

    @property
    def cash(self) -> Decimal:
        """USDC at its end, an open position aside."""
        return sum((usdc for _, usdc in [*self.flows, *self.results]), ZERO)

    def flow(self, time: int) -> Decimal:
        """What had come and gone, that moment's included."""
        return _until(self._flow_sums, time)

    def worth(self, time: int) -> Decimal:
        """What the account was worth at a moment, everything at that moment included."""
        return self.flow(time) + self.result(time)

    def result(self, time: int) -> Decimal:
        """What trading had brought by then, what is not realised included."""
        return _until(self._result_sums, time) + self._unrealised(time)

    @cached_property
    def _flow_sums(self) -> tuple[list[int], list[Decimal]]:
        return _sums(self.flows)

    @cached_property
    def _result_sums(self) -> tuple[list[int], list[Decimal]]:
        return _sums(self.results)

    def _unrealised(self, time: int) -> Decimal:
        place = bisect_right(self.states, time, key=lambda state: state[0])
        if not place or not self.states[place - 1][1]:
            return ZERO
        _, szi, entry = self.states[place - 1]
        return (self._mark(time) - entry) * szi

    def _mark(self, time: int) -> Decimal:
        place = bisect_right(self.marks, time, key=lambda mark: mark[0])
        before, px = self.marks[place - 1]
        if place == len(self.marks):
            return px
        after, then = self.marks[place]
        return px + (then - px) * (time - before) / (after - before)


def _sums(amounts: Amounts) -> tuple[list[int], list[Decimal]]:
    return [time for time, _ in amounts], list(accumulate(usdc for _, usdc in amounts))


def _until(sums: tuple[list[int], list[Decimal]], time: int) -> Decimal:
    place = bisect_right(sums[0], time)
    return sums[1][place - 1] if place else ZERO
