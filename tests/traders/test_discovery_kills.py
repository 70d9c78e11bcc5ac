"""Discovery in a process of its own that is killed or told to end while trades come: in the end nothing is missing."""

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlmodel import select

from blocks.engine import session
from tasks.traders.core.tables import Gap, GapState, Lease, Stream
from tests.traders.discovering import (
    COINS,
    PATIENCE,
    QUICK,
    check_accounts,
    discovering,
    ledger,
    open_gaps,
    stored_trades,
    truth,
    until,
)
from tests.traders.exchanges import exchange_in_use

pytestmark = pytest.mark.usefixtures("traders_databases")

_DISCOVERY = """
import asyncio
from tasks.traders.discovery import manage_discovery_stream
asyncio.run(manage_discovery_stream.fn())
"""


@contextmanager
def child() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen([sys.executable, "-c", _DISCOVERY])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)


async def test_killed_while_trades_come_and_run_again_every_trade_is_there_once(traders_databases: str) -> None:
    chance = random.Random(f"kills {traders_databases}")
    market = {"coins": tuple(COINS), "recent": 2000, "paused": False, "rate": 300, "await_subscriptions": 3}
    with exchange_in_use(**market) as exchange:
        for _ in range(2):
            with child() as process:
                before = stored_trades()
                more = chance.randint(1, 120)
                await until(lambda before=before, more=more: stored_trades() >= before + more)
                process.send_signal(signal.SIGKILL)
                assert await asyncio.to_thread(process.wait, PATIENCE) == -signal.SIGKILL
            check_accounts()
            with session("traders", read_only=True) as opened:
                assert len(opened.exec(select(Lease)).all()) == 1
            # Nobody listens.
            await asyncio.to_thread(exchange.tell, "play", n=30)
            assert ledger() != truth(exchange)
        async with discovering():
            # The killed one's lease is taken over at once: its process is known to be dead.
            await until(lambda: len(streams()) > 2 and open_gaps() == 0)
            await asyncio.to_thread(exchange.tell, "finish")
            await until(lambda: stored_trades() == len(truth(exchange)))
        assert ledger() == truth(exchange)
    check_accounts()
    with session("traders", read_only=True) as opened:
        assert {gap.state for gap in opened.exec(select(Gap))} == {GapState.FILLED}
        assert opened.exec(select(Lease)).all() == []
    assert all(row.ended_for for row in streams())


def streams() -> list[Stream]:
    with session("traders", read_only=True) as opened:
        return [row for row in opened.exec(select(Stream)) if row.kind == "STREAM"]


async def test_sigterm_lets_it_store_what_has_come_and_then_takes_its_effect() -> None:
    with (
        exchange_in_use(coins=tuple(COINS), paused=False, rate=300, await_subscriptions=3) as exchange,
        child() as process,
    ):
        await until(lambda: stored_trades() >= 20)
        process.terminate()
        assert await asyncio.to_thread(process.wait, PATIENCE) == -signal.SIGTERM
        kept = ledger()
        assert kept == truth(exchange)[: len(kept)]
    check_accounts()
    (row,) = streams()
    assert row.ended_for == "stopped by SIGTERM" and row.ended_at is not None
    with session("traders", read_only=True) as opened:
        assert opened.exec(select(Lease)).all() == [] and opened.exec(select(Gap)).all() == []
