"""Files from disk go the way of received ones: copied into the spool, evaluated, delivered, disposed of.

Needs the dicom ledger, the rules and the limit `dicom-deliveries`. `quintet dicom submit` does the same from a
terminal.
"""

import asyncio
from pathlib import Path

from prefect import flow

from blocks.settings import settings
from flows.dicom.associations import work_through
from tasks.dicom.core.summary import AssociationSummary
from tasks.dicom.core.tables import SourceType
from tasks.dicom.submission import SubmissionError, files_in, submit_files
from tasks.foundation.lifecycle import logger


@flow(name="dicom-process-file")
async def process_file(
    paths: list[str], source_type: SourceType = SourceType.FILE_UPLOAD, source_id: str = ""
) -> AssociationSummary:
    """Take DICOM files or folders from the worker's disk, and evaluate, deliver and dispose of their copies.

    The files stay where they are. Killed half-way, what was copied is processed by the sweep; run again, nothing is
    delivered twice.

    Args:
        paths: files or folders, absolute: a worker's run works in a folder of its own. Where
            `QUINTET_DICOM__RECEIVE__SUBMIT_ROOTS` names folders, below one of them.
        source_type: how they came in, as rules see it.
        source_id: which source that was, as rules see it.

    Returns:
        The counts of the association that the files became.

    Raises:
        SubmissionError: files could not be taken, each named with its reason; the others are done.
        RulesError: the rules are not valid; the files wait in the spool.
    """
    files = await asyncio.to_thread(_files, paths)
    submission = await asyncio.to_thread(submit_files, files, source_type=source_type, source_id=source_id)
    if submission.association_id is None:
        submission.check()
        raise SubmissionError("no files there: " + ", ".join(paths))
    logger(association=str(submission.association_id)).info("submitted", files=len(submission.paths))
    summary = await work_through(submission.association_id)
    submission.check()
    return summary


def _files(paths: list[str]) -> list[Path]:
    # Asked of every file: a link in a folder that is allowed may lead out of it.
    return [_allowed(file) for file in files_in([_allowed(Path(path)) for path in paths])]


def _allowed(path: Path) -> Path:
    roots = [root.expanduser().resolve() for root in settings().dicom.receive.submit_roots]
    resolved = path.expanduser().resolve()
    if not path.expanduser().is_absolute() and not resolved.exists():
        raise SubmissionError(f"{path}: not in {Path.cwd()}, where this run works; give an absolute path")
    if roots and not any(resolved.is_relative_to(root) for root in roots):
        raise SubmissionError(f"{path}: not below one of the folders that QUINTET_DICOM__RECEIVE__SUBMIT_ROOTS allows")
    return resolved
