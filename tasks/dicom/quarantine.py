"""Moves files that cannot be processed to quarantine, and releases them for another try.

Needs the dicom ledger. Nothing in quarantine is ever deleted.
"""

from collections.abc import Sequence
from uuid import UUID

from blocks.engine import session
from blocks.settings import settings
from tasks.dicom.core import quarantine
from tasks.dicom.core.provenance import carry_out
from tasks.dicom.core.tables import DOMAIN, Receipt
from tasks.foundation.core.columns import utc_now
from tasks.foundation.lifecycle import logger
from tasks.foundation.retries import INGEST


@INGEST.task
def quarantine_file(receipt_id: UUID, reason: str) -> bool:
    """Move a received file to quarantine, with its provenance and the reason beside it.

    Args:
        receipt_id: whose file.
        reason: for the person who will look at it; no patient data.

    Returns:
        False if the file is nowhere to be found; the receipt then says that it is lost.

    Raises:
        LookupError: no such receipt.
        QuarantineError: the file is in the dustbin.
        OSError: the file could not be moved; it is where it was.
    """
    with session(DOMAIN) as opened:
        found = quarantine.quarantine_receipt(
            opened, receipt_id, reason, home=settings().domain_home(DOMAIN), now=utc_now()
        )
    if not found:
        logger(receipt=str(receipt_id)).critical(
            "a received file is lost: it is neither in the spool nor in quarantine"
        )
    return found


def release_from_quarantine(receipt_id: UUID) -> quarantine.Released:
    """Take a file back into the spool, and send it through the rules again in an association of its own.

    The association is READY: the sweep starts a run for it. Dead deliveries of the instance are tried again when the
    rules name their destination again.

    Args:
        receipt_id: whose file.

    Raises:
        LookupError: no such receipt.
        QuarantineError: the receipt is not in quarantine.
        FileLostError: its file is nowhere to be found.
        OSError: the file could not be moved; run it again.
    """
    now = utc_now()
    with session(DOMAIN) as opened:
        move = quarantine.plan_release(opened, receipt_id, now=now)
    if move is not None:
        carry_out(settings().domain_home(DOMAIN), move)
    with session(DOMAIN) as opened:
        return quarantine.finish_release(opened, receipt_id, now=now)


def list_quarantine(study_instance_uid: str | None = None, limit: int = 100) -> Sequence[Receipt]:
    """What is in quarantine, the newest first.

    Args:
        study_instance_uid: only this study.
        limit: at most so many.
    """
    with session(DOMAIN, read_only=True) as opened:
        return quarantine.listed(opened, study_instance_uid=study_instance_uid, limit=limit)
