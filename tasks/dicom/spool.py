"""Makes spool and ledger agree after a crash; safe beside running listeners."""

from pydantic import BaseModel

from blocks.engine import session
from blocks.settings import settings
from tasks.dicom.core.reconcile import reconcile
from tasks.dicom.core.tables import DOMAIN
from tasks.foundation.core.columns import utc_now
from tasks.foundation.retries import INGEST


class ReconcileCounts(BaseModel):
    """What was found and mended."""

    #: Associations of dead listeners, now READY.
    closed: int = 0
    #: Whole files without a row, which now have one.
    adopted: int = 0
    #: Unfinished files removed: never acknowledged.
    removed: int = 0
    #: Rows whose file is gone. A person must look.
    missing: int = 0


@INGEST.task
def reconcile_spool() -> ReconcileCounts:
    """Close what dead listeners left open, adopt files without a row, remove unfinished ones, report missing ones.

    Raises:
        OSError: the spool cannot be read.
    """
    found = reconcile(settings().domain_home(DOMAIN), lambda: session(DOMAIN), now=utc_now())
    return ReconcileCounts(
        closed=len(found.closed), adopted=len(found.adopted), removed=found.removed, missing=len(found.missing)
    )
