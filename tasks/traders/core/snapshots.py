"""What the exchange says of a trader's positions at a moment, and the rows in which that waits to be reconciled."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from sqlalchemy import case, func
from sqlmodel import Session

from tasks.foundation.core.upsert import upsert_rows
from tasks.traders.core.positions import plain
from tasks.traders.core.tables import Poll, Snapshot

#: What the columns of `Position` hold.
_MOST_LEVERAGE, _LONGEST_TYPE = 2**31 - 1, 16


class SnapshotPosition(NamedTuple):
    """A position as a snapshot shows it."""

    coin: str
    #: Signed: long above 0, short below.
    szi: Decimal
    entry_px: Decimal | None = None
    #: `cross` or `isolated`.
    leverage_type: str | None = None
    leverage: int | None = None
    liquidation_px: Decimal | None = None


class UnreadablePositionError(ValueError):
    """What should be a position is none: it lacks its coin or size, or a number is none that a column holds."""


def positions_of(state: object) -> tuple[SnapshotPosition, ...]:
    """The positions of a state in any form they come in; flat ones are left out.

    Args:
        state: a `clearinghouseState` as the exchange's JSON or as the client's answer, rows of `Position`, or
            `SnapshotPosition`s; None is a trader without positions.

    Raises:
        UnreadablePositionError: a position lacks coin or size, or a number is none.
    """
    if state is None:
        return ()
    listed = _field(state, "assetPositions", "asset_positions")
    if listed is None:
        if isinstance(state, Mapping):
            return ()
        listed = state
    if not isinstance(listed, Iterable) or isinstance(listed, str | bytes):
        raise UnreadablePositionError("positions are no list")
    read = (_read(_field(one, "position") or one) for one in listed)
    return tuple(position for position in read if position.szi)


def _field(of: Any, *names: str) -> Any:
    for name in names:
        found = of.get(name) if isinstance(of, Mapping) else getattr(of, name, None)
        if found is not None:
            return found
    return None


def _number(value: Any, name: str) -> Decimal:
    try:
        number = Decimal(value) if isinstance(value, Decimal | int) else Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise UnreadablePositionError(f"{name} is no number")
    return plain(number)


def _read(position: Any) -> SnapshotPosition:
    if isinstance(position, SnapshotPosition):
        return position
    coin, szi = _field(position, "coin"), _field(position, "szi")
    if not isinstance(coin, str) or szi is None:
        raise UnreadablePositionError("a position without coin or size")
    entry, liquidation = _field(position, "entryPx", "entry_px"), _field(position, "liquidationPx", "liquidation_px")
    leverage, kind = _field(position, "leverage"), _field(position, "leverage_type")
    if leverage is not None and not isinstance(leverage, int):
        leverage, kind = _field(leverage, "value"), _field(leverage, "type")
    # What waits as JSON is written by somebody else later, with all others: one that no column holds would stop them.
    if leverage is not None and not 0 <= int(leverage) <= _MOST_LEVERAGE:
        raise UnreadablePositionError("leverage is no number of times")
    return SnapshotPosition(
        coin=coin,
        szi=_number(szi, "szi"),
        entry_px=None if entry is None else _number(entry, "entryPx"),
        leverage_type=None if kind is None else str(kind)[:_LONGEST_TYPE],
        leverage=None if leverage is None else int(leverage),
        liquidation_px=None if liquidation is None else _number(liquidation, "liquidationPx"),
    )


def to_json(positions: Iterable[SnapshotPosition]) -> str:
    """Positions as they stand in a `Snapshot` row: numbers as digits, none lost."""
    return json.dumps(
        [
            [value if value is None or isinstance(value, str | int) else format(value, "f") for value in position]
            for position in sorted(positions, key=lambda position: position.coin)
        ],
        separators=(",", ":"),
    )


def from_json(text: str) -> dict[str, SnapshotPosition]:
    """The positions of a `Snapshot` row, by coin."""
    read: dict[str, SnapshotPosition] = {}
    for coin, szi, entry_px, leverage_type, leverage, liquidation_px in json.loads(text):
        read[coin] = SnapshotPosition(
            coin,
            Decimal(szi),
            None if entry_px is None else Decimal(entry_px),
            leverage_type,
            leverage,
            None if liquidation_px is None else Decimal(liquidation_px),
        )
    return read


def add_snapshot(
    session: Session,
    trader_id: int,
    dex: str,
    time: int,
    account_value: Decimal | None,
    positions: Sequence[SnapshotPosition],
    now: datetime,
) -> None:
    """Keep what a poll brought until `reconcile` takes it, and note in the trader's `Poll` that it succeeded.

    On PostgreSQL, a transaction that adds several goes through them in the order of trader and dex, as `reconcile`
    does; else the two could each wait for the other.

    Args:
        session: the transaction; nothing is committed.
        trader_id: whose.
        dex: on which dex; "" is the exchange's own.
        time: the snapshot's own time, exchange milliseconds.
        account_value: None where the answer has none.
        positions: all that are not flat (`positions_of`).
        now: when it was fetched.
    """
    session.add(
        Snapshot(
            trader_id=trader_id,
            dex=dex,
            time=time,
            fetched_at=now,
            account_value=account_value,
            positions=to_json(position for position in positions if position.szi),
        )
    )
    poll = Poll(
        trader_id=trader_id, dex=dex, snapshot_time=time, polled_at=now, account_value=account_value
    ).model_dump()
    upsert_rows(session, Poll, [poll], key=("trader_id", "dex"), update=_polled)


def _polled(new: Any) -> Mapping[str, Any]:
    table: Any = Poll
    known = func.coalesce(table.snapshot_time, 0)
    newest = new["snapshot_time"] >= known
    return {
        "snapshot_time": case((newest, new["snapshot_time"]), else_=known),
        "account_value": case((newest, new["account_value"]), else_=table.account_value),
        "polled_at": new["polled_at"],
        "due_at": None,
        "failures": 0,
        "reason": None,
    }
