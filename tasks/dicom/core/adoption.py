"""Taking in files that are there already: submitted ones are copied, leftovers in the spool stay where they are."""

import hashlib
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tasks.dicom.core.arrivals import Arrival, Batch, Origin, Stored
from tasks.dicom.core.header import UnreadableInstanceError, content_sha256
from tasks.dicom.core.identity import read_file_identity
from tasks.dicom.core.presence import Presence
from tasks.dicom.core.receiving import Committer, Transactions
from tasks.dicom.core.spool import Spool, spool_error

_CHUNK = 1024 * 1024


def adopt_file(committer: Committer, spool: Spool, batch: Batch, source: Path) -> Stored:
    """Copy a file into the spool and make it durable; the source stays as it is.

    Any file is taken, DICOM or not: what cannot be processed is quarantined when it is evaluated, with its reason.

    Args:
        committer: makes it durable.
        spool: the committer's.
        batch: what the file belongs to, usually everything that one call submits.
        source: the file.

    Raises:
        FileNotFoundError: there is no such file.
        IsADirectoryError: it is a folder.
        PermissionError: it may not be read.
        OSError: it is something else than a file, or reading it failed.
        ReceiveError: it could not be made durable; nothing is left behind.
    """
    # Not waiting for a writer of a named pipe; whether it is a file is asked of what was opened.
    descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as reading, spool.create() as part:
        if not source.is_file():
            raise OSError(f"not a file: {source}")
        while chunk := reading.read(_CHUNK):
            part.write(chunk)
        try:
            digest = stored_sha256(part.path)
        except OSError as error:
            raise spool_error(error, "cannot read a file of the spool back") from error
        return committer.commit(
            Arrival(
                batch=batch,
                part=part,
                identity=read_file_identity(part.path),
                original_path=str(source.absolute()),
                content_sha256=digest,
            )
        )


def stored_sha256(path: Path) -> str:
    """The content hash of a file that may be no DICOM at all: then it is the whole file's.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        return content_sha256(path)
    except UnreadableInstanceError:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


class Submission:
    """Files from disk as one batch: everything `adopt_file` needs, for as long as the `with` block runs."""

    def __init__(self, home: Path, begin: Transactions, origin: Origin) -> None:
        """Open spool and committer.

        Args:
            home: the dicom home.
            begin: opens a transaction of the ledger.
            origin: where the files come from.

        Raises:
            OSError: the home cannot be written.
        """
        self._resources = ExitStack()
        with self._resources:
            self._spool = Spool(home)
            self._resources.callback(self._spool.close)
            presence = self._resources.enter_context(Presence(home, "submit"))
            self._committer = Committer(self._spool, begin, owner=presence.name)
            self._resources.callback(self._committer.close)
            self._resources = self._resources.pop_all()
        self._batch = Batch(origin)

    def __enter__(self) -> Self:
        """Make the batch READY on leaving, whatever happened: what was taken in is processed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Make the batch READY."""
        self._committer.end(self._batch, "submitted")
        self._resources.close()

    def add(self, source: Path) -> Stored:
        """Take a file in; raises what `adopt_file` raises, and goes on with the next one after that."""
        return adopt_file(self._committer, self._spool, self._batch, source)
