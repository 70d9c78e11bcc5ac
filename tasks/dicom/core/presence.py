"""Who is alive: every process that adds to the ledger's OPEN rows holds a locked file for as long as it lives.

The kernel frees the lock when the process dies, however it dies, so nobody has to believe a heartbeat or a process id.
"""

import fcntl
import os
import socket
from pathlib import Path
from typing import Self
from uuid import uuid4

FOLDER = "presence"
_SUFFIX = ".lock"


class Presence:
    """This process's own name, alive until `close` or the process's end."""

    def __init__(self, home: Path, role: str) -> None:
        """Take a name of one's own.

        Args:
            home: the dicom home.
            role: `listener`, `submit`, ... the name's first part.

        Raises:
            OSError: the home cannot be written.
        """
        self.name = f"{role}-{socket.gethostname()[:40]}-{os.getpid()}-{uuid4().hex[:8]}"
        folder = home / FOLDER
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / f"{self.name}{_SUFFIX}"
        while True:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            # Between making and locking it a clean-up may have taken it for a leftover and removed it.
            if self._path.exists() and os.fstat(self._descriptor).st_ino == self._path.stat().st_ino:
                break
            os.close(self._descriptor)

    def __enter__(self) -> Self:
        """Close on leaving."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Be gone."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def is_alive(home: Path, name: str) -> bool:
    """Whether the process that took this name still runs.

    Args:
        home: the dicom home.
        name: `Presence.name`, as found in the ledger.
    """
    path = home / FOLDER / f"{Path(name).name}{_SUFFIX}"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def remove_dead(home: Path) -> int:
    """Remove the files of processes that are gone; gives how many."""
    removed = 0
    for path in (home / FOLDER).glob(f"*{_SUFFIX}"):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            removed += 1
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)
    return removed
