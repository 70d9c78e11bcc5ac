"""A listener with a home and a ledger of its own, in this process or in another one."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sqlmodel import Session, select

from blocks.engine import engine, session
from blocks.settings import DicomReceiveSettings, settings
from deployments.services.dicom_listener.listener import Listener
from tasks.dicom.core.backpressure import Pressure
from tasks.dicom.core.tables import Association, AssociationState, DicomTable, Receipt

ROOT = Path(__file__).resolve().parents[2]
#: The machine that tests run on may be fuller than a gateway's disk should be.
ROOMY: dict[str, Any] = {"soft_free_percent": 0, "hard_free_percent": 0, "hard_free_bytes": 0}


def begin() -> AbstractContextManager[Session]:
    """A transaction of the ledger."""
    return session("dicom")


def make_ledger() -> Path:
    """Make the tables; gives the dicom home."""
    folder = settings().domain_home("dicom")
    DicomTable.metadata.create_all(engine("dicom"))
    return folder


class Gateway:
    """A listener in this process."""

    def __init__(self, **config: Any) -> None:
        self.home = make_ledger()
        self.pressures: list[Pressure] = []
        self.listener = Listener(
            DicomReceiveSettings(**{"port": 0, **ROOMY, **config}),
            self.home,
            begin,
            on_pressure=lambda pressure, _name: self.pressures.append(pressure),
        )
        self.listener.start()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return self.listener.address

    def spooled(self) -> list[str]:
        """Names in the spool."""
        return sorted(path.name for path in (self.home / "spool").iterdir())


def receipts() -> list[Receipt]:
    """All receipts, in order of arrival."""
    with session("dicom", read_only=True) as opened:
        return sorted(opened.exec(select(Receipt)).all(), key=lambda row: row.received_at)


def associations() -> list[Association]:
    """All associations, in order of opening."""
    with session("dicom", read_only=True) as opened:
        return sorted(opened.exec(select(Association)).all(), key=lambda row: row.opened_at)


def ended() -> list[str | None]:
    """How the associations ended, once none is open any more."""
    eventually(lambda: all(row.state is AssociationState.READY for row in associations()))
    return [row.ended_by for row in associations()]


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)


def start_process(home: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """The listener as a process of its own."""
    roomy = {f"QUINTET_DICOM__RECEIVE__{name.upper()}": str(value) for name, value in ROOMY.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "deployments.services.dicom_listener", *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "QUINTET_HOME": str(home),
            "QUINTET_DICOM__RECEIVE__PORT": "0",
            **roomy,
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def address_of(process: subprocess.Popen[str]) -> tuple[str, int]:
    """Where a process listens, once it does."""
    assert process.stdout is not None
    said = json.loads(process.stdout.readline())
    return said["host"], said["port"]
