"""Bodies are read to their true end, up to a limit."""

import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.http_body import BodyEncodingError, BodyError, BodyTooLargeError, BodyTruncatedError, read_body


async def _pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def _response(body: bytes, encoding: str | None = None, size: int = 7) -> httpx.Response:
    headers = {} if encoding is None else {"Content-Encoding": encoding}
    return httpx.Response(200, headers=headers, content=_pieces(body, size))


@given(st.binary(max_size=500), st.integers(1, 50))
async def test_plain_and_compressed_bodies_are_what_was_sent(body: bytes, size: int) -> None:
    assert await read_body(_response(body, size=size)) == body
    assert await read_body(_response(body, "identity", size)) == body
    assert await read_body(_response(gzip.compress(body), "gzip", size)) == body
    assert await read_body(_response(zlib.compress(body), "deflate", size)) == body


@given(st.binary(min_size=1, max_size=500), st.data())
async def test_a_compressed_body_that_is_cut_off_is_never_taken_for_whole(body: bytes, data: st.DataObject) -> None:
    packed = gzip.compress(body)
    cut = packed[: data.draw(st.integers(0, len(packed) - 1))]
    with pytest.raises(BodyTruncatedError) as caught:
        await read_body(_response(cut, "gzip"))
    assert caught.value.passes


async def test_a_damaged_body_may_pass() -> None:
    with pytest.raises(BodyTruncatedError, match="damaged"):
        await read_body(_response(b"no gzip at all", "gzip"))


async def test_the_limit_is_that_after_decoding() -> None:
    body = bytes(1000)
    assert await read_body(_response(gzip.compress(body), "gzip"), 1000) == body
    for response in (_response(gzip.compress(body), "gzip"), _response(body), httpx.Response(200, content=body)):
        with pytest.raises(BodyTooLargeError, match="999 bytes") as caught:
            await read_body(response, 999)
        assert not caught.value.passes


async def test_what_follows_a_compressed_body_is_not_kept() -> None:
    packed, piece = gzip.compress(b"[]"), bytes(64 * 1024)

    async def endless() -> AsyncIterator[bytes]:
        yield packed
        for _ in range(64):
            yield piece

    tracemalloc.start()
    try:
        response = httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=endless())
        assert await read_body(response) == b"[]"
        assert tracemalloc.get_traced_memory()[1] < 1024**2
    finally:
        tracemalloc.stop()


async def test_a_small_body_cannot_fill_the_memory() -> None:
    bomb = gzip.compress(bytes(64 * 1024**2))
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLargeError):
            await read_body(_response(bomb, "gzip", len(bomb)), 1024**2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 1024**2


async def test_an_encoding_nobody_asked_for() -> None:
    with pytest.raises(BodyEncodingError, match="'br'") as caught:
        await read_body(_response(b"x", "br"))
    assert isinstance(caught.value, BodyError) and not caught.value.passes


async def test_a_body_that_was_read_already() -> None:
    assert await read_body(httpx.Response(200, content=b"abc")) == b"abc"
