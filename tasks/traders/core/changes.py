"""What changed between two states of a trader's positions.

Comparing tells that a position changed and how, not at what price: the exit is unknown, and the entry is what the
states say of it.
"""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from tasks.traders.core.positions import ZERO, size_change
from tasks.traders.core.snapshots import SnapshotPosition, positions_of
from tasks.traders.core.tables import Change, Source


class PositionChange(NamedTuple):
    """One change of one position; the columns of the same names in `PositionEvent` say what they mean."""

    coin: str
    change: Change
    size_before: Decimal
    size_after: Decimal
    entry_px: Decimal | None = None
    exit_px: Decimal | None = None
    realised: Decimal | None = None
    leverage_before: int | None = None
    leverage_after: int | None = None
    leverage_type_before: str | None = None
    leverage_type_after: str | None = None
    source: Source = Source.SNAPSHOT
    time: int | None = None
    trader_id: int | None = None
    tid: int | None = None
    px: Decimal | None = None


def detect_position_changes(
    previous: object, current: object, timestamp: datetime | int | None = None, trader_id: int | None = None
) -> list[PositionChange]:
    """Compare two states of one trader; what they are made of may differ, see `positions_of`.

    A position that is kept with another leverage, or another kind of it, has a LEVERAGE change, besides that of its
    size where it has one. Leverage that either state does not tell has not changed.

    Args:
        previous: the earlier state: a `clearinghouseState` as JSON or answer, rows, or None for no positions.
        current: the later one.
        timestamp: of the later state, as a moment or in milliseconds; given to the changes.
        trader_id: given to the changes.

    Returns:
        The changes in the order of the coins, at most two of each.

    Raises:
        UnreadablePositionError: a position lacks coin or size, or a number is none.
    """
    time = round(timestamp.timestamp() * 1000) if isinstance(timestamp, datetime) else timestamp
    before = {position.coin: position for position in positions_of(previous)}
    after = {position.coin: position for position in positions_of(current)}
    changes: list[PositionChange] = []
    for coin in sorted({*before, *after}):
        flat = SnapshotPosition(coin, ZERO)
        changes += _of_coin(before.get(coin, flat), after.get(coin, flat), time, trader_id)
    return changes


def _of_coin(
    was: SnapshotPosition, now: SnapshotPosition, time: int | None, trader_id: int | None
) -> list[PositionChange]:
    change = size_change(was.szi, now.szi)
    sized = PositionChange(
        coin=was.coin,
        change=change or Change.LEVERAGE,
        size_before=was.szi,
        size_after=now.szi,
        entry_px=was.entry_px if change in (Change.CLOSE, Change.DECREASE) else now.entry_px,
        leverage_before=was.leverage,
        leverage_after=now.leverage,
        leverage_type_before=was.leverage_type,
        leverage_type_after=now.leverage_type,
        time=time,
        trader_id=trader_id,
    )
    kept = change in (None, Change.INCREASE, Change.DECREASE) and bool(was.szi)
    changes = [sized] if change else []
    if kept and _leverage_differs(was, now):
        changes.append(sized._replace(change=Change.LEVERAGE, size_before=now.szi, entry_px=now.entry_px))
    return changes


def _leverage_differs(was: SnapshotPosition, now: SnapshotPosition) -> bool:
    return (was.leverage is not None and now.leverage is not None and was.leverage != now.leverage) or (
        was.leverage_type is not None and now.leverage_type is not None and was.leverage_type != now.leverage_type
    )
