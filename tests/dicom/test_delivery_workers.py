"""Deliveries by several workers, and by workers that are killed."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlmodel import col, update

from blocks.engine import session
from tasks.dicom.core.destinations import Destination, Verification
from tasks.dicom.core.tables import Delivery, DeliveryState
from tasks.dicom.deliveries import deliver
from tasks.dicom.delivery_outcomes import DeliveryCounts
from tasks.foundation.core.columns import utc_now
from tests.dicom.test_deliveries import add, archive, arrivals_of, rows, spool, states
from tests.dicom_peers import peer_process, running_peer

pytestmark = pytest.mark.usefixtures("ledger")


def test_two_workers_send_each_delivery_once(home: Path, tmp_path: Path) -> None:
    ids = add(spool(home, 30))
    with running_peer(tmp_path / "peer") as peer:
        to = archive(peer.port, verify=Verification.C_FIND)
        counts: list[DeliveryCounts] = []
        together = threading.Barrier(2)

        def work(order: list[UUID]) -> None:
            together.wait()
            # In small calls, as two flow runs with overlapping batches would make them.
            for start in range(0, 30, 6):
                counts.append(deliver(to, order[start : start + 12]))

        workers = [threading.Thread(target=work, args=(order,)) for order in (ids, ids[::-1])]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert arrivals_of(peer) == [1] * 30
    assert states(ids) == [DeliveryState.VERIFIED] * 30
    assert sum(each.verified for each in counts) == 30


_WORKER = """
import sys
from uuid import UUID
from blocks.dimse_client import DimseClient, Peer
from blocks.settings import settings
from tasks.dicom.core.destinations import Destination
from tasks.dicom.delivery_batch import DeliveryBatch
to = Destination.model_validate_json(sys.argv[1])
store = DimseClient(Peer(to.dimse.host, to.dimse.port, to.dimse.called_ae, to.dimse.calling_ae, 5))
told = settings().dicom.delivery
DeliveryBatch(to, store, home=settings().domain_home("dicom"), told=told).run(map(UUID, sys.argv[2:]))
"""


def start_worker(to: Destination, ids: list[UUID]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WORKER, to.model_dump_json(), *map(str, ids)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()})


def report(store: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "deployments.sandbox.dicom_peer", "--store", str(store), "--report"]
    told: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return told


def until(condition: Callable[[], bool]) -> None:
    """Wait; the test's own timeout ends what never comes."""
    while not condition():
        threading.Event().wait(0.02)


def test_a_killed_worker_leaves_exactly_one_of_each_content(home: Path, tmp_path: Path) -> None:
    ids = add(spool(home, 40))
    with peer_process(tmp_path / "peer", "--delay", "0.01") as port:
        to = archive(port)
        for share in (8, 20):
            with start_worker(to, ids) as worker:
                until(lambda: states(ids).count(DeliveryState.VERIFIED) >= share)  # noqa: B023  called at once
                worker.send_signal(signal.SIGKILL)
            assert worker.returncode == -signal.SIGKILL
            in_doubt = states(ids).count(DeliveryState.SENDING)
            assert in_doubt <= 8
            # As if the dead worker's lease had run out.
            with session("dicom") as opened:
                past = utc_now() - timedelta(seconds=1)
                opened.exec(update(Delivery).where(col(Delivery.lease_until).is_not(None)).values(lease_until=past))
        with start_worker(to, ids) as worker:
            assert worker.wait(60) == 0
        assert states(ids) == [DeliveryState.VERIFIED] * 40
        told = report(tmp_path / "peer")
    assert (told["arrivals"], told["distinct"], told["duplicates"]) == (40, 40, 0)
    assert {(each["sop_instance_uid"], each["content_sha256"]) for each in told["objects"]} == {
        (row.sop_instance_uid, row.content_sha256) for row in rows(ids)
    }
