"""Writes what discovery receives, one transaction after the other, and keeps it until that is done.

While the database is away or its disk is full, the same plan is tried again and again; meanwhile the stream fills its
bounded queue and then stops reading, so that the exchange feels it and nothing is lost.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.exc import InterfaceError, OperationalError
from structlog.stdlib import BoundLogger

from blocks.engine import LedgerUnreadableError, session
from tasks.foundation.core.backoff import full_jitter
from tasks.foundation.core.columns import utc_now
from tasks.traders.core.ingest import Stored
from tasks.traders.core.tables import DOMAIN
from tasks.traders.discovery_plan import Intake, Plan, Planner
from tasks.traders.discovery_transaction import OpenGap, Written, carry_out, find_carried_out

#: What passes by itself. PostgreSQL's deadlocks are among the operational errors: one of the two is tried again.
_PASSING = (OperationalError, InterfaceError, LedgerUnreadableError)
_WAIT_BASE, _WAIT_CAP = 0.1, 5.0
_HURRIED_WAIT = 0.2
#: A run that is to end waits so long for a database that is away; what is then not stored is in a gap.
HURRY_SECONDS = 10.0


@dataclass
class Tally:
    """What was received and stored since the beginning of this run."""

    frames: int = 0
    trades: int = 0
    stored: int = 0
    duplicates: int = 0
    rejected: int = 0
    late: int = 0
    gaps: int = 0
    #: By the state that they were closed with.
    closed_gaps: Counter[str] = field(default_factory=Counter)
    #: Trades stored in each minute since 1970.
    by_minute: Counter[int] = field(default_factory=Counter)


class Writer:
    """Plans and writes; for one thread at a time.

    Args:
        owner: who holds the lease of discovery. Whoever has lost it stores trades, and says nothing of coins.
        settle_seconds: by how much trades overtake each other at most.
        log: of the run.
    """

    def __init__(self, owner: str, settle_seconds: float, log: BoundLogger) -> None:
        self._owner = owner
        self._log = log
        self._planner = Planner(settle_seconds)
        self._hurry = threading.Event()
        self.tally = Tally()
        #: Somebody else holds the lease.
        self.lost_lease = False

    @property
    def connections(self) -> int:
        """How many were opened."""
        return self._planner.connections

    def hurry(self, reason: str) -> None:
        """The run is to end: do not wait for a database for ever, and open no gaps of what is closed on purpose."""
        self._planner.stopped_for = reason
        self._hurry.set()

    def write(self, items: Sequence[Intake]) -> list[OpenGap]:
        """Store what came.

        Returns:
            Gaps that can be filled from now on.

        Raises:
            LedgerError: the database cannot be used, and that will not pass; or it is away and the run is to end.
            OperationalError: same, where the database's own words say it best.
        """
        return self._carry_out(self._planner.plan(items, utc_now()))

    def end(self, reason: str) -> None:
        """Close the accounts of all connections.

        Raises:
            LedgerError: as `write`.
            OperationalError: as `write`.
        """
        self._carry_out(self._planner.end(reason, utc_now()))

    def _carry_out(self, plan: Plan) -> list[OpenGap]:
        if not plan.parts and not plan.steps:
            return []
        began, tries = time.monotonic(), 0
        while True:
            try:
                written = self._transaction(plan, again=tries > 0)
                break
            except _PASSING as error:
                if not tries:
                    self._log.warning("the traders database takes nothing: trades wait", error=type(error).__name__)
                tries += 1
                self._wait(error, tries, time.monotonic() - began)
        if tries:
            waited = round(time.monotonic() - began, 1)
            self._log.info("the traders database takes trades again", tries=tries, seconds=waited)
        self._count(plan, written)
        return written.fillable

    def _transaction(self, plan: Plan, *, again: bool) -> Written:
        with session(DOMAIN) as opened:
            # What was told to have failed may have been committed, and only the answer lost.
            done = find_carried_out(opened, plan) if again else None
            return carry_out(opened, plan, self._owner) if done is None else done

    def _wait(self, error: Exception, tries: int, waited: float) -> None:
        """Wait for the next try.

        Raises:
            Exception: `error`, where the run is to end and has waited long enough.
        """
        jitter = full_jitter(tries, base_seconds=_WAIT_BASE, cap_seconds=_WAIT_CAP, uniform=random.uniform)
        wait = jitter.total_seconds()
        if not self._hurry.wait(wait):
            return
        if waited > HURRY_SECONDS:
            raise error
        time.sleep(min(wait, _HURRIED_WAIT))

    def _count(self, plan: Plan, written: Written) -> None:
        tally = self.tally
        for account, stored in written.stored:
            account.stored = Stored(*(sum(pair) for pair in zip(account.stored, stored, strict=True)))
            tally.stored += stored.stored
            tally.duplicates += stored.duplicates
            tally.rejected += stored.rejected
            tally.late += stored.late
            tally.by_minute[int(plan.now.timestamp()) // 60] += stored.stored
        for account, stream_id in written.ids:
            account.id = stream_id
        tally.frames += sum(part.frames for part in plan.parts.values())
        tally.trades += sum(len(part.trades) + part.rejected for part in plan.parts.values())
        tally.gaps += written.gaps_opened
        tally.closed_gaps.update(written.gaps_closed)
        self.lost_lease |= not written.held
