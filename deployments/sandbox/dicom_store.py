"""The sandbox peer's memory: every arrival, durable before it is acknowledged. The ground truth of demo and tests.

Two tables in a SQLite file of its own: `arrival`, one row for each C-STORE whose data set was written, and `object`,
what the peer holds now. The data sets lie beside it, named by their content.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

Keep = Literal["both", "first", "last"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS arrival (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    calling_ae TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    transfer_syntax_uid TEXT NOT NULL,
    content_sha256 TEXT NOT NULL,
    size INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS object (
    sop_instance_uid TEXT NOT NULL,
    content_sha256 TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL,
    transfer_syntax_uid TEXT NOT NULL,
    study_instance_uid TEXT,
    series_instance_uid TEXT,
    PRIMARY KEY (sop_instance_uid, content_sha256)
);
"""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object that the peer holds."""

    sop_instance_uid: str
    content_sha256: str
    sop_class_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str | None
    series_instance_uid: str | None


class PeerStore:
    """Objects and arrivals below one folder; used from several threads and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._objects = folder / "objects"
        self._objects.mkdir(parents=True, exist_ok=True)
        with self._database() as database:
            database.executescript(_SCHEMA)

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        # A connection each time: handlers run in a thread per association, and this peer need not be fast.
        database = sqlite3.connect(self.folder / "peer.db", timeout=30)
        try:
            database.row_factory = sqlite3.Row
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=FULL")
            with database:
                yield database
        finally:
            database.close()

    def path(self, content_sha256: str) -> Path:
        """Where a data set lies, without file meta."""
        return self._objects / f"{content_sha256}.dataset"

    def add(self, held: StoredObject, data: bytes | memoryview, *, calling_ae: str, keep: Keep) -> None:
        """Write one arrival; when this returns it is on disk.

        Args:
            held: what arrived.
            data: its data set.
            calling_ae: who sent it.
            keep: what to hold when the UID is there with other content.
        """
        target = self.path(held.content_sha256)
        if not target.exists():
            temporary = target.with_suffix(f".{os.getpid()}-{os.urandom(6).hex()}")
            with temporary.open("xb") as written:
                written.write(data)
                written.flush()
                os.fsync(written.fileno())
            temporary.rename(target)
            handle = os.open(self._objects, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        row = asdict(held)
        with self._database() as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute(
                "INSERT INTO arrival (at, calling_ae, sop_class_uid, sop_instance_uid, transfer_syntax_uid,"
                " content_sha256, size) VALUES (:at, :calling_ae, :sop_class_uid, :sop_instance_uid,"
                " :transfer_syntax_uid, :content_sha256, :size)",
                row | {"at": datetime.now(UTC).isoformat(), "calling_ae": calling_ae, "size": len(data)},
            )
            if keep == "last":
                database.execute("DELETE FROM object WHERE sop_instance_uid = :sop_instance_uid", row)
            elif keep == "first" and self._holds(database, held.sop_instance_uid):
                return
            database.execute(
                "INSERT OR IGNORE INTO object VALUES (:sop_instance_uid, :content_sha256, :sop_class_uid,"
                " :transfer_syntax_uid, :study_instance_uid, :series_instance_uid)",
                row,
            )

    @staticmethod
    def _holds(database: sqlite3.Connection, sop_instance_uid: str) -> bool:
        rows = database.execute("SELECT 1 FROM object WHERE sop_instance_uid = ?", (sop_instance_uid,))
        return rows.fetchone() is not None

    def find(self, **keys: str) -> list[StoredObject]:
        """The objects whose columns equal the given values.

        Args:
            keys: column names and values.
        """
        if unknown := keys.keys() - StoredObject.__slots__:
            raise ValueError(f"no such columns: {sorted(unknown)}")
        where = " AND ".join(f"{column} = :{column}" for column in keys) or "1"
        with self._database() as database:
            rows = database.execute(f"SELECT * FROM object WHERE {where} ORDER BY rowid", keys)  # noqa: S608  columns checked above
            return [StoredObject(**dict(row)) for row in rows]

    def report(self) -> dict[str, object]:
        """What arrived, counted.

        Returns:
            `arrivals` (all of them), `distinct` (different pairs of UID and content), `duplicates` (arrivals beyond the
            first of a pair) and `objects`, one entry per pair: `sop_instance_uid`, `content_sha256`,
            `transfer_syntax_uid`, `arrivals`, `held`.
        """
        with self._database() as database:
            rows = database.execute(
                "SELECT sop_instance_uid, content_sha256, min(transfer_syntax_uid) AS transfer_syntax_uid,"
                " count(*) AS arrivals, EXISTS (SELECT 1 FROM object o WHERE o.sop_instance_uid = a.sop_instance_uid"
                " AND o.content_sha256 = a.content_sha256) AS held"
                " FROM arrival a GROUP BY sop_instance_uid, content_sha256 ORDER BY min(number)"
            )
            objects = [dict(row) | {"held": bool(row["held"])} for row in rows]
        arrivals = sum(entry["arrivals"] for entry in objects)
        return {
            "arrivals": arrivals,
            "distinct": len(objects),
            "duplicates": arrivals - len(objects),
            "objects": objects,
        }


def sha256_of(data: bytes | memoryview) -> str:
    """SHA-256 of a data set."""
    return hashlib.sha256(data).hexdigest()
