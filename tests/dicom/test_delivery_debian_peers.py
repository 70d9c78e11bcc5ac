"""Deliveries to independent receivers: DCMTK's storescp with its faults, and Orthanc."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from blocks.settings import settings
from tasks.dicom.core.destinations import Verification
from tasks.dicom.core.tables import DeliveryState
from tasks.dicom.deliveries import deliver
from tasks.dicom.delivery_outcomes import DeliveryCounts
from tests.dicom.test_deliveries import add, archive, end_waiting, rows, spool, states
from tests.dicom_peers import bundled, debian_peer, debian_program, free_port

pytestmark = [pytest.mark.debian, pytest.mark.usefixtures("ledger")]

REAL = ["CT_small.dcm", "JPEG2000.dcm", "MR_small_bigendian.dcm", "SC_rgb_jpeg_dcmtk.dcm", "rtplan.dcm"]


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_DICOM__DELIVERY__BACKOFF_BASE_SECONDS", "0.000001")
    monkeypatch.setenv("QUINTET_DICOM__DELIVERY__BACKOFF_CAP_SECONDS", "0.00001")
    settings.cache_clear()


def storescp(folder: Path, port: int, *options: str) -> AbstractContextManager[None]:
    program = debian_program("/usr/bin/storescp")
    folder.mkdir(exist_ok=True)
    return debian_peer([program, "--output-directory", str(folder), *options, str(port)], port, folder / "log")


def received(folder: Path) -> int:
    return len([path for path in folder.iterdir() if path.name != "log"])


def test_storescp_takes_what_it_can_and_the_rest_decompressed(home: Path, tmp_path: Path) -> None:
    port = free_port()
    ids = add([*spool(home, 5), *(bundled(name).path for name in REAL)])
    with storescp(tmp_path / "out", port):
        assert deliver(archive(port), ids) == DeliveryCounts(verified=10)
    assert received(tmp_path / "out") == 10
    (jpeg,) = [row for row in rows(ids) if row.sop_instance_uid == bundled("JPEG2000.dcm").sop_instance_uid]
    assert "sent as" in (jpeg.reason or "")


def test_storescp_that_refuses_is_retried_later(home: Path, tmp_path: Path) -> None:
    port = free_port()
    ids = add(spool(home, 2))
    with storescp(tmp_path / "refusing", port, "--refuse"):
        assert deliver(archive(port), ids) == DeliveryCounts(retry=2)
    # It closes the connection at once after its rejection; on a busy machine only the lost connection is seen.
    assert any(told in (rows(ids)[0].reason or "") for told in ("rejected", "does not answer"))
    with storescp(tmp_path / "out", port):
        assert deliver(archive(port), ids) == DeliveryCounts(verified=2)
    assert received(tmp_path / "out") == 2


@pytest.mark.parametrize("fault", ["--abort-after", "--abort-during"])
def test_storescp_that_aborts_leaves_doubt_and_nothing_is_lost(home: Path, tmp_path: Path, fault: str) -> None:
    port = free_port()
    ids = add(spool(home, 3, size=200_000))
    with storescp(tmp_path / "aborting", port, fault):
        assert deliver(archive(port), ids) == DeliveryCounts(unknown=3)
    with storescp(tmp_path / "out", port):
        # It cannot be asked what it holds, so they are sent again.
        assert deliver(archive(port), ids) == DeliveryCounts(verified=3)
    assert received(tmp_path / "out") == 3


def test_storescp_that_is_slow_to_answer_is_not_waited_for(home: Path, tmp_path: Path) -> None:
    port = free_port()
    ids = add(spool(home, 1))
    to = archive(port)
    hasty = to.model_copy(update={"dimse": to.dimse and to.dimse.model_copy(update={"timeout_seconds": 2})})
    with storescp(tmp_path / "out", port, "--sleep-during", "5"):
        assert deliver(hasty, ids) == DeliveryCounts(unknown=1)
    assert states(ids) == [DeliveryState.UNKNOWN]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Orthanc with an empty store; gives its DICOM port."""
    program = debian_program("/usr/sbin/Orthanc")
    folder, port = tmp_path_factory.mktemp("orthanc"), free_port()
    told: dict[str, Any] = {
        "Name": "archive",
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "HttpServerEnabled": False,
        "DicomAet": "SANDBOX",
        "DicomPort": port,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(told))
    with debian_peer([program, str(folder / "orthanc.json")], port, folder / "log"):
        yield port


@pytest.mark.parametrize("verify", [Verification.C_FIND, Verification.READ_BACK])
def test_orthanc_is_delivered_to_and_verified(home: Path, orthanc: int, verify: Verification) -> None:
    ids: list[UUID] = add([*spool(home, 5), *(bundled(name).path for name in REAL)])
    assert deliver(archive(orthanc, verify=verify), ids) == DeliveryCounts(verified=10)
    assert {row.verified_by for row in rows(ids)} == {verify.value}


def test_orthanc_settles_doubts(home: Path, orthanc: int) -> None:
    from sqlmodel import col, update

    from blocks.engine import session
    from tasks.dicom.core.tables import Delivery

    there, absent = add(spool(home, 2))
    assert deliver(archive(orthanc), [there]) == DeliveryCounts(verified=1)
    with session("dicom") as opened:
        opened.exec(update(Delivery).where(col(Delivery.id).in_([there, absent])).values(state=DeliveryState.UNKNOWN))
    end_waiting()
    assert deliver(archive(orthanc), [there, absent]) == DeliveryCounts(verified=2)
    assert [row.verified_by for row in rows([there, absent])] == ["read_back", "status"]
