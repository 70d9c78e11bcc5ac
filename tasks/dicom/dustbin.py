"""Empties and searches the dustbin, and takes files back out of it.

Needs the dicom ledger. Settings: `QUINTET_DICOM__DISPOSITION__RETENTION_DAYS` and `..._MARK_DAYS`.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from uuid import UUID

from pydantic import BaseModel

from blocks.engine import session
from blocks.settings import settings
from tasks.dicom.core import dustbin
from tasks.dicom.core import dustbin_cleaning as cleaning
from tasks.dicom.core.durable_files import FileLostError, NameTakenError
from tasks.dicom.core.dustbin_cleaning import Finding, Outcome, Space
from tasks.dicom.core.provenance import carry_out
from tasks.dicom.core.tables import DOMAIN, DustbinEntry, Receipt
from tasks.dicom.disposal import DisposalError, dispose_files
from tasks.foundation.core.columns import utc_now
from tasks.foundation.lifecycle import logger
from tasks.foundation.retries import INGEST

#: Entries between two commits: a kill repeats no more than this.
PAGE = 100


class CleaningReport(BaseModel):
    """What cleaning found and did; in a dry run, what it would have done."""

    dry_run: bool
    findings: list[Finding]

    def counts(self) -> dict[str, int]:
        """How many findings of each kind, all kinds named."""
        found = Counter(finding.outcome for finding in self.findings)
        return {outcome.value: found[outcome] for outcome in Outcome}


@INGEST.task
def clean_dustbin(dry_run: bool = True) -> CleaningReport:
    """Delete what was marked long enough, then mark what has ended its retention; batch by batch.

    Deletes nothing that is held, not delivered everywhere (unless signed off), or no longer what was put there.

    Args:
        dry_run: change nothing, and report what would be done.
    """
    home, now = settings().domain_home(DOMAIN), utc_now()
    # In this order, so that no file is marked and deleted in one run.
    findings = _pages(home, now, marked=True, dry_run=dry_run) + _pages(home, now, marked=False, dry_run=dry_run)
    _alarm(findings)
    # What lost its mark was found in both phases.
    return CleaningReport(dry_run=dry_run, findings=list(dict.fromkeys(findings)))


@INGEST.task
def sweep_dustbin(dry_run: bool = True) -> CleaningReport:
    """Compare the dustbin's files with the ledger, and remove what a crash left of files deleted already.

    Args:
        dry_run: change nothing, and report what would be done.
    """
    home, now = settings().domain_home(DOMAIN), utc_now()
    findings: list[Finding] = []
    with session(DOMAIN, read_only=True) as opened:
        days = cleaning.days(opened, home)
    for day in days:
        # One day at a time: the dustbin may hold millions of files.
        with session(DOMAIN, read_only=True) as opened:
            found = cleaning.sweep(opened, home, day, now=now)
        findings += found
        for finding in found:
            if finding.outcome is Outcome.LEFTOVER and not dry_run:
                cleaning.remove_leftover(home, finding)
    _alarm(findings)
    return CleaningReport(dry_run=dry_run, findings=findings)


def _pages(home: Path, now: datetime, *, marked: bool, dry_run: bool) -> list[Finding]:
    days = settings().dicom.disposition.mark_days
    findings: list[Finding] = []
    after: UUID | None = None
    while True:
        with session(DOMAIN, read_only=True) as opened:
            page = cleaning.due_entries(opened, now=now, mark_days=days, marked=marked, after=after, limit=PAGE)
            refused = cleaning.examine(opened, page)
        if not page:
            return findings
        after = page[-1].id
        findings += [finding for finding in refused.values() if finding is not None]
        fit = [entry for entry in page if refused[entry.id] is None]
        findings += _delete(home, fit, now, dry_run) if marked else _mark(fit, now, dry_run)
        if marked and not dry_run:
            # So that a whole marking time passes once they may be deleted.
            with session(DOMAIN) as opened:
                cleaning.unmark(opened, [entry.id for entry in page if refused[entry.id] is not None])


def _mark(entries: Sequence[DustbinEntry], now: datetime, dry_run: bool) -> list[Finding]:
    if dry_run:
        return [Finding(Outcome.MARKED, entry.path, "its retention is over") for entry in entries]
    with session(DOMAIN) as opened:
        return cleaning.mark(opened, [entry.id for entry in entries], now=now)


def _delete(home: Path, entries: Sequence[DustbinEntry], now: datetime, dry_run: bool) -> list[Finding]:
    # Read before the transaction: it takes time, and nobody else could write to the ledger meanwhile.
    damaged = {entry.id: cleaning.read_back(home, entry) for entry in entries}
    findings = [finding for finding in damaged.values() if finding is not None]
    whole = [entry for entry in entries if damaged[entry.id] is None]
    if dry_run:
        return findings + [Finding(Outcome.DELETED, entry.path, "delivered, and marked long enough") for entry in whole]
    days = settings().dicom.disposition.mark_days
    with session(DOMAIN) as opened:
        doomed, refused = cleaning.doom(opened, [entry.id for entry in whole], now=now, mark_days=days)
    for entry in doomed:
        cleaning.remove(home, entry.path)
        findings.append(Finding(Outcome.DELETED, entry.path, "delivered, and marked long enough"))
    return findings + refused


def _alarm(findings: Sequence[Finding]) -> None:
    for finding in findings:
        if finding.outcome is Outcome.ALARM:
            logger(path=finding.path).critical(f"dustbin: {finding.reason}")


def dustbin_space() -> Space:
    """How much room the dustbin takes, and how much there is."""
    with session(DOMAIN, read_only=True) as opened:
        return cleaning.space(opened, settings().domain_home(DOMAIN))


@INGEST.task
def finish_dustbin_moves() -> int:
    """End what killed runs began: files on their way into the dustbin or out of it.

    What cannot be ended now is logged, and stays in the sweep's report.

    Returns:
        How many moves were to be ended.
    """
    with session(DOMAIN, read_only=True) as opened:
        inward, outward = dustbin.left_undone(opened)
    for receipt_id in outward:
        try:
            restore_file(receipt_id)
        except (FileLostError, NameTakenError, OSError) as error:
            logger(receipt=str(receipt_id)).error("cannot be restored", error=str(error))
    try:
        dispose_files.fn(inward)
    except DisposalError as error:
        logger().error("cannot be disposed of", error=str(error))
    return len(inward) + len(outward)


def restore_file(receipt_id: UUID) -> str:
    """Take a file out of the dustbin back into the spool, where it is kept; killed and run again, it ends the same.

    Args:
        receipt_id: whose file.

    Returns:
        Its path, relative to the dicom home.

    Raises:
        LookupError: no such receipt.
        DustbinError: its file is not in the dustbin, or on legal hold.
        FileLostError: its file is nowhere to be found.
        OSError: the file could not be moved; run it again.
    """
    with session(DOMAIN) as opened:
        move = dustbin.plan_restore(opened, receipt_id, now=utc_now())
    carry_out(settings().domain_home(DOMAIN), move)
    with session(DOMAIN) as opened:
        dustbin.finish_restore(opened, move)
    return move.target


def copy_from_dustbin(receipt_id: UUID, target: Path) -> Path:
    """Copy a file from the dustbin to a place of a person's choice; the file itself stays.

    Args:
        receipt_id: whose file.
        target: a new file, or a folder that is there.

    Returns:
        The copy.

    Raises:
        LookupError: no such receipt.
        DustbinError: its file is not in the dustbin, or no longer what was put there.
        NameTakenError: a file lies at the target.
        OSError: the copy could not be written.
    """
    with session(DOMAIN) as opened:
        return dustbin.copy_out(opened, settings().domain_home(DOMAIN), receipt_id, target, now=utc_now())


def hold_file(receipt_id: UUID, reason: str) -> DustbinEntry:
    """Put a file in the dustbin on legal hold; see `core.dustbin.hold`."""
    with session(DOMAIN) as opened:
        return dustbin.hold(opened, receipt_id, reason)


def release_file(receipt_id: UUID) -> DustbinEntry:
    """End the legal hold of a file in the dustbin; see `core.dustbin.release_hold`."""
    with session(DOMAIN) as opened:
        return dustbin.release_hold(opened, receipt_id)


def sign_off_file(receipt_id: UUID, by: str) -> DustbinEntry:
    """Answer for a file that was not delivered everywhere; see `core.dustbin.sign_off`."""
    with session(DOMAIN) as opened:
        return dustbin.sign_off(opened, receipt_id, by, now=utc_now())


def list_dustbin(
    *, held: bool = False, study_instance_uid: str | None = None, limit: int = 100
) -> Sequence[tuple[DustbinEntry, Receipt]]:
    """What lies in the dustbin, the next to be deleted first; see `core.dustbin.listed`."""
    with session(DOMAIN, read_only=True) as opened:
        return dustbin.listed(opened, held=held, study_instance_uid=study_instance_uid, limit=limit)
