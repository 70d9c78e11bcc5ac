"""A DICOM data set as bytes that are read once from front to back, plain or deflated, in bounded memory.

A length field of a hostile file may claim gigabytes: reads are clamped to what the file holds, and skipping never
keeps what it skips. `start_capture` keeps a copy of what passes, up to a bound, so that an element of undefined length
can be walked and kept in one pass (a deflated stream cannot be read twice without a temporary file).
"""

import zlib
from typing import BinaryIO, Protocol

CHUNK = 1024 * 1024
# No inflated data set of ours is near this; a deflate bomb is stopped by it.
INFLATED_LIMIT = 16 * 1024**3


class InflateError(ValueError):
    """A deflated data set cannot be inflated, or is a bomb."""


class ByteSource(Protocol):
    """Bytes from front to back. Positions count from the start of the file, or of the inflated stream."""

    position: int

    def read(self, count: int) -> bytes:
        """At most `count` bytes; fewer only at the end."""

    def skip(self, count: int) -> int:
        """Go on by at most `count` bytes; gives how many there were."""

    def start_capture(self, limit: int) -> None:
        """Keep what is read or skipped from here on, if it is no more than `limit` bytes."""

    def end_capture(self) -> bytes | None:
        """What passed since `start_capture`; None when it was more than the limit."""


class _Capturing:
    def __init__(self) -> None:
        self._kept: bytearray | None = None
        self._limit = 0

    def start_capture(self, limit: int) -> None:
        self._kept = bytearray()
        self._limit = limit

    def end_capture(self) -> bytes | None:
        kept, self._kept = self._kept, None
        return None if kept is None else bytes(kept)

    def _room(self, count: int) -> bool:
        """Whether `count` more bytes may be captured; ends the capture where not."""
        if self._kept is None:
            return False
        if len(self._kept) + count > self._limit:
            self._kept = None
            return False
        return True


class PlainSource(_Capturing):
    """The rest of a file, as it is."""

    def __init__(self, file: BinaryIO, position: int, size: int) -> None:
        super().__init__()
        self._file = file
        self._size = size
        self.position = position
        file.seek(position)

    def read(self, count: int) -> bytes:
        """At most `count` bytes; fewer only at the end."""
        wanted = min(count, self._size - self.position)
        data = self._file.read(wanted) if wanted > 0 else b""
        self.position += len(data)
        if self._kept is not None and self._room(len(data)):
            self._kept += data
        return data

    def skip(self, count: int) -> int:
        """Go on by at most `count` bytes; gives how many there were."""
        count = min(count, self._size - self.position)
        if self._room(count):
            return len(self.read(count))
        self.position += count
        self._file.seek(self.position)
        return count


class InflatedSource(_Capturing):
    """The rest of a file, inflated as it is read. Positions count from the first inflated byte."""

    def __init__(self, file: BinaryIO, position: int) -> None:
        super().__init__()
        file.seek(position)
        self._file = file
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._buffer = b""
        self._taken = 0
        self.position = 0

    def _some(self, count: int) -> bytes:
        """Between 1 and `count` inflated bytes, or none at the end.

        Raises:
            InflateError: the stream is damaged, or longer than any real data set.
        """
        if self._taken == len(self._buffer):
            self._buffer, self._taken = b"", 0
            while not self._buffer and not self._inflate.eof:
                raw = self._inflate.unconsumed_tail or self._file.read(CHUNK)
                try:
                    self._buffer = self._inflate.decompress(raw, CHUNK)
                except zlib.error as error:
                    raise InflateError(f"the deflated data set is damaged ({error})") from error
                if not raw:
                    break
            if self.position + len(self._buffer) > INFLATED_LIMIT:
                raise InflateError(f"the deflated data set is larger than {INFLATED_LIMIT} bytes")
        part = self._buffer[self._taken : self._taken + count]
        self._taken += len(part)
        self.position += len(part)
        return part

    def read(self, count: int) -> bytes:
        """At most `count` bytes; fewer only at the end."""
        parts = []
        while count > 0 and (part := self._some(count)):
            parts.append(part)
            count -= len(part)
        data = b"".join(parts)
        if self._kept is not None and self._room(len(data)):
            self._kept += data
        return data

    def skip(self, count: int) -> int:
        """Go on by at most `count` bytes; gives how many there were."""
        skipped = 0
        while skipped < count and (part := self._some(min(CHUNK, count - skipped))):
            skipped += len(part)
            if self._kept is not None and self._room(len(part)):
                self._kept += part
        return skipped
