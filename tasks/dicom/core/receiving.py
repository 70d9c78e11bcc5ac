"""Durable receipt: when `Committer.commit` returns, the file and its ledger row survive a power cut.

Used the same way by the DICOM listener, by the submission of files (`adoption`) and by a web endpoint, with what
`arrivals` and `spool` define::

    spool, committer = Spool(home), Committer(spool, begin, owner=presence.name)
    batch = Batch(Origin(SourceType.FILE_UPLOAD, "me"))
    part = spool.create()
    part.write(...)                     # preamble and file meta
    part.write_data_set(...)            # as it arrives
    stored = committer.commit(Arrival(batch, part, identity))    # waits; raises ReceiveError and leaves nothing
    ...                                 # now acknowledge
    committer.end(batch, "submitted")   # the batch becomes READY
    committer.close()

Many threads may wait in `commit`: whatever waits when the committer's thread is free goes into one directory sync and
one transaction, so the cost of being durable is shared exactly when there is much to share.

A batch is one row of the ledger, made with its first instance: an association that brings none leaves no row. When it
has ended (released, quiet, or closed by a clean-up) the next instance of the same `Batch` starts another row.
"""

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import bindparam, insert, update
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, col, select

from tasks.dicom.core.arrivals import (
    Arrival,
    Batch,
    Stored,
    association_values,
    end_association,
    receipt_values,
)
from tasks.dicom.core.spool import (
    LedgerWriteError,
    ReceiveError,
    ReceiverClosedError,
    Spool,
    StorageFullError,
)
from tasks.dicom.core.tables import Association, AssociationState, Receipt
from tasks.foundation.core.columns import utc_now

log = logging.getLogger("quintet.receiving")

#: Opens a transaction that commits at the end and rolls back on an error: `lambda: session("dicom")`.
Transactions = Callable[[], AbstractContextManager[Session]]
# Ending a batch is tried again this often while the ledger does not answer.
_RETRY_SECONDS = 1.0
# Built once: SQLAlchemy then knows them by their own cache key.
_INSERT_RECEIPTS = insert(Receipt)
_INSERT_ASSOCIATION = insert(Association)
_TOUCH = (
    update(Association)
    .where(col(Association.id) == bindparam("batch_id"), col(Association.state) == AssociationState.OPEN)
    .values(last_received_at=bindparam("last"))
)


@dataclass
class Totals:
    """What a committer has done since it started."""

    instances: int = 0
    bytes: int = 0
    failures: int = 0
    transactions: int = 0


@dataclass(frozen=True, eq=False)
class _Waiting:
    arrival: Arrival
    outcome: "Future[Stored]"


class _UncertainCommitError(Exception):
    """The commit itself failed: it may have happened all the same."""


class Committer:
    """Makes arrivals durable, many at a time. All methods may be called from any thread."""

    def __init__(
        self,
        spool: Spool,
        begin: Transactions,
        *,
        owner: str,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Start the committing thread.

        Args:
            spool: where the files lie.
            begin: opens a transaction of the ledger.
            owner: written into OPEN rows, so that they are found should this process die (`Presence.name`).
            on_ready: called after batches became READY, from the committing thread; must return soon.
        """
        self.totals = Totals()
        self._spool = spool
        self._begin = begin
        self._owner = owner
        self._on_ready = on_ready
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._ending: list[tuple[Batch, str]] = []
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    def commit(self, arrival: Arrival) -> Stored:
        """Make a file and its row durable, and wait until they are.

        Raises:
            ReceiveError: it is not; the file is gone.
        """
        return self.submit(arrival).result()

    def submit(self, arrival: Arrival) -> "Future[Stored]":
        """Like `commit`, without waiting for more than the file's own bytes."""
        outcome: Future[Stored] = Future()
        waiting = _Waiting(arrival, outcome)
        try:
            # Here and not in the committing thread: several threads wait for the disk at once.
            arrival.part.seal()
        except ReceiveError as error:
            self._fail(waiting, error)
            return outcome
        with self._changed:
            if not self._closed:
                self._waiting.append(waiting)
                self._changed.notify()
                return outcome
        self._fail(waiting, ReceiverClosedError("the receiver is shutting down"))
        return outcome

    def end(self, batch: Batch, ended_by: str) -> None:
        """Make a batch READY, after everything submitted before; tried again for as long as the ledger is away.

        Args:
            batch: whose instances go to a new row from now on.
            ended_by: `released`, `aborted`, `quiet` or `submitted`.
        """
        with self._changed:
            self._ending.append((batch, ended_by))
            self._changed.notify()

    @property
    def pending(self) -> int:
        """How many arrivals wait."""
        with self._changed:
            return len(self._waiting)

    def close(self, timeout: float = 30) -> None:
        """Commit what waits, end what was ended, and stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        postponed: list[tuple[Batch, str]] = []
        while True:
            with self._changed:
                if not self._waiting and not self._ending and not self._closed:
                    self._changed.wait(_RETRY_SECONDS if postponed else None)
                waiting, self._waiting = self._waiting, []
                ending, self._ending = postponed + self._ending, []
                last = self._closed
            if waiting:
                self._make_durable(waiting)
            postponed = self._end(ending) if ending else []
            if last:
                break

    def _make_durable(self, waiting: list[_Waiting]) -> None:
        published = []
        for each in waiting:
            try:
                each.arrival.part.publish()
                published.append(each)
            except ReceiveError as error:
                self._fail(each, error)
        if not published:
            return
        try:
            self._spool.sync()
        except ReceiveError as error:
            for each in published:
                self._fail(each, error)
            return
        self._record(published)

    def _record(self, waiting: list[_Waiting]) -> None:
        try:
            self._write_rows([each.arrival for each in waiting])
        except _UncertainCommitError as error:
            self._settle(waiting, error)
        except Exception as error:  # noqa: BLE001 - whatever the ledger raises becomes the waiting threads' error
            if len(waiting) == 1:
                self._fail(waiting[0], ledger_error(error))
                return
            # One of them may be at fault; the others must not suffer for it.
            for each in waiting:
                self._record([each])
        else:
            for each in waiting:
                self._succeed(each)

    def _write_rows(self, arrivals: Sequence[Arrival]) -> None:
        flushed = False
        batches = {id(each.batch): each.batch for each in arrivals}.values()
        try:
            with self._begin() as session:
                for batch in batches:
                    last = max(each.received_at for each in arrivals if each.batch is batch)
                    self._touch(session, batch, last)
                session.connection().execute(_INSERT_RECEIPTS, [receipt_values(each) for each in arrivals])
                flushed = True
        except Exception as error:
            if flushed:
                raise _UncertainCommitError from error
            raise
        for batch in batches:
            batch.written = True
        self.totals.transactions += 1

    def _touch(self, session: Session, batch: Batch, last: datetime) -> None:
        """Make sure that the batch has an OPEN row; locks it until the end of the transaction."""
        if session.connection().execute(_TOUCH, {"batch_id": batch.id, "last": last}).rowcount:
            return
        if batch.written:
            # A clean-up took us for dead and closed it: its run may be under way, so nothing is added any more.
            batch.renew()
        session.connection().execute(_INSERT_ASSOCIATION, association_values(batch, owner=self._owner, last=last))

    def _settle(self, waiting: list[_Waiting], error: _UncertainCommitError) -> None:
        """Find out what a failed commit left behind."""
        cause = ledger_error(cast(Exception, error.__cause__))
        ids = [each.arrival.part.id for each in waiting]
        try:
            with self._begin() as session:
                there = set(session.exec(select(Receipt.id).where(col(Receipt.id).in_(ids))).all())
        except Exception:  # noqa: BLE001 - the ledger is away: then nobody knows
            log.critical("the ledger went away during a commit; %d files are left for the reconciliation", len(ids))
            for each in waiting:
                # Deleting could leave a row without a file. Not acknowledged, so the sender sends it again.
                each.arrival.part.keep()
                # Perhaps it is; then the row must be ended with the batch.
                each.arrival.batch.written = True
                self._fail(each, cause)
            return
        for each in waiting:
            if each.arrival.part.id in there:
                each.arrival.batch.written = True
                self._succeed(each)
            else:
                self._fail(each, cause)

    def _succeed(self, waiting: _Waiting) -> None:
        arrival = waiting.arrival
        self.totals.instances += 1
        self.totals.bytes += arrival.part.size
        arrival.part.keep()
        waiting.outcome.set_result(Stored(arrival.part.id, arrival.batch.id))

    def _fail(self, waiting: _Waiting, error: ReceiveError) -> None:
        self.totals.failures += 1
        try:
            waiting.arrival.part.discard()
        except ReceiveError as left:
            log.error("a file that was not acknowledged is left in the spool: %s", left)
        waiting.outcome.set_exception(error)

    def _end(self, ending: Collection[tuple[Batch, str]]) -> list[tuple[Batch, str]]:
        """End batches in one transaction; gives those to try again."""
        written = {batch.id: ended_by for batch, ended_by in ending if batch.written}
        if not written:
            return []
        now = utc_now()
        try:
            with self._begin() as session:
                for batch_id, ended_by in written.items():
                    end_association(session, batch_id, ended_by=ended_by, now=now)
        except Exception as error:  # noqa: BLE001 - the rows stay OPEN, and ours, until the ledger answers
            log.warning("cannot end %d batches now: %s", len(written), type(error).__name__)
            return [(batch, ended_by) for batch, ended_by in ending if batch.written]
        for batch, _ in ending:
            batch.renew()
        try:
            self._on_ready()
        except Exception:
            log.exception("the hook for READY batches failed; the sweep finds them")
        return []


def ledger_error(error: Exception) -> ReceiveError:
    """The typed error of a failed transaction, without the statement and its values."""
    if isinstance(error, ReceiveError):
        return error
    driver = error.orig if isinstance(error, DBAPIError) else error
    if getattr(driver, "sqlite_errorname", "") == "SQLITE_FULL" or getattr(driver, "sqlstate", "") == "53100":
        return StorageFullError("no room left for the ledger")
    made = LedgerWriteError(f"the ledger refused the transaction ({type(driver).__name__})")
    made.__cause__ = error
    return made
