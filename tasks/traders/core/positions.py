"""The algebra of one position: what a trade makes of it, and what kind of change that is.

Sizes are signed: above 0 long, below 0 short. Everything is exact but averages and results, which keep
`PRICE_DIGITS` significant digits. A price that is not known stays unknown in everything that follows from it.
"""

from collections.abc import Iterable, Iterator
from decimal import Context, Decimal
from typing import NamedTuple

from tasks.traders.core.tables import Change

ZERO = Decimal(0)
#: The exchange's own prices have five or six digits; averages of them are kept far beyond what a sum could show.
PRICE_DIGITS = 20
_PRICES = Context(prec=PRICE_DIGITS)
#: Products of a price and a size, and their sums, lose nothing in so many digits.
_EXACT = Context(prec=80)


class PositionState(NamedTuple):
    """One position of one coin."""

    szi: Decimal = ZERO
    #: Average; None where part of the position is older than what is known, or it is flat.
    entry_px: Decimal | None = None
    #: Result of what was closed of it since it was opened; None where not known, or it is flat.
    realised: Decimal | None = None
    opened_time: int | None = None


FLAT = PositionState()


class SizeChange(NamedTuple):
    """How one netted trade changed a position; the columns of the same names in `PositionEvent` say what they mean."""

    change: Change
    size_before: Decimal
    size_after: Decimal
    entry_px: Decimal | None
    exit_px: Decimal | None
    realised: Decimal | None


class PublicTrade(NamedTuple):
    """What matters of a trade."""

    time: int
    coin: str
    tid: int
    px: Decimal
    sz: Decimal
    buyer_id: int | None
    seller_id: int | None


class Net(NamedTuple):
    """What all trades of one trader in one coin and block come to; never 0."""

    trader_id: int
    time: int
    coin: str
    #: Signed: bought above 0.
    size: Decimal
    #: Weighted by size, over the trades on the side that remains.
    px: Decimal
    #: The lowest of them.
    tid: int


def plain(number: Decimal) -> Decimal:
    """The same number with no digits that say nothing, and no exponent."""
    # Adding 0 writes the exponent out that `normalize` gives whole hundreds.
    return _EXACT.add(number.normalize(_EXACT), ZERO) if number else ZERO


def total(sizes: Iterable[Decimal]) -> Decimal:
    """Their sum. Python's own would round to 28 digits, and so would its minus sign; the exchange may write 48."""
    found = ZERO
    for size in sizes:
        found = _EXACT.add(found, size)
    return found


def size_change(before: Decimal, after: Decimal) -> Change | None:
    """What kind of change a pair of signed sizes is; None where they are equal."""
    if before == after:
        return None
    if not before:
        return Change.OPEN
    if not after:
        return Change.CLOSE
    if (before > 0) != (after > 0):
        return Change.FLIP
    return Change.INCREASE if abs(after) > abs(before) else Change.DECREASE


def average_px(parts: Iterable[tuple[Decimal, Decimal]]) -> Decimal:
    """Average price of (size, px) pairs whose sizes have one sign and do not add up to 0."""
    size_of_all = cost = ZERO
    for size, px in parts:
        size_of_all = _EXACT.add(size_of_all, size)
        cost = _EXACT.fma(size, px, cost)
    return plain(_PRICES.divide(cost, size_of_all))


def realised_by(entry_px: Decimal | None, exit_px: Decimal, closed: Decimal) -> Decimal | None:
    """Result of closing a part of a position.

    Args:
        entry_px: its average entry.
        exit_px: at what it was closed.
        closed: what was closed, signed as the position was.
    """
    if entry_px is None:
        return None
    return plain(_PRICES.multiply(_EXACT.subtract(exit_px, entry_px), closed))


def apply_trade(state: PositionState, size: Decimal, px: Decimal, time: int) -> tuple[PositionState, SizeChange | None]:
    """What a trade makes of a position.

    An increase averages the entry by size, a decrease keeps it, a flip closes all there was and opens the rest at the
    trade's price.

    Args:
        state: the position before.
        size: signed: bought above 0.
        px: at what price.
        time: of the trade.

    Returns:
        The position afterwards, and the change; None for a size of 0.
    """
    before = state.szi
    after = plain(_EXACT.add(before, size))
    change = size_change(before, after)
    if change is None:
        return state, None
    entry = state.entry_px
    if change is Change.OPEN:
        return PositionState(after, px, ZERO, time), SizeChange(change, before, after, px, None, None)
    if change is Change.INCREASE:
        entry = None if entry is None else average_px(((before, entry), (size, px)))
        return state._replace(szi=after, entry_px=entry), SizeChange(change, before, after, entry, None, None)
    gain = realised_by(entry, px, before if change is not Change.DECREASE else size.copy_negate())
    if change is Change.CLOSE:
        return FLAT, SizeChange(change, before, after, entry, px, gain)
    if change is Change.FLIP:
        return PositionState(after, px, ZERO, time), SizeChange(change, before, after, px, px, gain)
    gained = None if state.realised is None or gain is None else plain(_PRICES.add(state.realised, gain))
    return state._replace(szi=after, realised=gained), SizeChange(change, before, after, entry, px, gain)


def netted(trades: Iterable[PublicTrade]) -> Iterator[Net]:
    """Net the trades of each trader, coin and block: an order that sweeps the book is one change.

    Within a block trades have no order that we know, and netting needs none. Who trades with himself has changed
    nothing, as has who bought and sold the same in one block.

    Args:
        trades: ordered by time and coin; their order within a block and coin does not matter.

    Yields:
        In the order of time, coin and trader.
    """
    block: dict[int, list[PublicTrade]] = {}
    at: tuple[int, str] | None = None
    for trade in trades:
        if (trade.time, trade.coin) != at:
            yield from _nets(block)
            block, at = {}, (trade.time, trade.coin)
        if trade.buyer_id == trade.seller_id:
            continue
        for trader_id in (trade.buyer_id, trade.seller_id):
            if trader_id is not None:
                block.setdefault(trader_id, []).append(trade)
    yield from _nets(block)


def _nets(block: dict[int, list[PublicTrade]]) -> Iterator[Net]:
    for trader_id in sorted(block):
        trades = block[trader_id]
        first = trades[0]
        if len(trades) == 1:
            size = first.sz if first.buyer_id == trader_id else first.sz.copy_negate()
            if size:
                yield Net(trader_id, first.time, first.coin, size, first.px, first.tid)
            continue
        signed = [(trade.sz if trade.buyer_id == trader_id else trade.sz.copy_negate(), trade.px) for trade in trades]
        size = total(part for part, _ in signed)
        if size:
            # Both sides together would give prices at which nobody traded, below 0 among them.
            px = average_px((part, px) for part, px in signed if (part > 0) == (size > 0) and part)
            yield Net(trader_id, first.time, first.coin, size, px, min(trade.tid for trade in trades))
