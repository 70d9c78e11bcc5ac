"""Taking in files that are there already: submitted ones are copied, leftovers in the spool stay where they are."""

import hashlib
import os
from pathlib import Path

from tasks.dicom.core.arrivals import Arrival, Batch, Stored
from tasks.dicom.core.header import UnreadableInstanceError, content_sha256
from tasks.dicom.core.identity import read_file_identity
from tasks.dicom.core.receiving import Committer
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
