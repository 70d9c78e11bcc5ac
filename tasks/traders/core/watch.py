"""How far each coin is known to be whole, from what the connections brought and when.

The exchange numbers nothing: that a trade is missing can be seen by nobody. But on a connection that has not broken,
what was sent came, in order. So when a time has surely passed on a connection, all trades of its coins up to then have
come. Two things show it:

- A trade that is later by `settle_seconds`, on the same connection: trades of different coins overtake each other by
  less than that. This holds however late the connection is read.
- A moment at which nothing was left to be read anywhere, and nothing had come for a while: what was traded
  `settle_seconds` before it has come. For a coin whose own connection brought no trade, trades of other connections
  tell the time as well, if its own gave any sign of life after that moment.

No database and no clock: moments are whoever calls tells, by a monotonic clock; times are the exchange's.
"""

from collections import deque
from dataclasses import dataclass, field

# So many notes are made in the time of settling; what comes in between shares one.
_NOTES = 20


@dataclass(slots=True)
class _Note:
    """Between two moments of reading, this was the newest time of any trade."""

    first: float
    last: float
    newest: int


@dataclass(slots=True)
class _Line:
    """One connection."""

    #: Coin -> when its subscription was acknowledged.
    coins: dict[str, float] = field(default_factory=dict)
    #: When the last of them was.
    since: float = float("-inf")
    own: deque[_Note] = field(default_factory=deque)
    others: deque[_Note] = field(default_factory=deque)
    newest: int = 0
    #: The last quiet moment before its last sign of life.
    proved: float = float("-inf")


class Watch:
    """Follows connections and tells up to when coins are whole.

    Args:
        settle_seconds: by how much trades overtake each other at most.
    """

    def __init__(self, settle_seconds: float) -> None:
        self._settle = settle_seconds
        self._lines: dict[int, _Line] = {}
        self._line_of: dict[str, int] = {}
        self._whole: dict[str, int] = {}
        self._quiet = float("-inf")

    def opened(self, connection: int) -> None:
        """A connection is there; none of its coins is subscribed yet."""
        self._lines[connection] = _Line()

    def subscribed(self, connection: int, coin: str, at: float) -> None:
        """From this moment on the connection brings every trade of the coin."""
        line = self._lines[connection]
        line.coins[coin] = line.since = at
        self._line_of[coin] = connection
        # Of an earlier connection: between the two something may be missing.
        self._whole.pop(coin, None)

    def refused(self, connection: int, coin: str) -> None:
        """The connection does not bring this coin."""
        self._lines[connection].coins.pop(coin, None)
        if self._line_of.get(coin) == connection:
            del self._line_of[coin]

    def heard(self, connection: int) -> None:
        """It gave a sign of life: any frame."""
        line = self._lines.get(connection)
        if line is not None:
            line.proved = self._quiet

    def traded(self, connection: int, at: float, newest: int) -> None:
        """It brought trades.

        Args:
            connection: that did.
            at: when the frame was read.
            newest: the latest time among them.
        """
        line = self._lines.get(connection)
        if line is None:
            return
        line.newest = max(line.newest, newest)
        for each in self._lines.values():
            self._note(each.own if each is line else each.others, at, newest, each.since)

    def quiet(self, at: float) -> None:
        """Everything that had come by then was read, and for a while nothing came."""
        self._quiet = max(self._quiet, at)

    def closed(self, connection: int) -> tuple[str, ...]:
        """A connection has ended.

        Returns:
            The coins that it brought; `whole` still tells how far.
        """
        self._settle_line(connection)
        line = self._lines.pop(connection, None)
        if line is None:
            return ()
        for coin in line.coins:
            self._line_of.pop(coin, None)
        return tuple(line.coins)

    def connection_of(self, coin: str) -> int | None:
        """The connection that brings a coin now."""
        return self._line_of.get(coin)

    def whole(self) -> dict[str, int]:
        """Up to when each coin is whole, of those of which anything is known."""
        for connection in self._lines:
            self._settle_line(connection)
        return dict(self._whole)

    def _note(self, notes: deque[_Note], at: float, newest: int, since: float) -> None:
        last = notes[-1] if notes else None
        # A note from before a subscription tells nothing of its coin: what comes after it needs one of its own.
        if last is not None and last.first >= since and at - last.first < self._settle / _NOTES:
            last.last, last.newest = at, max(last.newest, newest)
        else:
            notes.append(_Note(at, at, newest))

    def _settle_line(self, connection: int) -> None:
        line = self._lines.get(connection)
        if line is None:
            return
        passed = line.newest - round(self._settle * 1000)
        while line.own and (line.own[0].last + self._settle <= self._quiet or line.own[0].newest <= passed):
            self._raise(line, line.own.popleft())
        while line.others and line.others[0].last + self._settle <= line.proved:
            self._raise(line, line.others.popleft())

    def _raise(self, line: _Line, note: _Note) -> None:
        for coin, since in line.coins.items():
            if since <= note.first:
                self._whole[coin] = max(self._whole.get(coin, 0), note.newest)
