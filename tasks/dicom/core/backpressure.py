"""When to say no: watermarks of free disk and of the backlog, and what they mean now.

Nothing undelivered is ever deleted to make room; the only way to hold the disk is to stop taking more.
"""

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sqlmodel import Session, col, func, select

from tasks.dicom.core.tables import Receipt, ReceiptState

#: Receipts in these states still need work.
UNFINISHED = (ReceiptState.RECEIVED, ReceiptState.EVALUATED)


class Level(StrEnum):
    """How full it is."""

    NORMAL = "NORMAL"
    #: Somebody must be told.
    SOFT = "SOFT"
    #: Nothing more is accepted.
    HARD = "HARD"


@dataclass(frozen=True)
class Watermarks:
    """Where SOFT and HARD begin."""

    soft_free_percent: float
    hard_free_percent: float
    hard_free_bytes: int
    soft_backlog: int
    hard_backlog: int


@dataclass(frozen=True)
class Load:
    """What was measured."""

    free_bytes: int
    total_bytes: int
    backlog: int

    @property
    def free_percent(self) -> float:
        """Free disk in percent."""
        return 100 * self.free_bytes / self.total_bytes if self.total_bytes else 0.0


@dataclass(frozen=True)
class Pressure:
    """The decision, and why."""

    level: Level
    load: Load
    reasons: tuple[str, ...] = ()

    @property
    def accepts(self) -> bool:
        """Whether anything may be taken."""
        return self.level is not Level.HARD


def judge(load: Load, marks: Watermarks) -> Pressure:
    """What a load means."""
    free = f"{load.free_percent:.1f}% of the disk is free"
    hard, soft = [], []
    if load.free_percent < marks.hard_free_percent:
        hard.append(f"{free}, less than {marks.hard_free_percent:g}%")
    elif load.free_percent < marks.soft_free_percent:
        soft.append(f"{free}, less than {marks.soft_free_percent:g}%")
    if load.free_bytes < marks.hard_free_bytes:
        hard.append(f"{load.free_bytes} bytes are free, fewer than {marks.hard_free_bytes}")
    if load.backlog >= marks.hard_backlog:
        hard.append(f"{load.backlog} instances wait, the limit is {marks.hard_backlog}")
    elif load.backlog >= marks.soft_backlog:
        soft.append(f"{load.backlog} instances wait, the alert is at {marks.soft_backlog}")
    level = Level.HARD if hard else Level.SOFT if soft else Level.NORMAL
    return Pressure(level, load, tuple(hard + soft))


def free_disk(folder: Path) -> tuple[int, int]:
    """Bytes that this user may still write to a folder's file system, and its size.

    Raises:
        OSError: the folder is gone.
    """
    answer = os.statvfs(folder)
    return answer.f_bavail * answer.f_frsize, answer.f_blocks * answer.f_frsize


def backlog(session: Session) -> int:
    """How many received instances still need work."""
    return session.exec(select(func.count()).select_from(Receipt).where(col(Receipt.state).in_(UNFINISHED))).one()
