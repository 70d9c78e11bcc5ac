"""What the API answered, byte for byte: compressed, kept beside the rows that were read from it, and verified."""

import hashlib
import threading
from typing import Any

import zstandard
from sqlmodel import Session

from tasks.foundation.core.upsert import insert_unless_present, upsert_rows
from tasks.league.core.tables import FetchKind, Payload

#: The last level at which more time still buys much (docs/decisions/league-ledger.md); payloads are kept for ever.
LEVEL = 9
#: No answer of the API comes near; a damaged or hostile size must not make us allocate more.
MAX_SIZE = 256 * 1024 * 1024


class DamagedPayloadError(Exception):
    """A stored payload is not what was stored."""


class MissingPayloadError(LookupError):
    """No payload is stored for this match."""


#: Compressors are not for several threads at once, and making one costs more than compressing a small match.
_local = threading.local()


def _tool(name: str, make: Any) -> Any:
    if not hasattr(_local, name):
        setattr(_local, name, make())
    return getattr(_local, name)


def compress(content: bytes) -> bytes:
    """Compress a payload; the result knows its own size and checksum."""
    tool = _tool("compressor", lambda: zstandard.ZstdCompressor(level=LEVEL, write_checksum=True))
    compressed: bytes = tool.compress(content)
    return compressed


def decompress(compressed: bytes) -> bytes:
    """Give a payload back.

    Raises:
        DamagedPayloadError: the bytes are not what `compress` made.
    """
    try:
        if zstandard.frame_content_size(compressed) > MAX_SIZE:
            raise DamagedPayloadError(f"a payload of more than {MAX_SIZE} bytes")
        content: bytes = _tool("decompressor", zstandard.ZstdDecompressor).decompress(compressed)
    except zstandard.ZstdError as error:
        raise DamagedPayloadError(f"a payload does not decompress: {error}") from error
    return content


def content_sha256(content: bytes) -> str:
    """The hash by which a payload is known."""
    return hashlib.sha256(content).hexdigest()


def content_of(payload: Payload) -> bytes:
    """The bytes that the API answered.

    Raises:
        DamagedPayloadError: they are not what was stored.
    """
    content = decompress(payload.body)
    if len(content) != payload.size or content_sha256(content) != payload.content_sha256:
        raise DamagedPayloadError(f"the {payload.kind.lower()} payload of {payload.match_id} is not what was stored")
    return content


def verify(payload: Payload) -> bool:
    """Whether a stored payload is still what was stored."""
    try:
        content_of(payload)
    except DamagedPayloadError:
        return False
    return True


def load(session: Session, match_id: str, kind: FetchKind) -> bytes:
    """The stored bytes of a match or timeline.

    Raises:
        MissingPayloadError: nothing is stored.
        DamagedPayloadError: it is not what was stored.
    """
    payload = session.get(Payload, (match_id, kind), populate_existing=True)
    if payload is None:
        raise MissingPayloadError(f"no {kind.lower()} payload of {match_id} is stored")
    return content_of(payload)


def _row(match_id: str, kind: FetchKind, content: bytes) -> dict[str, Any]:
    return {
        "match_id": match_id,
        "kind": kind,
        "content_sha256": content_sha256(content),
        "size": len(content),
        "body": compress(content),
    }


def add(session: Session, match_id: str, kind: FetchKind, content: bytes) -> bool:
    """Keep a payload unless there is one already; says whether it was kept."""
    return insert_unless_present(session, Payload, _row(match_id, kind, content), key=("match_id", "kind"))


def save(session: Session, match_id: str, kind: FetchKind, content: bytes) -> None:
    """Keep a payload, in place of an earlier one."""
    changed = ("content_sha256", "size", "body")
    upsert_rows(session, Payload, [_row(match_id, kind, content)], key=("match_id", "kind"), update=changed)
