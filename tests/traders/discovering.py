"""Discovery against the sandbox exchange, and what of its truth is in the ledger."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from sqlmodel import func, select

from blocks.engine import session
from deployments.sandbox.exchange.server import RunningExchange
from tasks.traders.core.tables import Gap, GapState, Stream, Trade
from tasks.traders.discovery import DiscoveryResult, manage_discovery_stream
from tests.traders.core.trades import rows

COINS = ["BTC", "ETH", "xyz:AAPL"]
#: Short times, so that a test takes some hundred milliseconds.
QUICK = {
    "QUINTET_TRADERS__FLUSH_SECONDS": "0.05",
    "QUINTET_TRADERS__SETTLE_SECONDS": "0.2",
    "QUINTET_TRADERS__SUBSCRIBE_INTERVAL_SECONDS": "0.01",
    "QUINTET_TRADERS__RECONNECT_BASE_SECONDS": "0.01",
    "QUINTET_TRADERS__COINS": ",".join(COINS),
}
#: Far more than anything takes on a busy machine.
PATIENCE = 100


@asynccontextmanager
async def discovering(**options: Any) -> AsyncIterator["asyncio.Task[DiscoveryResult]"]:
    """Discovery beside the block, cancelled at its end."""
    task = asyncio.create_task(manage_discovery_stream.fn(**options))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Any) -> None:
    """Wait until something is so in the ledger, looked at in a thread."""
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)


def truth(exchange: RunningExchange) -> list[tuple[Any, ...]]:
    """All trades that ever were of the coins that are followed, as `rows` gives the stored ones."""
    names = ("time", "coin", "tid", "side", "px", "sz", "buyer", "seller")
    trades = [each for each in exchange.truth("trades")["trades"] if each["coin"] in COINS]
    return sorted(tuple(each[name] for name in names) for each in trades)


def ledger() -> list[tuple[Any, ...]]:
    """The same of what is stored."""
    return [(*row[:4], *(format(number, "f") for number in row[4:6]), *row[6:]) for row in rows()]


def stored_trades() -> int:
    """How many trades are stored."""
    with session("traders", read_only=True) as opened:
        return opened.exec(select(func.count()).select_from(Trade)).one()


def open_gaps() -> int:
    """How many gaps are open."""
    with session("traders", read_only=True) as opened:
        return opened.exec(select(func.count()).select_from(Gap).where(Gap.state == GapState.OPEN)).one()


def check_accounts() -> None:
    """Every trade that any stream received is stored, a duplicate or rejected, and each stored one stands once."""
    with session("traders", read_only=True) as opened:
        streams = opened.exec(select(Stream)).all()
    for row in streams:
        assert row.trades == row.stored + row.duplicates + row.rejected, row
        with_trades = row.frames - row.empty_frames - row.control_frames - row.error_frames - row.unreadable_frames
        assert 0 <= with_trades <= row.trades, row
    assert sum(row.stored for row in streams) == stored_trades()
