"""What every place that DICOM instances are delivered to can do, whatever it is: take them, and say what it holds.

`DimsePeer` and `Folder` give a client of this shape. Sending one instance either returns what was stored or raises::

    StoreError                   what a try came to; `status` is the DIMSE status, where there was a response
    ├── UnreachableError         nothing was sent: no connection, no disk. Try later; the destination is at fault
    │   └── RejectedError        it answered, and refused the association
    ├── BusyError                refused for now (A7xx out of resources, disk full). Try later
    ├── RefusedError             refused for good (A9xx, Cxxx, 0122). Sending it again changes nothing
    │   ├── ContextRefusedError  the destination takes neither its transfer syntax nor what it can be turned into
    │   └── UndecodableError     it would have to be decompressed for this destination, and cannot be
    ├── SourceError              the file to be sent is missing or unreadable, or not what its hash says
    ├── DuplicateError           it says that it has this UID already, not whether with the same content
    ├── UnknownOutcomeError      sent, and no response came: it may be stored or not. Look before sending again
    └── CannotTellError          the destination cannot be asked what it holds
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class StoreError(Exception):
    """A try to store or look up an instance failed."""

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        #: DIMSE status (PS3.7 Annex C), where there was a response.
        self.status = status


class UnreachableError(StoreError):
    """Nothing was sent: the destination cannot be reached."""


class RejectedError(UnreachableError):
    """The destination refused the association."""


class BusyError(StoreError):
    """Refused for now."""


class RefusedError(StoreError):
    """Refused for good."""


class ContextRefusedError(RefusedError):
    """The destination takes no transfer syntax that the instance can be sent in."""


class UndecodableError(RefusedError):
    """The pixel data cannot be decompressed, and the destination does not take it compressed."""


class SourceError(StoreError):
    """The file to be sent is missing or unreadable."""


class DuplicateError(StoreError):
    """The destination holds this SOP Instance UID already."""


class UnknownOutcomeError(StoreError):
    """Sent without a response."""


class CannotTellError(StoreError):
    """The destination cannot be asked what it holds."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One file to be stored, named as the receiver will know it."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    #: SHA-256 of the data set's bytes, file meta excluded.
    content_sha256: str
    #: Where the data set begins in the file, bytes: after preamble and file meta, or 0 where there are none.
    data_set_offset: int
    study_instance_uid: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A destination said that it has the instance. `note` says what it changed, or what had to be changed for it."""

    status: int | None = None
    note: str | None = None


class Held(StrEnum):
    """What a destination holds under an instance's UID."""

    #: The same content.
    SAME = "SAME"
    #: Something, of which the content was not compared.
    PRESENT = "PRESENT"
    #: Only other content.
    OTHER = "OTHER"
    ABSENT = "ABSENT"
    #: It was asked, and could not say of this one.
    UNTOLD = "UNTOLD"


class Check(StrEnum):
    """How to ask a destination what it holds."""

    #: By SOP Instance UID (C-FIND; a file's existence).
    FIND = "c_find"
    #: By reading the content back (C-GET; hashing the file).
    READ_BACK = "read_back"


class Sender(Protocol):
    """An open way to a destination."""

    def send(self, instance: Instance) -> Stored:
        """Store one instance; returns only when the destination has acknowledged it.

        Raises:
            StoreError: it was not, or nobody knows.
        """
        ...


class InstanceStore(Protocol):
    """A destination."""

    def plan(self, batch: Sequence[Instance]) -> list[list[Instance]]:
        """Split a batch into parts that go through one `open` each."""
        ...

    def open(self, part: Sequence[Instance]) -> AbstractContextManager[Sender]:
        """Open the way for one part.

        Raises:
            UnreachableError: it cannot be opened.
        """
        ...

    def check(self, batch: Sequence[Instance], by: Check) -> Iterator[tuple[Instance, Held]]:
        """Ask what is held of each instance, in the batch's order.

        Raises:
            UnreachableError: the destination cannot be reached, or went away in the middle.
            CannotTellError: it does not answer such questions.
        """
        ...
