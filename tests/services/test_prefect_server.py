"""Prefect's server collects garbage beside its event loop, so that an abandoned cursor cannot stop it."""

import gc
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deployments.services.prefect_server import collect_beside_the_event_loop

#: Of the connection that wants the write lock; the test fails when it is over.
BUSY_SECONDS = 20.0


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Abandoned:
    """Garbage that only the collector finds, and that says who did."""

    def __init__(self, cursor: sqlite3.Cursor, found_by: list[str]) -> None:
        self.cursor = cursor
        self.found_by = found_by
        self.itself = self

    def __del__(self) -> None:
        self.found_by.append(threading.current_thread().name)


@pytest.fixture
def collecting() -> Iterator[None]:
    gc.collect()
    over = collect_beside_the_event_loop()
    yield
    over.set()
    eventually(gc.isenabled)


def test_an_abandoned_cursor_does_not_stop_the_thread_that_holds_the_write_lock(
    collecting: None, tmp_path: Path
) -> None:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            tmp_path / "file.db", timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )

    writer, waiting = connect(), connect()
    writer.executescript("PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1), (2);")
    found_by: list[str] = []
    writer.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as threads:
        # Not read to its end: closing it needs its connection, which soon waits for the write lock. (It reads no table:
        # with a read lock, SQLite would not let its connection wait.)
        abandoned = Abandoned(waiting.execute("VALUES (1), (2)"), found_by)
        wants = threads.submit(waiting.execute, "INSERT INTO t VALUES (3)")
        time.sleep(0.1)
        del abandoned
        # Enough of it that the collector would long have run here.
        for _ in range(20_000):
            ring: list[object] = []
            ring.append(ring)
        eventually(lambda: bool(found_by))
        assert not wants.done()
        writer.execute("COMMIT")
        wants.result(BUSY_SECONDS).close()
    assert found_by == ["garbage collector"]
    assert waiting.execute("SELECT count(*) FROM t").fetchone() == (3,)
    writer.close()
    waiting.close()
