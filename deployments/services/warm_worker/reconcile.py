"""Finding runs that lost both their process and their worker.

A run whose process dies is reported by its worker at once. When the worker was killed too, nobody reports; its records
stay, and the next worker of this machine, or one that still lives, marks those runs Crashed. A run whose process
outlived its worker is left alone: it finishes by itself.

A killed process may have sent a request that a busy server handles only after the report of the crash, so that the run
is Running again, for ever. So the end of a killed run is looked at for a while, and reported again if need be.
"""

import time
from collections.abc import Container
from uuid import UUID

from prefect.client.orchestration import PrefectClient

from deployments.processes import ProcessIdentity
from deployments.services.warm_worker.records import RunRecord, RunRecords
from deployments.services.warm_worker.states import Logger, mark_cancelled, mark_crashed, unfinished

# Prefect's server on SQLite lets a request wait this long for its turn to write.
DOUBT_SECONDS = 60.0


async def reconcile(
    client: PrefectClient, records: RunRecords, *, me: ProcessIdentity, mine: Container[UUID], logger: Logger
) -> list[UUID]:
    """Report the end of runs that nobody else will report.

    Args:
        client: the API.
        records: the pool's records.
        me: the asking worker.
        mine: flow runs that the asking worker looks after at this moment.
        logger: where crashed runs are reported.

    Returns:
        The flow runs whose records were cleared.
    """
    cleared = []
    for record in records:
        if record.worker == me:
            # A run of ours that was killed, or whose end could not be reported because the API was away.
            if record.flow_run_id in mine or (record.child is not None and record.child.alive()):
                continue
        elif not record.orphaned:
            continue
        if record.child is None and not records.take_back(record.flow_run_id):
            continue
        await _report(client, record, me, logger)
        first_look = records.looked_at.setdefault(record.flow_run_id, time.monotonic())
        if record.child is not None and time.monotonic() - first_look < DOUBT_SECONDS:
            continue
        records.remove(record.flow_run_id)
        cleared.append(record.flow_run_id)
    return cleared


async def _report(client: PrefectClient, record: RunRecord, me: ProcessIdentity, logger: Logger) -> None:
    flow_run = await unfinished(client, record.flow_run_id)
    if flow_run is None or flow_run.state is None:
        return
    if flow_run.state.is_cancelling():
        await mark_cancelled(client, flow_run, "The run's process and its worker ended while it was being cancelled.")
        return
    where = "before it started" if record.child is None else f"as process {record.child.pid}"
    worker = "" if record.worker == me else ", and so did its worker (killed?)"
    await mark_crashed(client, flow_run, f"The run ended {where} on {record.worker.host}{worker}.", logger)
