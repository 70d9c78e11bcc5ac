"""When the gateway says no."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from blocks.engine import session
from tasks.dicom.core.backpressure import Level, Load, Watermarks, backlog, free_disk, judge
from tasks.dicom.core.tables import Association, Receipt, ReceiptState, SourceType

MARKS = Watermarks(soft_free_percent=15, hard_free_percent=5, hard_free_bytes=500, soft_backlog=100, hard_backlog=1000)


@pytest.mark.parametrize(
    ("free", "waiting", "level", "said"),
    [
        (9000, 0, Level.NORMAL, ()),
        (1500, 99, Level.NORMAL, ()),
        (1499, 0, Level.SOFT, ("15.0% of the disk is free, less than 15%",)),
        (499, 0, Level.HARD, ("5.0% of the disk is free, less than 5%", "499 bytes are free, fewer than 500")),
        (9000, 100, Level.SOFT, ("100 instances wait, the alert is at 100",)),
        (9000, 1000, Level.HARD, ("1000 instances wait, the limit is 1000",)),
        (
            1000,
            1000,
            Level.HARD,
            ("1000 instances wait, the limit is 1000", "10.0% of the disk is free, less than 15%"),
        ),
    ],
)
def test_the_decision(free: int, waiting: int, level: Level, said: tuple[str, ...]) -> None:
    pressure = judge(Load(free, 10_000, waiting), MARKS)
    assert (pressure.level, pressure.reasons) == (level, said)
    assert pressure.accepts is (level is not Level.HARD)


def test_a_disk_that_cannot_be_measured_is_full() -> None:
    assert judge(Load(0, 0, 0), MARKS).level is Level.HARD


def test_the_disk_is_the_folders(tmp_path: Path) -> None:
    free, total = free_disk(tmp_path)
    assert 0 < free <= total


def test_the_backlog_is_what_still_needs_work(ledger: str) -> None:
    with session("dicom") as opened:
        association = Association(source_type=SourceType.FILE_UPLOAD, opened_at=datetime(2026, 1, 1, tzinfo=UTC))
        opened.add(association)
        opened.flush()
        for state in ReceiptState:
            opened.add(
                Receipt(
                    association_id=association.id, path=f"spool/{uuid4()}.dcm", size=1, content_sha256="", state=state
                )
            )
    with session("dicom", read_only=True) as opened:
        assert backlog(opened) == 2
