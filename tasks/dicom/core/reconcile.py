"""Making spool and ledger agree again after a crash. Safe beside running listeners, and with any number of itself.

| found | done |
|---|---|
| OPEN association whose process is dead | READY, `ended_by=restarted` |
| `.part` file that nobody writes | removed: it was never acknowledged |
| whole file without a row | gets one, in a READY association of its own; it was not acknowledged, but is kept |
| row without its file | reported; a person must look |
| staged copy that no output names, a day old | removed: a run was killed over it |

A file in flight carries its writer's lock (`spool.Part`); a living process holds its own (`presence`).
"""

import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from sqlmodel import Session, col, select

from tasks.dicom.core.adoption import stored_sha256
from tasks.dicom.core.arrivals import end_association
from tasks.dicom.core.backpressure import UNFINISHED
from tasks.dicom.core.durable_files import STAGING
from tasks.dicom.core.identity import read_file_identity
from tasks.dicom.core.presence import is_alive, remove_dead
from tasks.dicom.core.receiving import Transactions
from tasks.dicom.core.spool import FOLDER, PART, WHOLE, receipt_id_of
from tasks.dicom.core.tables import Association, AssociationState, Output, Receipt, SourceType

log = logging.getLogger("quintet.reconcile")

_CHUNK = 500
#: A run writes a copy and its row within minutes.
_COPY_AGE = timedelta(days=1)


@dataclass(frozen=True)
class Reconciliation:
    """What was found and done."""

    #: OPEN associations of dead processes, now READY.
    closed: tuple[UUID, ...] = ()
    #: Receipts made for files that had none.
    adopted: tuple[UUID, ...] = ()
    #: Unfinished files and unused copies removed.
    removed: int = 0
    #: Receipts that still need their file, whose file is gone.
    missing: tuple[UUID, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether there was nothing to do."""
        return self == Reconciliation()


def reconcile(home: Path, begin: Transactions, *, now: datetime) -> Reconciliation:
    """Find and mend what crashes left behind; running it again changes nothing.

    Args:
        home: the dicom home.
        begin: opens a transaction of the ledger.
        now: written into the rows.

    Raises:
        OSError: the spool cannot be read.
        Exception: what the ledger raises.
    """
    closed = _close_dead(home, begin, now)
    # Only after their rows are closed: a row needs its process's file to be judged by.
    remove_dead(home)
    spool = home / FOLDER
    names = _files(spool)
    removed = sum(_remove_leftover(spool / name) for name in names if name.endswith(PART))
    removed += _remove_unused_copies(home, begin, now)
    adopted = _adopt(home, begin, [name for name in names if name.endswith(WHOLE)], now)
    missing = _missing(home, begin)
    for receipt_id in missing:
        log.critical("receipt %s has lost its file", receipt_id)
    return Reconciliation(closed, adopted, removed, missing)


def _files(folder: Path) -> list[str]:
    """The names of the files in a folder; what else somebody put there must not stop us."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False))


def _remove_unused_copies(home: Path, begin: Transactions, now: datetime) -> int:
    """Remove staged copies that a killed run wrote and no output names; they are written again where needed."""
    old = [name for name in _files(home / STAGING) if _age(home / STAGING / name, now) > _COPY_AGE]
    removed = 0
    for start in range(0, len(old), _CHUNK):
        paths = [f"{STAGING}/{name}" for name in old[start : start + _CHUNK]]
        with begin() as session:
            used = set(session.exec(select(Output.path).where(col(Output.path).in_(paths))).all())
        for path in paths:
            if path not in used:
                (home / path).unlink(missing_ok=True)
                removed += 1
    return removed


def _age(path: Path, now: datetime) -> timedelta:
    try:
        return timedelta(seconds=now.timestamp() - path.stat().st_mtime)
    except FileNotFoundError:
        return timedelta(0)


def _close_dead(home: Path, begin: Transactions, now: datetime) -> tuple[UUID, ...]:
    is_open = col(Association.state) == AssociationState.OPEN
    with begin() as session:
        rows = session.exec(select(Association.id, Association.opened_by).where(is_open)).all()
        dead = {name for name in {name for _, name in rows} if not is_alive(home, name or "")}
        return tuple(
            association_id
            for association_id, name in rows
            if name in dead and end_association(session, association_id, ended_by="restarted", now=now)
        )


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold a file's lock; gives False when its writer lives, or when it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It may have been renamed between opening and locking.
        yield path.exists()
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def _remove_leftover(path: Path) -> bool:
    with _locked(path) as ours:
        if ours:
            path.unlink(missing_ok=True)
        return ours


def _adopt(home: Path, begin: Transactions, names: Sequence[str], now: datetime) -> tuple[UUID, ...]:
    found: list[UUID] = []
    for name in _without_row(begin, names):
        with _locked(home / FOLDER / name) as ours:
            if ours and (adopted := _adopt_one(home, begin, name, now)):
                found.append(adopted)
    return tuple(found)


def _without_row(begin: Transactions, names: Sequence[str]) -> list[str]:
    orphans = []
    for start in range(0, len(names), _CHUNK):
        paths = {f"{FOLDER}/{name}": name for name in names[start : start + _CHUNK]}
        with begin() as session:
            known = set(session.exec(select(Receipt.path).where(col(Receipt.path).in_(list(paths)))).all())
        orphans += [name for path, name in paths.items() if path not in known]
    return orphans


def _adopt_one(home: Path, begin: Transactions, name: str, now: datetime) -> UUID | None:
    path = home / FOLDER / name
    receipt_id = receipt_id_of(f"{FOLDER}/{name}")
    if receipt_id is None:
        log.warning("a file in the spool is not ours and is left alone: %s", name)
        return None
    identity = read_file_identity(path)
    digest, size = stored_sha256(path), path.stat().st_size
    with begin() as session:
        if _has_row(session, receipt_id):
            # Its writer committed between our look and our lock, or it is on its way elsewhere.
            return None
        association = Association(
            source_type=SourceType.UNKNOWN,
            source_id="reconciliation",
            opened_at=now,
            last_received_at=now,
            closed_at=now,
            ended_by="restarted",
            state=AssociationState.READY,
        )
        session.add(association)
        session.flush()
        session.add(
            Receipt(
                id=receipt_id,
                association_id=association.id,
                path=f"{FOLDER}/{name}",
                received_at=now,
                size=size,
                content_sha256=digest,
                sop_class_uid=identity.sop_class_uid,
                sop_instance_uid=identity.sop_instance_uid,
                transfer_syntax_uid=identity.transfer_syntax_uid,
                study_instance_uid=identity.study_instance_uid,
                series_instance_uid=identity.series_instance_uid,
                modality=identity.modality,
            )
        )
    return receipt_id


def _has_row(session: Session, receipt_id: UUID) -> bool:
    return session.get(Receipt, receipt_id) is not None


def _missing(home: Path, begin: Transactions) -> tuple[UUID, ...]:
    """Receipts that need a file that is not there, asked twice: a file may move while we look.

    A run that has claimed its association moves files before it commits their rows, and notices itself what is lost.
    """
    suspects = [receipt_id for receipt_id, path in _unfinished(begin) if not (home / path).exists()]
    lost = []
    for start in range(0, len(suspects), _CHUNK):
        chosen = set(suspects[start : start + _CHUNK])
        lost += [each for each, path in _unfinished(begin, chosen) if not (home / path).exists()]
    return tuple(lost)


def _unfinished(begin: Transactions, chosen: set[UUID] | None = None) -> Sequence[tuple[UUID, str]]:
    query = (
        select(Receipt.id, Receipt.path)
        .join(Association, col(Association.id) == Receipt.association_id)
        .where(col(Receipt.state).in_(UNFINISHED), Association.state != AssociationState.PROCESSING)
    )
    if chosen is not None:
        query = query.where(col(Receipt.id).in_(chosen))
    with begin() as session:
        return session.exec(query).all()
