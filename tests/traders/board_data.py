"""Traders with made pasts, as rows of the ledger."""

from datetime import UTC, datetime

import numpy as np
from sqlmodel import Session

from tasks.traders.core.history_tables import History
from tasks.traders.core.series import pack
from tasks.traders.core.tables import Trader

DISCOVERED = datetime(2026, 1, 1, tzinfo=UTC)
DAY_MS = 86_400_000


def address(number: int) -> str:
    return f"0x{number:040x}"


def add_trader(session: Session, number: int, *, ignored: bool = False) -> int:
    trader = Trader(address=address(number), seen_time=None, discovered_at=DISCOVERED, ignored=ignored)
    session.add(trader)
    session.flush()
    assert trader.id is not None
    return trader.id


def add_history(
    session: Session,
    trader_id: int,
    returns: list[float | None],
    *,
    last_day: int,
    round_trips: int = 20,
    wins: int = 12,
    volume: float = 50_000.0,
) -> None:
    packed = pack([(last_day - len(returns) + 1 + at, value) for at, value in enumerate(returns)])
    session.add(
        History(
            trader_id=trader_id,
            round_trips=round_trips,
            wins=wins,
            gross_profit=100.0 * wins,
            gross_loss=60.0 * (round_trips - wins),
            max_profit=300.0,
            max_loss=90.0,
            volume=volume,
            refreshed_at=DISCOVERED,
            first_time=(last_day - len(returns)) * DAY_MS,
            series_day=packed[0] if packed else None,
            returns=packed[1] if packed else None,
            pnl=float(sum(value or 0 for value in returns)) * 1000,
            equity=1000.0,
        )
    )


def made_returns(seed: int, days: int, mean: float = 0.001, deviation: float = 0.02) -> list[float | None]:
    return [float(value) for value in np.random.default_rng(seed).normal(mean, deviation, days)]
