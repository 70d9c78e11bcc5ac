"""What must run: the Prefect server, workers, and the DICOM listener."""

import json
import socket
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import psutil
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import WorkerFilter, WorkerFilterStatus
from prefect.exceptions import ObjectNotFound

from blocks.settings import settings
from deployments.apply import differences
from deployments.apply.server import api_url, connect
from deployments.doctor.finding import Finding
from deployments.work_pools import WORK_POOL

#: The server tells whole seconds; leases and heartbeats bear a few more.
CLOCK_SECONDS = 5
_CONNECT_SECONDS = 3


async def server() -> list[Finding]:
    """Whether the server answers, has the right time, workers, and what the files say.

    Raises:
        ExpectedError: no server answers, or it is of a wrong version.
    """
    async with connect() as client:
        findings = [Finding("server", True, f"{await client.api_version()} at {api_url()}"), await _clock(client)]
        findings.append(await _workers(client))
        changes = await differences(client)
    if changes:
        findings.append(Finding("applied", False, f"{len(changes)} differences from the files", "Run `quintet apply`."))
    else:
        findings.append(Finding("applied", True, "the server is what the files say"))
    return findings


async def _clock(client: PrefectClient) -> Finding:
    asked = datetime.now(UTC)
    stamp = (await client.hello()).headers.get("date")
    answered = datetime.now(UTC)
    if stamp is None:
        return Finding("clock", True, "the server does not tell its time")
    there = parsedate_to_datetime(stamp)
    apart = max((asked - there).total_seconds() - 1, (there - answered).total_seconds(), 0)
    if apart > CLOCK_SECONDS:
        state = f"{apart:.0f} s apart from the server's"
        return Finding("clock", False, state, "Turn on NTP on both: leases and schedules compare times.")
    return Finding("clock", True, "agrees with the server's")


async def _workers(client: PrefectClient) -> Finding:
    online = WorkerFilter(status=WorkerFilterStatus(any_=["ONLINE"]))
    try:
        workers = await client.read_workers_for_work_pool(WORK_POOL, worker_filter=online)
    except ObjectNotFound:
        return Finding("workers", False, f"there is no work pool {WORK_POOL!r}", "Run `quintet apply`.")
    if not workers:
        advice = f"`quintet up` starts them; elsewhere `prefect worker start --pool {WORK_POOL}`."
        return Finding("workers", False, f"none online in the work pool {WORK_POOL!r}", advice)
    return Finding("workers", True, f"{len(workers)} online: {', '.join(sorted(worker.name for worker in workers))}")


def _listening_at() -> tuple[str, int] | None:
    """Where the listener of this home says that it listens, while its process lives."""
    try:
        ready = json.loads((settings().domain_home("dicom") / "listener.json").read_text())
    except FileNotFoundError:
        return None
    return (ready["host"], ready["port"]) if psutil.pid_exists(ready["pid"]) else None


def dicom_listener() -> list[Finding]:
    """Whether the listener answers on its port, and not something else."""
    receive = settings().dicom.receive
    host, port = _listening_at() or (receive.host, receive.port)
    where = f"{host}:{port}"
    if port == 0:
        return [Finding("port dicom", True, "any free port; `quintet up` prints which")]
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        advice = "`quintet up` starts the listener."
        return [Finding("port dicom", False, f"nothing answers at {where} ({error.strerror or error})", advice)]
    if receive.tls_certificate is None and not _speaks_dicom(host, port, receive.ae_title):
        advice = "End what holds the port, or set QUINTET_DICOM__RECEIVE__PORT."
        return [Finding("port dicom", False, f"what answers at {where} does not speak DICOM", advice)]
    return [Finding("port dicom", True, f"the listener answers at {where}")]


def _speaks_dicom(host: str, port: int, ae_title: str) -> bool:
    from pynetdicom import AE
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

    entity = AE(ae_title="QUINTET-DOCTOR")
    entity.acse_timeout = entity.connection_timeout = entity.network_timeout = _CONNECT_SECONDS
    entity.add_requested_context(Verification)
    association = entity.associate(host, port, ae_title=ae_title)
    # A rejection is an answer too: allow-lists need not know the doctor.
    answered = bool(association.is_established or association.is_rejected)
    if association.is_established:
        association.release()
    return answered
