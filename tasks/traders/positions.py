"""Keeps positions current: applies stored trades and reconciles snapshots until nothing is left to do.

Needs the traders ledger and nothing else: it costs no weight. Discovery does it every few seconds, tracking before and
after its polls; any number of processes may, and each change is found once.
"""

import time
from collections.abc import Callable
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from blocks.engine import engine, session
from tasks.foundation.core.columns import utc_now
from tasks.traders.core.fold import fold
from tasks.traders.core.reconcile import reconcile
from tasks.traders.core.tables import DOMAIN

#: Trades and snapshots of one transaction.
TRADES = 2_000
SNAPSHOTS = 500
#: Seconds after which a transaction begins nothing new: each snapshot is a step of its own, and thousands of them wait
#: after an outage. SQLite's other writers wait no longer than this and one step more.
SECONDS = 0.5
#: SQLite's waiting writers look this often (seconds); between two transactions they must find the file free once.
_SQLITE_TURN = 0.1


class AdvancedPositions(BaseModel):
    """What was done to the positions."""

    model_config = ConfigDict(frozen=True)

    trades: int = 0
    snapshots: int = 0
    #: Positions of followed coins that were compared with snapshots, and how many differed.
    compared: int = 0
    drifted: int = 0
    #: New events.
    events: int = 0

    def plus(self, other: "AdvancedPositions") -> "AdvancedPositions":
        """The sum of two."""
        return AdvancedPositions(**{name: value + getattr(other, name) for name, value in self})


def advance_positions(goes_on: Callable[[], bool] = lambda: True) -> AdvancedPositions:
    """Apply all trades that are whole and reconcile all snapshots whose time has come.

    Each transaction takes a bounded number of both, and a bounded time. One that is killed leaves nothing half done:
    the next call goes on where it began. Blocks: call it in a thread where an event loop runs.

    Args:
        goes_on: asked before each transaction; where it says no, the rest is left to the next call.

    Returns:
        What was done by this call.
    """
    total, more = AdvancedPositions(), True
    while more and goes_on():
        step, more = _step(utc_now())
        total = total.plus(step)
        if more and engine(DOMAIN).dialect.name == "sqlite":
            time.sleep(_SQLITE_TURN)
    return total


def _step(now: datetime) -> tuple[AdvancedPositions, bool]:
    """One transaction; also says whether there is more to do."""
    done, more = AdvancedPositions(), True
    with session(DOMAIN) as opened:
        ends = time.monotonic() + SECONDS
        while more and done.trades < TRADES and done.snapshots < SNAPSHOTS:
            # What has been waiting comes first; then up to the next snapshot, which is then taken at its own time.
            waiting = reconcile(opened, now=now, limit=SNAPSHOTS)
            folded = fold(opened, now=now, limit=TRADES)
            reached = reconcile(opened, now=now, limit=SNAPSHOTS)
            done = done.plus(
                AdvancedPositions(
                    trades=folded.trades,
                    snapshots=waiting.snapshots + reached.snapshots,
                    compared=waiting.compared + reached.compared,
                    drifted=waiting.drifted + reached.drifted,
                    events=waiting.events + folded.events + reached.events,
                )
            )
            more = folded.more or reached.more
            if time.monotonic() >= ends:
                break
    return done, more
