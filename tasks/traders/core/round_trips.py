"""Round trips: the lives of positions from flat to flat, with what each brought, net of fees and funding.

A flip ends one and begins the next. Fills of one coin and one millisecond (a block) are taken together, as everywhere
in this ledger, so that their order within does not matter. A life whose beginning is not known (the position was there
before the first fill that we have, or fills are missing in between) is not counted: half a trade has no result.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class TripFill:
    """What a fill of a perpetual means for its position.

    Attributes:
        start: signed size before it; None where it was not told.
        closed_pnl: before fees.
    """

    time: int
    coin: str
    side: str
    sz: Decimal
    start: Decimal | None
    closed_pnl: float
    fee: float = 0.0
    liquidated: bool = False

    @property
    def signed(self) -> Decimal:
        """Bought is positive."""
        return self.sz if self.side == "B" else -self.sz


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """A position's life from flat to flat."""

    coin: str
    opened: int
    closed: int
    net: float
    liquidated: bool


@dataclass(frozen=True, slots=True)
class Trips:
    """All round trips, by time of closing and coin.

    Attributes:
        liquidated: positions that were liquidated, wholly or in part, those included that are not counted otherwise.
    """

    trips: tuple[RoundTrip, ...]
    liquidated: int


@dataclass(slots=True)
class _Life:
    opened: int
    #: Whether it was seen from its beginning.
    whole: bool
    parts: list[float] = field(default_factory=list)
    liquidated: bool = False


def round_trips(fills: Iterable[TripFill], funding: Iterable[tuple[int, str, float]] = ()) -> Trips:
    """Find the round trips.

    Args:
        fills: of perpetuals only, in any order.
        funding: time, coin and USD (received is positive), in any order; it belongs to the position that was there.
    """
    by_coin: defaultdict[str, defaultdict[int, list[TripFill]]] = defaultdict(lambda: defaultdict(list))
    for fill in fills:
        by_coin[fill.coin][fill.time].append(fill)
    payments: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for time, coin, usdc in funding:
        payments[coin].append((time, usdc))
    found: list[RoundTrip] = []
    liquidated = 0
    for coin, groups in by_coin.items():
        one = _Coin(coin)
        waiting = sorted(payments.get(coin, ()), reverse=True)
        for time in sorted(groups):
            while waiting and waiting[-1][0] <= time:
                one.pay(waiting.pop()[1])
            one.trade(time, groups[time])
        for _, usdc in reversed(waiting):
            one.pay(usdc)
        found += one.trips
        liquidated += one.liquidated + (one.life is not None and one.life.liquidated)
    return Trips(tuple(sorted(found, key=lambda trip: (trip.closed, trip.coin))), liquidated)


class _Coin:
    def __init__(self, coin: str) -> None:
        self.coin = coin
        #: None: not known.
        self.position: Decimal | None = None
        self.life: _Life | None = None
        self.trips: list[RoundTrip] = []
        self.liquidated = 0

    def pay(self, usdc: float) -> None:
        if self.life is not None:
            self.life.parts.append(usdc)

    def trade(self, time: int, fills: Sequence[TripFill]) -> None:
        begin = self.position
        if begin is None or not any(fill.start in (None, begin) for fill in fills):
            begin = _first(fills)
            self._end(None)
            self.life = _Life(time, whole=False) if begin else None
        end = begin + sum((fill.signed for fill in fills), _ZERO)
        won = math.fsum(fill.closed_pnl for fill in fills)
        fees = math.fsum(fill.fee for fill in fills)
        if self.life is None:
            self.life = _Life(time, whole=True)
        self.life.liquidated |= any(fill.liquidated for fill in fills)
        if begin * end < 0:
            # Fees of a flip: of what is closed and of what is opened by their sizes.
            closing = float(abs(begin) / (abs(begin) + abs(end)))
            self.life.parts += [won, -fees * closing]
            self._end(time)
            self.life = _Life(time, whole=True, parts=[-fees * (1 - closing)])
        else:
            self.life.parts += [won, -fees]
            if not end:
                self._end(time)
        self.position = end

    def _end(self, time: int | None) -> None:
        """The position is closed; None: what became of it is not known."""
        life, self.life = self.life, None
        if life is None:
            return
        self.liquidated += life.liquidated
        if time is not None and life.whole:
            self.trips.append(RoundTrip(self.coin, life.opened, time, math.fsum(life.parts), life.liquidated))


def _first(fills: Sequence[TripFill]) -> Decimal:
    """The position before fills of one moment: the one from which one starts and at which none other ends."""
    ends = [fill.start + fill.signed for fill in fills if fill.start is not None]
    starts = sorted(fill.start for fill in fills if fill.start is not None)
    for start in starts:
        if start in ends:
            ends.remove(start)
        else:
            return start
    # They end where they began, and any of them may be the first.
    return starts[0] if starts and _ZERO not in starts else _ZERO
