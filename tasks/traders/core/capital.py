"""Returns of times in which money came and went: what was won is measured against the money it was won with.

A time between two moments at which the account's worth is known, `Span`, has the worth at its beginning, the result in
it, and the deposits and withdrawals within. Its return is

* of a gain: gain / the **most** money that was there (worth at the beginning and the highest sum of deposits less
  withdrawals so far). Nothing that comes or goes can make a gain look larger than it was: neither a withdrawal after a
  lucky trade, nor a deposit that is there for the trade only, which deposits less withdrawals of the whole time do not
  show.
* of a loss: loss / the money that was there **on average over time** (modified Dietz). A deposit after the loss
  does not dilute it, and an account that is emptied in the evening has not lost everything at noon.

Spans are linked, so that money which comes or goes at a moment that is known leaves returns as they are: exactly, not
nearly. Nothing is lost below -1.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

#: Money that came (positive) or went: milliseconds and USD.
Flow = tuple[int, float]


@dataclass(frozen=True, slots=True)
class Span:
    """The time from one known moment to the next.

    Attributes:
        begin: milliseconds; what came at this very moment is in `equity`.
        end: milliseconds; what came at this very moment is in the next one's `equity`, and in these `flows`.
        equity: USD at its beginning.
        pnl: result within, in USD.
        flows: after `begin`, up to `end`, in order of time.
        unexplained: money that came or went at a moment that nothing tells.
    """

    begin: int
    end: int
    equity: float
    pnl: float
    flows: tuple[Flow, ...] = ()
    unexplained: float = 0.0

    @property
    def most(self) -> float:
        """The most money that was there, the result aside."""
        highest = capital = self.equity
        for capital in self._levels():
            highest = max(highest, capital)
        return highest + max(self.unexplained, 0.0)

    def _levels(self) -> Iterable[float]:
        capital = self.equity
        for time, amount in self.flows:
            if time < self.end:
                capital += amount
                yield capital

    def average(self, minimum: float) -> float:
        """The money that was there on average, over the time in which there was any to speak of.

        Args:
            minimum: USD below which there was none.
        """
        area = duration = 0.0
        capital, since = self.equity + self.unexplained / 2, self.begin
        for time, amount in (*self.flows, (self.end, 0.0)):
            if capital >= minimum:
                area += capital * (min(time, self.end) - since)
                duration += min(time, self.end) - since
            capital, since = capital + amount, min(time, self.end)
        return area / duration if duration else max(self.most, minimum)

    def ret(self, minimum: float) -> float:
        """The return; the most money is at least `minimum`."""
        if self.pnl >= 0:
            return self.pnl / self.most
        return max(self.pnl / self.average(minimum), -1.0)


def linked_return(spans: Sequence[Span], *, minimum: float) -> float | None:
    """The return of consecutive spans: prod(1 + r) - 1.

    What was won or lost with too little money to be measured against counts with the next span that has enough, or at
    the end with the one before: nobody makes a bad day go away by a cent's trade with an emptied account.

    Args:
        spans: in order, each from where the one before ended.
        minimum: USD, above 0.

    Returns:
        At least -1; None where the money was never enough.
    """
    measured: list[Span] = []
    left = 0.0
    for span in spans:
        if span.most >= minimum:
            measured.append(replace(span, pnl=span.pnl + left))
            left = 0.0
        else:
            left += span.pnl
    if not measured:
        return None
    measured[-1] = replace(measured[-1], pnl=measured[-1].pnl + left)
    return math.prod(1.0 + span.ret(minimum) for span in measured) - 1.0
