"""Payloads come back byte for byte, or not at all."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.league.core.payloads import DamagedPayloadError, compress, content_of, content_sha256, decompress, verify
from tasks.league.core.tables import FetchKind, Payload
from tests.league.payloads import match_body


def _payload(content: bytes) -> Payload:
    return Payload(
        match_id="NA1_1",
        kind=FetchKind.MATCH,
        content_sha256=content_sha256(content),
        size=len(content),
        body=compress(content),
    )


@given(content=st.binary(max_size=5_000))
def test_what_goes_in_comes_out(content: bytes) -> None:
    assert decompress(compress(content)) == content
    assert verify(_payload(content))


def test_threads_do_not_share_what_compresses() -> None:
    bodies = [match_body(f"NA1_{number}") for number in range(200)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda body: decompress(compress(body)), bodies)) == bodies


def test_every_damaged_byte_is_noticed() -> None:
    whole = _payload(match_body())
    for place in range(0, len(whole.body), 7):
        body = bytearray(whole.body)
        body[place] ^= 0x55
        damaged = whole.model_copy(update={"body": bytes(body)})
        assert not verify(damaged)
    assert not verify(whole.model_copy(update={"body": whole.body[:-5]}))
    assert not verify(whole.model_copy(update={"body": b""}))


def test_another_payload_in_its_place_is_noticed() -> None:
    swapped = _payload(match_body("NA1_1")).model_copy(update={"body": compress(match_body("NA1_2"))})
    with pytest.raises(DamagedPayloadError, match="the match payload of NA1_1"):
        content_of(swapped)


def test_a_size_that_cannot_be_is_not_allocated() -> None:
    # A frame header that claims 2**40 bytes: magic number, an 8-byte content size in a single segment.
    hostile = bytes.fromhex("28b52ffd") + bytes([0xE0]) + (2**40).to_bytes(8, "little") + b"\x00" * 8
    with pytest.raises(DamagedPayloadError, match="more than"):
        decompress(hostile)
