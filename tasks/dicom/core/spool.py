"""The spool: where received files lie until they are disposed of, and how one gets there without ever being half there.

A file is written as `<receipt id>.part` and renamed to `<receipt id>.dcm` when it is whole and on the disk. Names come
from the receipt's own id, never from what a sender says. The writer holds an advisory lock on its file until the ledger
knows it, so that whoever cleans up beside a running listener can tell a file in flight from a leftover of the dead.

Errors::

    ReceiveError
    ├── StorageFullError    no room left for the file or for its row in the ledger
    ├── SpoolError          the spool cannot be written for another reason
    ├── LedgerWriteError    the row could not be committed
    └── ReceiverClosedError the receiver is shutting down
"""

import errno
import fcntl
import hashlib
import os
from pathlib import Path
from typing import Self, TypeAlias
from uuid import UUID, uuid4

FOLDER = "spool"
PART = ".part"
WHOLE = ".dcm"
Bytes: TypeAlias = bytes | bytearray | memoryview
# EFBIG: the process's own file size limit is as full as a disk.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class ReceiveError(Exception):
    """A file could not be made durable; its sender must not be told that it was."""


class StorageFullError(ReceiveError):
    """No room left."""


class SpoolError(ReceiveError):
    """The spool cannot be written."""


class LedgerWriteError(ReceiveError):
    """The file's row could not be committed."""


class ReceiverClosedError(ReceiveError):
    """The receiver is shutting down."""


def receipt_id_of(path: str) -> UUID | None:
    """The receipt that a path of the spool, relative to the dicom home, belongs to; None for any other path."""
    name = path.removeprefix(f"{FOLDER}/")
    try:
        identifier = UUID(name.removesuffix(WHOLE))
    except ValueError:
        return None
    return identifier if path == f"{FOLDER}/{identifier}{WHOLE}" else None


def spool_error(error: OSError, doing: str) -> ReceiveError:
    """The typed error of a failed system call.

    Args:
        error: what the system said.
        doing: what was tried, for people.
    """
    kind = StorageFullError if error.errno in _FULL else SpoolError
    return kind(f"{doing}: {error.strerror or type(error).__name__}")


class Spool:
    """The spool folder of a dicom home. Safe for many threads and many processes at once."""

    def __init__(self, home: Path) -> None:
        """Open the folder, making it when absent.

        Args:
            home: the dicom home.

        Raises:
            OSError: the folder cannot be made or opened.
        """
        self.home = home
        self.folder = home / FOLDER
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def create(self) -> "Part":
        """Start a new file.

        Raises:
            ReceiveError: it cannot be created.
        """
        return Part(self, uuid4())

    def sync(self) -> None:
        """Put the folder's names on the disk.

        Raises:
            ReceiveError: the disk refused.
        """
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise spool_error(error, "cannot sync the spool folder") from error

    def close(self) -> None:
        """Give the folder's descriptor back."""
        os.close(self._descriptor)


class Part:
    """A file on its way into the spool.

    `write` what stands before the data set, `write_data_set` the rest, `seal`, `publish`, then `keep` or `discard`.
    Used by one thread at a time.
    """

    def __init__(self, spool: Spool, identifier: UUID) -> None:
        """Create the file and lock it.

        Raises:
            ReceiveError: it cannot be created.
        """
        self.id = identifier
        self._spool = spool
        self._path = spool.folder / f"{identifier}{PART}"
        self._hash = hashlib.sha256()
        self.size = 0
        #: Where the data set starts.
        self.offset = 0
        self._descriptor: int | None = None
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self._path, flags, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.discard()
            raise spool_error(error, "cannot create a file in the spool") from error

    def __enter__(self) -> Self:
        """Discard on leaving, unless it was kept."""
        return self

    def __exit__(self, *_: object) -> None:
        """Discard, unless it was kept."""
        if self._descriptor is not None:
            self.discard()

    @property
    def path(self) -> Path:
        """Where the file lies now."""
        return self._path

    @property
    def final_name(self) -> str:
        """The path it has once published, relative to the dicom home (POSIX)."""
        return f"{FOLDER}/{self.id}{WHOLE}"

    @property
    def content_sha256(self) -> str:
        """SHA-256 of the data set written so far."""
        return self._hash.hexdigest()

    def write(self, data: Bytes) -> None:
        """Append what stands before the data set (preamble, file meta); it is not part of the content hash.

        Raises:
            ReceiveError: the disk refused.
        """
        self._append(data)
        self.offset = self.size

    def write_data_set(self, data: Bytes) -> None:
        """Append bytes of the data set.

        Raises:
            ReceiveError: the disk refused.
        """
        self._append(data)
        self._hash.update(data)

    def _append(self, data: Bytes) -> None:
        if self._descriptor is None:
            raise SpoolError("the file was discarded")
        rest = memoryview(data).cast("B")
        try:
            while rest:
                written = os.write(self._descriptor, rest)
                self.size += written
                rest = rest[written:]
        except OSError as error:
            raise spool_error(error, "cannot write to the spool") from error

    def seal(self) -> None:
        """Put the bytes on the disk.

        Raises:
            ReceiveError: the disk refused.
        """
        if self._descriptor is None:
            raise SpoolError("the file was discarded")
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise spool_error(error, "cannot sync a file of the spool") from error

    def publish(self) -> None:
        """Give the file its final name; `Spool.sync` puts the name on the disk.

        Raises:
            ReceiveError: the disk refused.
        """
        target = self._path.with_suffix(WHOLE)
        try:
            self._path.rename(target)
        except OSError as error:
            raise spool_error(error, "cannot rename a file of the spool") from error
        self._path = target

    def keep(self) -> None:
        """Let go of a file that the ledger knows."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def discard(self) -> None:
        """Remove the file under whichever name it has.

        Raises:
            ReceiveError: it could not be removed; it will be found as a leftover.
        """
        if self._descriptor is None:
            return
        try:
            # First the name, then the lock: nobody may find it unlocked.
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise spool_error(error, "cannot remove a file from the spool") from error
        finally:
            self.keep()
