"""The first snapshot of a trader on a dex: counted back to the first trade that is stored, then played forward.

What a trader held before we saw its first trade is what it holds in the snapshot, less what it traded in between. Who
held nothing has an event for everything it ever did; who held something has events for what it did with it, at a size
that is known and, where no later snapshot could tell, at an entry that is not.

Counting back needs every trade in between. Where that is not sure (a coin that is not followed, a gap that could not be
filled, a snapshot later than the stream) it is believed only if it comes out at exactly nothing; else the position
begins with what comes after.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal

from tasks.traders.core.book import Book
from tasks.traders.core.changes import PositionChange
from tasks.traders.core.coins import dex_of
from tasks.traders.core.positions import FLAT, ZERO, Net, PositionState, plain, realised_by, total
from tasks.traders.core.snapshots import SnapshotPosition
from tasks.traders.core.tables import Change

#: Of a coin: gaps that could not be filled, as the times of the trades before and after them.
Holes = Mapping[str, Sequence[tuple[int, int | None]]]


def start_from(
    book: Book,
    trader_id: int,
    dex: str,
    time: int,
    snapshot: Mapping[str, SnapshotPosition],
    nets: Sequence[Net],
    *,
    followed: AbstractSet[str],
    holes: Holes,
) -> None:
    """Make positions and events of a trader's first snapshot on a dex.

    Args:
        book: where they go.
        trader_id: whose.
        dex: where.
        time: of the snapshot.
        snapshot: the positions it shows, by coin.
        nets: all that the trader is known to have traded on the dex: up to the snapshot, and what was applied of
            others since.
        followed: coins of which all trades are known up to the snapshot, but for `holes`.
        holes: where trades may be missing.
    """
    traded: dict[str, list[Net]] = defaultdict(list)
    for net in nets:
        traded[net.coin].append(net)
    # Of an earlier baseline, where its poll was cleaned away.
    held_before = (coin for coin in book.coins(trader_id) if dex_of(coin) == dex)
    for coin in sorted({*snapshot, *traded, *held_before}):
        shown = snapshot.get(coin, SnapshotPosition(coin, ZERO))
        before = [net for net in traded[coin] if net.time <= time]
        base, replayed = _count_back(shown.szi, before, time, known=coin in followed, holes=holes.get(coin, ()))
        held = book.held(trader_id, coin)
        held.state = PositionState(szi=base) if base else FLAT
        held.changed_time = time
        first = len(book.changes)
        for net in replayed:
            book.apply(net)
        if held.state.szi and held.state.entry_px is None:
            held.state = held.state._replace(entry_px=shown.entry_px)
            book.changes[first:] = _with_entry(book.changes[first:], shown.entry_px)
        held.leverage_type, held.leverage = shown.leverage_type, shown.leverage
        held.liquidation_px = shown.liquidation_px
        book.touch(trader_id, coin)
        for net in traded[coin]:
            if net.time > time:
                book.apply(net)


def _count_back(
    szi: Decimal, nets: Sequence[Net], time: int, *, known: bool, holes: Sequence[tuple[int, int | None]]
) -> tuple[Decimal, Sequence[Net]]:
    """The size before, and the trades that made of it what the snapshot shows."""
    if total(net.size for net in nets) == szi:
        return ZERO, nets
    if not known:
        return szi, ()
    ends = (time + 1 if end is None else min(end, time + 1) for begin, end in holes if begin < time)
    since = max(ends, default=0)
    sure = [net for net in nets if net.time >= since]
    return plain(total((szi, *(net.size.copy_negate() for net in sure)))), sure


def _with_entry(changes: Sequence[PositionChange], entry_px: Decimal | None) -> list[PositionChange]:
    """The changes that led to a position, told its average entry: as far back as it was the same."""
    told = list(changes)
    for index in reversed(range(len(told))):
        change = told[index]
        if entry_px is None or change.change not in (Change.INCREASE, Change.DECREASE):
            break
        if change.change is Change.INCREASE:
            told[index] = change._replace(entry_px=entry_px)
            break
        closed = total((change.size_before, change.size_after.copy_negate()))
        gain = None if change.exit_px is None else realised_by(entry_px, change.exit_px, closed)
        told[index] = change._replace(entry_px=entry_px, realised=gain)
    return told
