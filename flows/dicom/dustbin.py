"""The dustbin's daily cleaning.

Needs the dicom ledger. Runs as `dicom-clean-dustbin/daily`; by hand it only reports, unless told otherwise.
"""

import asyncio

from prefect import flow

from tasks.dicom import dustbin
from tasks.dicom.core.dustbin_cleaning import Outcome, Space
from tasks.foundation import artifacts
from tasks.foundation.lifecycle import logger
from tasks.foundation.progress import Progress, ProgressReport

#: What needs a person comes first in the table.
ORDER = [
    Outcome.ALARM,
    Outcome.ORPHAN,
    Outcome.UNFINISHED,
    Outcome.REFUSED,
    Outcome.HELD,
    Outcome.DELETED,
    Outcome.MARKED,
    Outcome.LEFTOVER,
]
_GIB = 1024**3


class DustbinAlarmError(Exception):
    """Files in the dustbin are missing or changed; everything else was cleaned."""


def describe(counts: dict[str, int], space: Space, *, dry_run: bool) -> str:
    """The text above the table, as Markdown."""
    told = ", ".join(f"**{number}** {name}" for name, number in counts.items() if number) or "nothing"
    head = f"Dry run, nothing was changed; it would be: {told}." if dry_run else f"Found and done: {told}."
    return (
        f"{head}\n\nThe dustbin holds {space.files} files, {space.taken / _GIB:.2f} GiB, of which "
        f"{space.marked / _GIB:.2f} GiB marked. On its disk {space.free / _GIB:.1f} of {space.total / _GIB:.1f} GiB "
        "are free."
    )


@flow(name="dicom-clean-dustbin")
async def clean_dustbin(dry_run: bool = True) -> dict[str, int]:
    """Delete disposed files whose retention is over and that every destination holds; a dry run only reports.

    Args:
        dry_run: change nothing, and show what would be done.

    Returns:
        How many files were (in a dry run: would be) marked, deleted, refused, held and so on.

    Raises:
        DustbinAlarmError: a file is missing or is not what was put there; the table says which.
    """
    progress = ProgressReport()
    if not dry_run:
        await progress.update(Progress(step="end interrupted moves", percent=5))
        await asyncio.to_thread(dustbin.finish_dustbin_moves.submit().result)
    await progress.update(Progress(step="mark and delete", percent=20))
    cleaned = await asyncio.to_thread(dustbin.clean_dustbin.submit(dry_run).result)
    await progress.update(Progress(step="compare files with the ledger", percent=70))
    swept = await asyncio.to_thread(dustbin.sweep_dustbin.submit(dry_run).result)
    # A missing file is found by both.
    findings = sorted({*cleaned.findings, *swept.findings}, key=lambda item: (ORDER.index(item.outcome), item.path))
    counts = {outcome.value: sum(item.outcome is outcome for item in findings) for outcome in ORDER}
    await artifacts.table(
        "dicom-dustbin",
        [{"outcome": item.outcome.value, "path": item.path, "reason": item.reason} for item in findings],
        describe(counts, await asyncio.to_thread(dustbin.dustbin_space), dry_run=dry_run),
    )
    await progress.update(Progress(step="done", percent=100, total=len(findings), processed=len(findings)))
    logger(flow="dicom-clean-dustbin").info("dustbin", dry_run=dry_run, **counts)
    if counts[Outcome.ALARM]:
        raise DustbinAlarmError(f"{counts[Outcome.ALARM]} files in the dustbin are missing or changed; see the table")
    return counts
