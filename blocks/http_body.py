"""Reads a response's body to its true end, up to a greatest size.

httpx would decode a compressed body whose end is missing without a word, and unpack a small chunk to any size.
"""

import zlib
from typing import TypeVar

import httpx

B = TypeVar("B", bytes, bytearray)

#: After decoding. The greatest real answers (of the Riot API) have 2 MB; something sixteen times that is none.
LARGEST_BODY = 32 * 1024**2

#: zlib and gzip, told apart by the header.
_ANY_HEADER = zlib.MAX_WBITS | 32


class BodyError(Exception):
    """The body cannot be read; the text continues "the answer is ...".

    Attributes:
        passes: asked again, it may well be whole.
    """

    passes = False


class BodyTooLargeError(BodyError):
    """The body is larger than allowed."""


class BodyTruncatedError(BodyError):
    """The body ends before its compressed stream does, or is damaged."""

    passes = True


class BodyEncodingError(BodyError):
    """The body is encoded in a way that was not asked for."""


async def read_body(response: httpx.Response, largest: int = LARGEST_BODY) -> bytes:
    """The body of a streamed response, decoded.

    Args:
        response: with its body still unread.
        largest: bytes that it may have after decoding.

    Raises:
        BodyTooLargeError: it is larger.
        BodyTruncatedError: the compressed stream is cut off or damaged.
        BodyEncodingError: it is encoded, and not with gzip or deflate.
        httpx.TransportError: the connection was lost.
    """
    if response.is_stream_consumed:
        # From a transport that keeps answers in memory, which has decoded it.
        return _within(response.content, largest)
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip", "deflate"):
        raise BodyEncodingError(f"encoded as {encoding[:20]!r}, which was not asked for")
    body = bytearray()
    unpacker = None if encoding in ("identity", "") else zlib.decompressobj(_ANY_HEADER)
    async for chunk in response.aiter_raw():
        body += chunk if unpacker is None else _unpacked(unpacker, chunk, largest + 1 - len(body))
        _within(body, largest)
    if unpacker is not None and not unpacker.eof:
        raise BodyTruncatedError("cut off: its compressed stream does not end")
    return bytes(body)


def _within(body: B, largest: int) -> B:
    if len(body) > largest:
        raise BodyTooLargeError(f"larger than {largest} bytes")
    return body


def _unpacked(unpacker: "zlib._Decompress", chunk: bytes, room: int) -> bytes:
    """What a chunk unpacks to, at most `room` bytes of it; more than fits is never held."""
    if unpacker.eof:
        # What follows the end of the stream is read, so that the connection can be used again, and not kept.
        return b""
    try:
        return unpacker.decompress(chunk, room)
    except zlib.error:
        problem = "damaged: its compressed stream cannot be read"
    raise BodyTruncatedError(problem)
