"""Every minute: spool and ledger are made to agree, and associations that wait for a run get one.

Needs the dicom ledger and the deployment `dicom-process-association/on-demand`.
"""

import asyncio

from prefect import flow

from tasks.dicom import reconcile_spool
from tasks.dicom import sweep_associations as sweep
from tasks.dicom.sweeps import SweepCounts
from tasks.foundation.artifacts import table


@flow(name="dicom-sweep-associations")
async def sweep_associations() -> SweepCounts:
    """Start what never started or died: associations without a run, files without a row, deliveries that are due.

    Returns:
        How many runs were started, and how many associations were left alone.

    Raises:
        ConnectionError: Prefect's API is away; the next sweep finds the same.
    """
    try:
        found = await asyncio.to_thread(reconcile_spool.submit().result)
    finally:
        # Also where the spool cannot be read: what waits in the ledger is not to wait for that.
        counts = await asyncio.to_thread(sweep.submit().result)
    if any(found.model_dump().values()) or any(counts.model_dump().values()):
        await table("dicom-sweep", [found.model_dump() | counts.model_dump()], "What the sweep found and started.")
    return counts
