"""Takes files from disk into the ledger: copied into the spool, durable before anything else happens to them.

Used by `quintet dicom submit`, by the flow `dicom-process-file` and by tasks called with files that the ledger does
not know.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from blocks.engine import LedgerError, session
from blocks.settings import settings
from tasks.dicom.core.adoption import adopt_file
from tasks.dicom.core.arrivals import Batch, Origin
from tasks.dicom.core.presence import Presence
from tasks.dicom.core.receiving import Committer
from tasks.dicom.core.spool import FOLDER, WHOLE, ReceiveError, Spool
from tasks.dicom.core.tables import DOMAIN, SourceType


class SubmissionError(Exception):
    """Files that were asked for could not be taken; the text names each with the reason."""


@dataclass(frozen=True)
class Refusal:
    """A file that could not be taken."""

    path: str
    reason: str


@dataclass
class Submission:
    """What was taken. The association is READY: a run processes it."""

    #: None where nothing was taken.
    association_id: UUID | None = None
    #: Of the receipts, as in the ledger.
    paths: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    def check(self) -> None:
        """Complain of what was refused.

        Raises:
            SubmissionError: something was.
        """
        if self.refused:
            raise SubmissionError("; ".join(f"{item.path}: {item.reason}" for item in self.refused))


def files_in(paths: Iterable[Path]) -> Iterator[Path]:
    """The files named, and those in the folders named, in order."""
    for path in paths:
        if path.is_dir():
            yield from sorted(child for child in path.rglob("*") if child.is_file())
        else:
            yield path


def submit_files(
    paths: Iterable[Path],
    *,
    source_type: SourceType = SourceType.FILE_UPLOAD,
    source_id: str = "",
    association_info: Mapping[str, Any] | None = None,
) -> Submission:
    """Make files durable as one association; a file that cannot be taken is named, the others are taken.

    Args:
        paths: files; they stay as they are.
        source_type: how they came in.
        source_id: which source that was.
        association_info: `calling_ae`, `called_ae`, `source_ip`, as rules may ask for them.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    home, info = settings().domain_home(DOMAIN), association_info or {}
    ends = {key: info.get(key) for key in ("calling_ae", "called_ae", "source_ip")}
    batch = Batch(Origin(source_type, source_id, **ends))
    submission = Submission()
    spool = Spool(home)
    with Presence(home, "submit") as presence:
        committer = Committer(spool, lambda: session(DOMAIN), owner=presence.name)
        try:
            for path in paths:
                try:
                    stored = adopt_file(committer, spool, batch, path)
                except (OSError, ReceiveError) as error:
                    cause = error.__cause__
                    if isinstance(cause, LedgerError) and submission.association_id is None:
                        # No file is at fault.
                        raise cause from error
                    reason = getattr(error, "strerror", None) or str(error)
                    submission.refused.append(Refusal(str(path), reason))
                    continue
                submission.association_id = stored.association_id
                submission.paths.append(f"{FOLDER}/{stored.receipt_id}{WHOLE}")
            committer.end(batch, "submitted")
        finally:
            committer.close()
            spool.close()
    return submission
