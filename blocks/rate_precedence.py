"""Lets a heavy request have its turn among light ones, where requests have weights.

Within a process those who wait are served first come, first served; lighter ones go before the first in line only where
that hardly delays it, and so use the rest of a window that is too small for it. Between processes it is whoever comes
first when room is made; and light requests of one would take each bit of it for as long as they go on, before there is
enough for a heavy one of another. So a process whose first in line was overtaken for a while claims the next room: a
row of weight nothing among the requests in flight. Until it has been served nobody else is granted anything. One claim
stands at a time; that of a dead process goes as its requests do.
"""

import math

from blocks.rate_mirror import Request
from blocks.rate_window import RateLog

#: How long after its time the first in line may be overtaken, in seconds.
PATIENCE_SECONDS = 0.25
#: By how much lighter ones of its own process may delay the first in line, all together, in seconds.
DELAY_SECONDS = 1.0
CLAIM_WEIGHT = 0


class Precedence:
    """What one process knows of who is next on one route."""

    def __init__(self) -> None:
        self._due: float | None = None

    def served(self) -> None:
        """The first in line had its turn, or nobody waits."""
        self._due = None

    def allows(self, moment: float) -> bool:
        """Whether the first in line, for which there was to be room at a time, may have it at this one."""
        return self._due is None or moment <= self._due + DELAY_SECONDS

    def waits(self, clock: float, earliest: float) -> None:
        """The first in line must wait.

        Args:
            clock: the route's, now.
            earliest: when there is room if nobody else takes it.
        """
        if self._due is None:
            # Where only an answer makes room, nobody can tell when it comes.
            self._due = max(clock, earliest) if earliest < math.inf else clock

    def overtaken(self, clock: float) -> bool:
        """Whether the first in line has waited for too long after it might have had its turn."""
        return self._due is not None and clock > self._due + PATIENCE_SECONDS


def claim_on(log: RateLog[Request]) -> Request | None:
    """The claim that stands."""
    return next((request for request in log.requests() if log.weight_of(request) == CLAIM_WEIGHT), None)
