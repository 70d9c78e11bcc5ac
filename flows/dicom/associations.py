"""One association from spool to disposition: evaluate, deliver and verify, dispose. One association is one flow run.

Needs the dicom ledger, the rules and the limit `dicom-deliveries`. Started by the listener's dispatcher and by
`dicom-sweep-associations`; killed at any point and run again, it ends as one clean run would.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TypeVar
from uuid import UUID, uuid4

from prefect import flow
from prefect.concurrency.asyncio import concurrency
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run

from blocks.engine import session
from blocks.settings import settings
from flows.dicom.claims import Claim, claimed
from tasks.dicom import deliver_batch, dispose_files, process_dicom_association
from tasks.dicom.core.summary import AssociationSummary, Standing, file_table, standing, summarise
from tasks.dicom.core.tables import DOMAIN, AssociationState
from tasks.dicom.disposal import DisposalError
from tasks.foundation.artifacts import table
from tasks.foundation.core.columns import utc_now
from tasks.foundation.lifecycle import logger
from tasks.foundation.progress import Progress, ProgressReport

R = TypeVar("R")
Item = TypeVar("Item")

#: A delivery due this soon is waited for; a later one is left to the sweep, so that the run's place is free.
PATIENCE = timedelta(seconds=20)
#: Deliveries that no attempt moved (a paused destination, another run at work) are looked at again after this.
NOT_NOW = timedelta(seconds=60)
#: Batches to peers at once, over all runs (`deployments/limits.py`).
DELIVERY_LIMIT = "dicom-deliveries"


@flow(name="dicom-process-association")
async def process_association(association_id: UUID) -> AssociationSummary:
    """Evaluate, deliver, verify and dispose of the files of one DICOM association.

    Args:
        association_id: the association's row in the ledger.

    Returns:
        The association's counts; each file's fate is in the ledger and in the run's table.

    Raises:
        RulesError: the rules are not valid; the association waits.
        OSError: a file could not be read or written; it waits, and all others are done.
        DisposalError: a file could not be moved; it waits, and all others are done.
        UnknownDestinationError: the rules have no such destination any more; its deliveries wait, all others are done.
        ClaimLostError: this run was away so long that another took over.
    """
    return await work_through(association_id)


async def work_through(association_id: UUID) -> AssociationSummary:
    """Do all that is due for an association inside the current flow run."""
    owner = str(flow_run.id or uuid4())
    try:
        async with claimed(association_id, owner) as claim:
            if claim is None:
                logger(association=str(association_id)).info("nothing to do: done, still open, or held by another run")
            else:
                report = ProgressReport()
                failures = await _evaluate(claim, report)
                await _deliver_and_dispose(claim, report, failures)
    finally:
        summary = await _show(association_id)
    return summary


async def _evaluate(claim: Claim, report: ProgressReport) -> list[Exception]:
    """Evaluate all files; gives what failed, so that one bad file does not hold up the others."""
    left = await _standing(claim)
    done = 0
    failures: list[Exception] = []
    for batch in _batches(left.unevaluated):
        claim.check()
        await report.update(Progress(step="evaluate", total=len(left.unevaluated), processed=done))
        try:
            await _finished(process_dicom_association.submit(batch))
        except OSError as error:
            failures.append(error)
        done += len(batch)
    return failures


async def _deliver_and_dispose(claim: Claim, report: ProgressReport, failures: list[Exception]) -> None:
    """Do all that can be done now, then hand the association back; what failed on the way is raised at the end."""
    tried: dict[str, list[UUID]] = {}
    disposed: set[UUID] = set()
    #: Destinations that cannot be delivered to in this run.
    broken: set[str] = set()
    while True:
        claim.check()
        left = await _standing(claim)
        await _report(report, claim, "dispose" if left.disposable else "deliver")
        # Each once: what the task leaves where it is has to wait, and not to keep this run busy.
        disposable = [receipt for receipt in left.disposable if receipt not in disposed]
        for receipts in _batches(disposable):
            try:
                await _finished(dispose_files.submit(receipts))
            except DisposalError as error:
                failures.append(error)
        disposed.update(disposable)
        now = utc_now()
        due = {name: ids for name, ids in left.due(now).items() if name not in broken}
        if due and due != tried:
            failed = await _deliver_all(due)
            broken.update(failed)
            failures += failed.values()
            tried = due
        elif disposable:
            tried = {}
        elif left.done and claim.finish():
            return
        else:
            next_due = left.next_due(broken) or now
            if failures and not now < next_due <= now + PATIENCE:
                if next_due > now:
                    # The others are not to wait as long as an association that fails.
                    claim.release(AssociationState.WAITING, due_at=next_due)
                raise failures[0]
            if due or ((left.disposable or left.unevaluated) and not failures):
                next_due = now + NOT_NOW
            if next_due - now > PATIENCE:
                claim.release(AssociationState.WAITING, due_at=next_due)
                return
            await asyncio.sleep((next_due - now).total_seconds())
            tried = {}


async def _deliver_all(due: Mapping[str, Sequence[UUID]]) -> dict[str, Exception]:
    """Deliver to all destinations at once; gives those that could not be delivered to, and why."""
    ended = await asyncio.gather(*(_deliver(name, ids) for name, ids in due.items()), return_exceptions=True)
    failures: dict[str, Exception] = {}
    for name, error in zip(due, ended, strict=True):
        if isinstance(error, Exception):
            failures[name] = error
        elif error is not None:
            raise error
    return failures


async def _deliver(destination: str, deliveries: Sequence[UUID]) -> None:
    for batch in _batches(deliveries):
        async with concurrency(DELIVERY_LIMIT, strict=True):
            await _finished(deliver_batch.submit(destination, batch))


async def _standing(claim: Claim) -> Standing:
    def read() -> Standing:
        with session(DOMAIN, read_only=True) as opened:
            return standing(opened, claim.association_id)

    return await asyncio.to_thread(read)


async def _report(report: ProgressReport, claim: Claim, step: str) -> None:
    with session(DOMAIN, read_only=True) as opened:
        counts = summarise(opened, claim.association_id)
    await report.update(
        Progress(
            step=step,
            percent=100 * (counts.files - counts.waiting) / counts.files if counts.files else 100,
            total=counts.files,
            processed=counts.files - counts.waiting,
            failed=counts.quarantined,
        )
    )


async def _show(association_id: UUID) -> AssociationSummary:
    with session(DOMAIN, read_only=True) as opened:
        counts, rows = summarise(opened, association_id), file_table(opened, association_id)
    await table(
        "dicom-association",
        rows,
        f"**Association `{association_id}` is {counts.state}.** {counts.files} files: {counts.disposed} disposed of, "
        f"{counts.kept} kept, {counts.quarantined} in quarantine, {counts.waiting} waiting. "
        f"{counts.verified} of {counts.deliveries} deliveries verified, {counts.dead} dead.",
    )
    return counts


async def _finished(future: PrefectFuture[R]) -> R:
    """Wait for a submitted task without stopping the event loop."""
    return await asyncio.to_thread(future.result)


def _batches(items: Sequence[Item]) -> Iterator[list[Item]]:
    size = settings().dicom.delivery.batch_size
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
