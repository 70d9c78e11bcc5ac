"""Rows that tests of positions begin with: traders, trades, how far they are whole, and snapshots."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from blocks.engine import session
from tasks.traders.core.fold import fold
from tasks.traders.core.leases import DISCOVERY
from tasks.traders.core.reconcile import reconcile
from tasks.traders.core.schema import TradersTable
from tasks.traders.core.snapshots import SnapshotPosition, add_snapshot
from tasks.traders.core.tables import Coin, Lease, Poll, Position, PositionEvent, Trade, Trader

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Swap(NamedTuple):
    """A trade of a test: who bought from whom."""

    time: int
    coin: str
    tid: int
    px: Decimal
    sz: Decimal
    buyer: int
    seller: int


def swap(time: int, buyer: int, seller: int, sz: str, px: str, *, coin: str = "BTC", tid: int | None = None) -> Swap:
    """A trade, shortly."""
    return Swap(time, coin, time * 100 + buyer if tid is None else tid, Decimal(px), Decimal(sz), buyer, seller)


def values(*found: object) -> tuple[object, ...]:
    """What is compared with whole numbers, whatever kind of number it is."""
    return found


def address(trader: int) -> str:
    """Of a trader of the tests."""
    return f"0x{trader:040x}"


def empty_ledger() -> None:
    """Delete every row, for the next example of a law."""
    with session("traders") as opened:
        for table in reversed(TradersTable.metadata.sorted_tables):
            opened.connection().execute(table.delete())


def people(opened: Session, count: int) -> None:
    """Traders 1 to `count`; their ids are their numbers."""
    opened.add_all(Trader(id=number, address=address(number), discovered_at=NOW) for number in range(1, count + 1))
    opened.flush()


def stream(opened: Session, *coins: str, whole: int | None = None, alive: bool = True) -> None:
    """Coins that are followed, and a discovery that runs or does not."""
    for coin in coins:
        opened.merge(Coin(coin=coin, subscribed=True, whole_time=whole))
    opened.connection().execute(delete(Lease))
    if alive:
        opened.add(Lease(name=DISCOVERY, owner="test", until_at=NOW + timedelta(seconds=30)))
    opened.flush()


def store(opened: Session, swaps: Iterable[Swap]) -> None:
    """Store trades, and note when their parties were first seen."""
    for one in swaps:
        opened.add(
            Trade(
                time=one.time,
                coin=one.coin,
                tid=one.tid,
                side="B",
                px=one.px,
                sz=one.sz,
                buyer_id=one.buyer or None,
                seller_id=one.seller or None,
            )
        )
        for party in (one.buyer, one.seller):
            trader = opened.get(Trader, party)
            if trader is not None:
                trader.first_time = min(one.time, one.time if trader.first_time is None else trader.first_time)
    opened.flush()


def whole_up_to(opened: Session, time: int) -> None:
    """Say that all trades up to here are stored."""
    opened.connection().execute(update(Coin).values(whole_time=time))


def shown(
    coin: str,
    szi: str | Decimal,
    entry_px: str | None = None,
    *,
    leverage: int | None = None,
    kind: str = "cross",
    liquidation_px: str | None = None,
) -> SnapshotPosition:
    """A position as a snapshot shows it."""
    return SnapshotPosition(
        coin,
        Decimal(szi),
        None if entry_px is None else Decimal(entry_px),
        None if leverage is None else kind,
        leverage,
        None if liquidation_px is None else Decimal(liquidation_px),
    )


def snapshot(opened: Session, trader: int, time: int, *positions: SnapshotPosition, dex: str = "") -> None:
    """A poll came back."""
    add_snapshot(opened, trader, dex, time, Decimal(1000), positions, NOW)
    opened.flush()


def settle(*, limit: int = 100) -> tuple[int, int]:
    """Fold and reconcile until nothing is left, a transaction each; gives how many were compared and drifted."""
    compared = drifted = 0
    more = True
    while more:
        with session("traders") as opened:
            waiting = reconcile(opened, now=NOW, limit=limit)
        with session("traders") as opened:
            folded = fold(opened, now=NOW, limit=limit)
        with session("traders") as opened:
            reached = reconcile(opened, now=NOW, limit=limit)
        compared += waiting.compared + reached.compared
        drifted += waiting.drifted + reached.drifted
        more = folded.more or reached.more
    return compared, drifted


def events(opened: Session, trader: int | None = None) -> Sequence[PositionEvent]:
    """All events, or a trader's, by time."""
    wanted = select(PositionEvent).order_by(col(PositionEvent.time), col(PositionEvent.number))
    return opened.exec(wanted if trader is None else wanted.where(col(PositionEvent.trader_id) == trader)).all()


def told(trader: int | None = None) -> list[str]:
    """Events in short: `OPEN 0>2 @100`, with entry, exit and result where they are known."""
    with session("traders", read_only=True) as opened:
        return [_short(event) for event in events(opened, trader)]


def _short(event: PositionEvent) -> str:
    words = [event.change.name, f"{event.size_before:f}>{event.size_after:f}", event.coin, str(event.time)]
    words += [event.source.name] if event.px is None else []
    for name in ("entry_px", "exit_px", "realised"):
        value = getattr(event, name)
        words += [] if value is None else [f"{name.partition('_')[0]}={value:f}"]
    if event.leverage_before or event.leverage_after:
        words.append(
            f"{event.leverage_type_before} {event.leverage_before}>{event.leverage_type_after} {event.leverage_after}"
        )
    return " ".join(words)


def position(trader: int, coin: str = "BTC") -> Position:
    """A trader's position."""
    with session("traders", read_only=True) as opened:
        return opened.get_one(Position, (trader, coin))


def poll(trader: int, dex: str = "") -> Poll:
    """A trader's poll."""
    with session("traders", read_only=True) as opened:
        return opened.get_one(Poll, (trader, dex))
