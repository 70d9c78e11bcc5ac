"""Which coins of a connection are subscribed, which were asked for, and which are to be asked for (again).

Time is an argument here: `connection` sends and waits, this only keeps the book.
"""

import heapq
import itertools
from collections.abc import Iterable

# A coin that is refused each time is asked for up to so many times more seldom: 30 s become 32 min.
_DOUBLINGS = 6


class Subscriptions:
    """The book of one connection.

    Args:
        coins: that are to be subscribed, in this order.
        ack_seconds: time in which the exchange must acknowledge.
        retry_seconds: first wait after a refusal; doubles.
    """

    def __init__(self, coins: Iterable[str], *, ack_seconds: float, retry_seconds: float) -> None:
        self._ack_seconds = ack_seconds
        self._retry_seconds = retry_seconds
        self._order = itertools.count()
        self._waiting = [(0.0, next(self._order), coin) for coin in coins]
        self._known = frozenset(coin for _, _, coin in self._waiting)
        self._asked: dict[str, float] = {}
        self._refusals: dict[str, int] = {}
        self._subscribed: set[str] = set()

    def due(self, now: float) -> str | None:
        """The coin to ask for now; it counts as asked for from now on."""
        while self._waiting and self._waiting[0][0] <= now:
            coin = heapq.heappop(self._waiting)[2]
            # One whose acknowledgement came late is not asked for again.
            if coin not in self._subscribed:
                self._asked[coin] = now + self._ack_seconds
                return coin
        return None

    def acknowledge(self, coin: str) -> bool:
        """The exchange says that a coin is subscribed; True where that is new."""
        if coin not in self._known or coin in self._subscribed:
            return False
        self._asked.pop(coin, None)
        self._refusals.pop(coin, None)
        self._subscribed.add(coin)
        return True

    def refuse(self, coin: str, now: float) -> float | None:
        """The exchange says no; gives the wait until it is asked for again, None where nothing was asked."""
        if self._asked.pop(coin, None) is None:
            return None
        refusals = self._refusals[coin] = self._refusals.get(coin, 0) + 1
        wait: float = self._retry_seconds * 2.0 ** min(refusals - 1, _DOUBLINGS)
        heapq.heappush(self._waiting, (now + wait, next(self._order), coin))
        return wait

    def overdue(self, now: float) -> list[str]:
        """Coins that were asked for and not answered in time."""
        return [coin for coin, deadline in self._asked.items() if deadline <= now]

    def postpone(self, now: float) -> None:
        """We did not read for a while: what is asked for has all its time from now."""
        for coin in self._asked:
            self._asked[coin] = now + self._ack_seconds

    def next_time(self) -> float | None:
        """When there is something to do next; None where there is nothing until an answer comes."""
        times = list(self._asked.values())
        if self._waiting:
            times.append(self._waiting[0][0])
        return min(times, default=None)

    def sole(self) -> str | None:
        """The only coin that is asked for: an error that names none can only be about it."""
        return next(iter(self._asked)) if len(self._asked) == 1 else None
