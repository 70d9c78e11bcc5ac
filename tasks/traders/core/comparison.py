"""A later snapshot of a trader: compared, position by position, with what trades have made of them."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import NamedTuple

from sqlmodel import Session, col, select

from tasks.traders.core.book import Book, Held
from tasks.traders.core.changes import detect_position_changes
from tasks.traders.core.coins import dex_of
from tasks.traders.core.positions import FLAT, ZERO, PositionState, apply_trade, plain, size_change, total
from tasks.traders.core.snapshots import SnapshotPosition, from_json
from tasks.traders.core.tables import Change, PositionEvent, Snapshot

#: Averages that differ by more have been made of other trades: the exchange's has five or six digits.
_SAME_ENTRY = Decimal("0.001")
_ENDING = (Change.OPEN, Change.CLOSE, Change.FLIP)


class Later(NamedTuple):
    """What a trade has changed since the snapshot."""

    time: int
    size: Decimal
    px: Decimal


def compare(
    session: Session,
    book: Book,
    snapshot: Snapshot,
    *,
    reconciled_time: int,
    later: Mapping[str, Sequence[Later]],
    followed: AbstractSet[str],
) -> tuple[int, int]:
    """Put the positions right by a snapshot, with an event for each change that it alone tells.

    Args:
        session: the transaction.
        book: the positions, and where the events go.
        snapshot: of the trader.
        reconciled_time: of the snapshot before it.
        later: by coin, what has been applied that is later than the snapshot.
        followed: coins whose trades have all been applied up to the snapshot.

    Returns:
        How many positions of followed coins were compared, and how many differed.
    """
    trader_id, compared, drifted = snapshot.trader_id, 0, 0
    shown = from_json(snapshot.positions)
    coins = {coin for coin in book.coins(trader_id) if dex_of(coin) == snapshot.dex}
    for coin in sorted(coins | set(shown)):
        held, since = book.held(trader_id, coin), later.get(coin, ())
        position = shown.get(coin, SnapshotPosition(coin, ZERO))
        expected = plain(total((held.state.szi, *(change.size.copy_negate() for change in since))))
        if not expected and not position.szi:
            continue
        compared += coin in followed
        drifted += coin in followed and expected != position.szi
        _of_position(session, book, snapshot, held, position, expected, since, reconciled_time)
    return compared, drifted


def _of_position(
    session: Session,
    book: Book,
    snapshot: Snapshot,
    held: Held,
    shown: SnapshotPosition,
    expected: Decimal,
    later: Sequence[Later],
    reconciled_time: int,
) -> None:
    # With later trades in it, the average at the snapshot is not known; a decrease would have kept it.
    entry = shown.entry_px if later else held.state.entry_px
    was = SnapshotPosition(shown.coin, expected, entry, held.leverage_type, held.leverage)
    changes = detect_position_changes([was], [shown], snapshot.time, snapshot.trader_id)
    if changes and not _kept(session, book, snapshot, shown.coin, reconciled_time):
        # The leverage that is known is of an earlier position.
        was = was._replace(leverage_type=None, leverage=None)
        changes = detect_position_changes([was], [shown], snapshot.time, snapshot.trader_id)
    book.changes += changes
    if expected != shown.szi or _tells_entry(held.state, shown, bool(later)):
        held.state = _at_snapshot(held.state, shown, expected, snapshot.time)
        for change in later:
            held.state, _ = apply_trade(held.state, change.size, change.px, change.time)
    if expected != shown.szi:
        held.changed_time = max(held.changed_time, snapshot.time)
    if shown.szi:
        held.leverage_type = shown.leverage_type or held.leverage_type
        held.leverage = held.leverage if shown.leverage is None else shown.leverage
    held.liquidation_px = None if later else shown.liquidation_px
    book.touch(snapshot.trader_id, shown.coin)


def _tells_entry(state: PositionState, shown: SnapshotPosition, later: bool) -> bool:
    """Whether a snapshot of the expected size knows the entry better than we do."""
    if shown.entry_px is None or not state.szi:
        return False
    if state.entry_px is None:
        return True
    # Trades that cancel out may have been missed; the exchange's own average is then the true one.
    return not later and abs(state.entry_px - shown.entry_px) > abs(shown.entry_px) * _SAME_ENTRY


def _at_snapshot(state: PositionState, shown: SnapshotPosition, expected: Decimal, time: int) -> PositionState:
    """The position as it was at the snapshot, with what is known of its past."""
    change = size_change(expected, shown.szi)
    if change is Change.CLOSE:
        return FLAT
    if change in (Change.OPEN, Change.FLIP):
        return PositionState(shown.szi, shown.entry_px, None, time)
    opened = state.opened_time if state.opened_time is None or state.opened_time <= time else None
    return PositionState(shown.szi, shown.entry_px, None if change else state.realised, opened)


def _kept(session: Session, book: Book, snapshot: Snapshot, coin: str, since: int) -> bool:
    """Whether the position at the snapshot was already there at the one before it."""
    key = snapshot.trader_id, coin
    if any((one.trader_id, one.coin) == key and one.change in _ENDING for one in book.changes):
        return False
    ended = select(PositionEvent.number).where(
        col(PositionEvent.trader_id) == snapshot.trader_id,
        col(PositionEvent.time) > since,
        col(PositionEvent.time) <= snapshot.time,
        col(PositionEvent.coin) == coin,
        col(PositionEvent.change).in_(_ENDING),
    )
    return session.exec(ended.limit(1)).first() is None
