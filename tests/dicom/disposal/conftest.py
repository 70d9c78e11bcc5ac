"""A gateway and a clock for the tests of disposition."""

from collections.abc import Callable
from datetime import datetime

import pytest

from blocks.settings import settings
from tests.dicom.disposal.gateway import NOW, Gateway

Setting = Callable[[str, object], None]


class Clock:
    """What the tasks take for the present."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stands at NOW until moved."""
    clock = Clock()
    for module in ("disposal", "dustbin", "quarantine"):
        monkeypatch.setattr(f"tasks.dicom.{module}.utc_now", clock)
    return clock


@pytest.fixture
def gateway(ledger: str, clock: Clock) -> Gateway:
    """An empty gateway, on SQLite and on PostgreSQL."""
    return Gateway(settings().domain_home("dicom"))


@pytest.fixture
def setting(home: object, monkeypatch: pytest.MonkeyPatch) -> Setting:
    """Set a setting of `dicom.disposition`."""

    def change(name: str, value: object) -> None:
        monkeypatch.setenv(f"QUINTET_DICOM__DISPOSITION__{name.upper()}", str(value))
        settings.cache_clear()

    return change
