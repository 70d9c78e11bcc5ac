"""The positions of some traders: read together, changed in memory, and written together with the events of it."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlmodel import Session, col, select

from tasks.foundation.core.upsert import upsert_rows
from tasks.traders.core.changes import PositionChange
from tasks.traders.core.events import add_events
from tasks.traders.core.positions import FLAT, Net, PositionState, apply_trade
from tasks.traders.core.tables import Position, Source, Trader
from tasks.traders.core.tape import among

_KEY = ("trader_id", "coin")
_VALUES = tuple(name for name in Position.model_fields if name not in _KEY)


@dataclass(slots=True)
class Held:
    """A position, and what else its row says."""

    state: PositionState = FLAT
    changed_time: int = 0
    leverage_type: str | None = None
    leverage: int | None = None
    liquidation_px: Decimal | None = None


class Book:
    """The positions of some traders within one transaction that has locked the cursor of positions."""

    def __init__(self, session: Session, trader_ids: Collection[int]) -> None:
        self._session = session
        self._touched: set[tuple[int, str]] = set()
        self._held: dict[tuple[int, str], Held] = {}
        self.addresses: dict[int, str] = {}
        self.first_times: dict[int, int | None] = {}
        self.changes: list[PositionChange] = []
        if trader_ids:
            self._load(among(session, trader_ids))

    def _load(self, ids: Any) -> None:
        connection = self._session.connection()
        traders = select(Trader.id, Trader.address, Trader.first_time).where(col(Trader.id).in_(ids))
        for trader_id, address, first_time in connection.execute(traders):
            self.addresses[trader_id] = address
            self.first_times[trader_id] = first_time
        table = Position.__table__  # type: ignore[attr-defined]
        for row in connection.execute(table.select().where(table.c.trader_id.in_(ids))):
            self._held[row.trader_id, row.coin] = Held(
                state=PositionState(row.szi, row.entry_px, row.realised, row.opened_time),
                changed_time=row.changed_time,
                leverage_type=row.leverage_type,
                leverage=row.leverage,
                liquidation_px=row.liquidation_px,
            )

    def coins(self, trader_id: int) -> list[str]:
        """The coins of which a trader has or had a position."""
        return [coin for held_by, coin in self._held if held_by == trader_id]

    def held(self, trader_id: int, coin: str) -> Held:
        """A position to be read or changed; changed ones are to be given to `touch`."""
        key = trader_id, coin
        if key not in self._held:
            self._held[key] = Held()
        return self._held[key]

    def touch(self, trader_id: int, coin: str) -> None:
        """Have a position written."""
        self._touched.add((trader_id, coin))

    def apply(self, net: Net) -> None:
        """Apply trades to the position that they changed."""
        held = self.held(net.trader_id, net.coin)
        held.state, change = apply_trade(held.state, net.size, net.px, net.time)
        if change is None:
            return
        held.changed_time, held.liquidation_px = net.time, None
        self.touch(net.trader_id, net.coin)
        self.changes.append(
            PositionChange(
                coin=net.coin,
                change=change.change,
                size_before=change.size_before,
                size_after=change.size_after,
                entry_px=change.entry_px,
                exit_px=change.exit_px,
                realised=change.realised,
                source=Source.STREAM,
                time=net.time,
                trader_id=net.trader_id,
                tid=net.tid,
                px=net.px,
            )
        )

    def write(self, now: datetime) -> int:
        """Write the positions that changed, and the changes in the order of their times.

        Args:
            now: when they were found.

        Returns:
            How many changes were new.
        """
        upsert_rows(self._session, Position, self._rows(), key=_KEY, update=_VALUES)
        ordered = sorted(self.changes, key=lambda change: change.time or 0)
        return add_events(self._session, ((self.addresses[change.trader_id or 0], change) for change in ordered), now)

    def _rows(self) -> Iterable[dict[str, object]]:
        for key in self._touched:
            held = self._held[key]
            yield {
                "trader_id": key[0],
                "coin": key[1],
                "szi": held.state.szi,
                "entry_px": held.state.entry_px,
                "realised": held.state.realised,
                "opened_time": held.state.opened_time,
                "changed_time": held.changed_time,
                "leverage_type": held.leverage_type,
                "leverage": held.leverage,
                "liquidation_px": held.liquidation_px,
            }
