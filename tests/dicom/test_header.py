"""Reading headers: everything pydicom reads, nothing that is no instance, and never more memory than the limits."""

import hashlib
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from tasks.dicom.core.elements import ELEMENTS_LIMIT, PIXEL_TAGS, VALUE_LIMIT
from tasks.dicom.core.header import UnreadableInstanceError, content_sha256, data_set_offset, is_uid, read_header
from tasks.dicom.core.pydicom_modes import pydicom_quiet
from tests.dicom.instances import CT, UNREADABLE, bundled, bundled_files, make_instance, write_instance


def explicit(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """An explicit VR little endian element; the length may lie."""
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    size = len(value) if length is None else length
    if vr in ("OB", "OW", "SQ", "UN", "UT"):
        return head + b"\0\0" + struct.pack("<L", size) + value
    return head + struct.pack("<H", size) + value


IDENTITY = explicit(0x00080016, "UI", CT.encode() + b"\0") + explicit(0x00080018, "UI", b"1.2.3\0")


def read_bytes(folder: Path, data: bytes):  # type: ignore[no-untyped-def]
    path = folder / "file.dcm"
    path.write_bytes(data)
    return read_header(path)


@pytest.mark.parametrize("path", bundled_files(), ids=lambda path: path.name)
def test_reads_what_pydicom_reads(path: Path) -> None:
    with pydicom_quiet():
        theirs = pydicom.dcmread(path, force=True)
        meta = theirs.file_meta
        has_identity = is_uid(theirs.get("SOPInstanceUID") or meta.get("MediaStorageSOPInstanceUID"))
        has_class = is_uid(theirs.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID"))
        if not (has_identity and has_class):
            with pytest.raises(UnreadableInstanceError):
                read_header(path)
            return
        header = read_header(path)
        assert {*map(int, header.dataset.keys()), *header.dataset.bulk_tags} == {*map(int, theirs.keys())}
        assert header.dataset.bulk_tags <= PIXEL_TAGS
        assert all(header.dataset[tag] == theirs[tag] for tag in header.dataset.keys())  # noqa: SIM118
    assert header.sop_instance_uid == header.file_meta.MediaStorageSOPInstanceUID


@pytest.mark.parametrize("name", sorted(UNREADABLE))
def test_says_why_a_file_is_no_instance(name: str) -> None:
    with pytest.raises(UnreadableInstanceError, match=UNREADABLE[name]):
        read_header(bundled(name))


@pytest.mark.parametrize(
    ("name", "syntax"),
    [
        ("ExplVR_BigEndNoMeta.dcm", ExplicitVRBigEndian),
        ("ExplVR_LitEndNoMeta.dcm", ExplicitVRLittleEndian),
        ("rtstruct.dcm", ImplicitVRLittleEndian),
    ],
)
def test_adopts_a_file_without_meta(name: str, syntax: str) -> None:
    header = read_header(bundled(name))
    assert header.adopted
    assert header.transfer_syntax_uid == syntax == header.file_meta.TransferSyntaxUID
    assert "no file meta information" in header.problems


def test_believes_the_data_set_more_than_the_file_meta(tmp_path: Path) -> None:
    data = write_instance(tmp_path / "a.dcm", make_instance()).read_bytes()
    wrong = data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0")
    assert wrong != data
    header = read_bytes(tmp_path, wrong)
    assert header.transfer_syntax_uid == ExplicitVRLittleEndian
    assert header.adopted
    assert header.dataset.Modality == "CT"


def test_a_whole_file_is_not_adopted(tmp_path: Path) -> None:
    header = read_header(write_instance(tmp_path / "a.dcm", make_instance()))
    assert not header.adopted
    assert not header.truncated
    assert header.problems == ()
    assert (header.study_instance_uid, header.series_instance_uid, header.modality) == ("1.2.3", "1.2.3.1", "CT")


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1.2.3/4", "1" * 65, "1..2", "a.b"])
def test_refuses_an_identity_that_is_no_uid(tmp_path: Path, uid: str) -> None:
    raw = uid.encode() + b"\0" * (len(uid) % 2)
    data = explicit(0x00080016, "UI", CT.encode() + b"\0") + explicit(0x00080018, "UI", raw)
    with pytest.raises(UnreadableInstanceError, match="SOP Instance UID is no UID") as caught:
        read_bytes(tmp_path, data)
    assert uid not in str(caught.value)


def test_study_uid_that_is_no_uid_is_not_handed_on(tmp_path: Path) -> None:
    header = read_bytes(tmp_path, IDENTITY + explicit(0x0020000D, "UI", b"../../../../x "))
    assert header.study_instance_uid is None


def test_content_is_what_follows_the_file_meta(tmp_path: Path) -> None:
    path = write_instance(tmp_path / "a.dcm", make_instance())
    offset = data_set_offset(path)
    assert path.read_bytes()[offset : offset + 4] == b"\x08\0\x16\0"
    assert content_sha256(path) == hashlib.sha256(path.read_bytes()[offset:]).hexdigest()


def test_content_of_a_file_without_meta_is_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(IDENTITY)
    assert data_set_offset(path) == 0
    assert content_sha256(path) == hashlib.sha256(IDENTITY).hexdigest()


def test_a_wrong_group_length_is_not_believed(tmp_path: Path) -> None:
    path = write_instance(tmp_path / "a.dcm", make_instance())
    data = bytearray(path.read_bytes())
    right = data_set_offset(path)
    data[140:144] = struct.pack("<L", 7)
    path.write_bytes(data)
    assert data_set_offset(path) == right


@pytest.mark.parametrize("data", [b"", b"\0", b"DICM", b"\0" * 128 + b"DICM", b"\0" * 200, b"%PDF-1.7 " * 100])
def test_no_instance_at_all(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(UnreadableInstanceError):
        read_bytes(tmp_path, data)


@pytest.mark.parametrize("length", [0x7FFFFFFF, 0xFFFFFFFE])
@pytest.mark.parametrize("vr", ["OB", "UT", "SQ"])
def test_a_length_beyond_the_end_is_truncation(tmp_path: Path, vr: str, length: int) -> None:
    header = read_bytes(tmp_path, IDENTITY + explicit(0x00104000, vr, b"abcd", length))
    assert header.truncated
    assert "the file ends inside element (0010,4000)" in header.problems


def test_trailing_bytes_are_tolerated(tmp_path: Path) -> None:
    header = read_bytes(tmp_path, IDENTITY + b"\0" * 1000)
    assert "bytes after the last element" in header.problems
    assert header.elements_end == len(IDENTITY)


def test_large_values_stay_in_the_file(tmp_path: Path) -> None:
    header = read_bytes(tmp_path, IDENTITY + explicit(0x00420011, "OB", b"x" * (VALUE_LIMIT + 2)))
    assert header.dataset.bulk_tags == {0x00420011}
    assert "EncapsulatedDocument" not in header.dataset


def test_too_many_elements(tmp_path: Path) -> None:
    many = b"".join(explicit(0x00090000 + number, "LO", b"") for number in range(ELEMENTS_LIMIT))
    with pytest.raises(UnreadableInstanceError, match="more than"):
        read_bytes(tmp_path, IDENTITY + many)


def nested(depth: int) -> bytes:
    """Sequences of undefined length inside each other."""
    start = explicit(0x00400275, "SQ", struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF), 0xFFFFFFFF)
    end = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return start * depth + end * depth


def test_nested_sequences(tmp_path: Path) -> None:
    header = read_bytes(tmp_path, IDENTITY + nested(10))
    assert not header.truncated
    assert len(header.dataset.RequestAttributesSequence) == 1
    with pytest.raises(UnreadableInstanceError, match="nested"):
        read_bytes(tmp_path, IDENTITY + nested(5000))


@pytest.mark.parametrize("name", ["image_dfl.dcm"])
def test_deflated(name: str) -> None:
    header = read_header(bundled(name))
    assert header.deflated
    assert header.dataset == pydicom.dcmread(bundled(name))[:0x7FE00008]


def test_a_damaged_deflated_data_set(tmp_path: Path) -> None:
    data = bytearray(bundled("image_dfl.dcm").read_bytes())
    data[data_set_offset(bundled("image_dfl.dcm")) + 3] ^= 0xFF
    with pytest.raises(UnreadableInstanceError):
        read_bytes(tmp_path, bytes(data))


def test_a_deflate_bomb_costs_no_memory(tmp_path: Path) -> None:
    head = write_instance(tmp_path / "head.dcm", make_instance()).read_bytes()
    offset = data_set_offset(tmp_path / "head.dcm")
    meta = head[:offset].replace(b"1.2.840.10008.1.2.1\0", DeflatedExplicitVRLittleEndian.encode())
    # The UID is longer: its element's length grows with it.
    meta = meta.replace(
        b"UI\x14\x00" + DeflatedExplicitVRLittleEndian.encode(), b"UI\x16\x00" + DeflatedExplicitVRLittleEndian.encode()
    )
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = squeeze.compress(IDENTITY + explicit(0x7FE00010, "OB", b"", 200 * 1024 * 1024))
    for _ in range(200):
        body += squeeze.compress(bytes(1024 * 1024))
    path = tmp_path / "bomb.dcm"
    path.write_bytes(meta + body + squeeze.flush())
    assert peak_growth(path) < 40 * 1024 * 1024


def test_hostile_lengths_cost_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "file.dcm"
    path.write_bytes(IDENTITY + explicit(0x00104000, "UT", b"abcd", 0xFFFFFFF0))
    assert peak_growth(path) < 20 * 1024 * 1024


def peak_growth(path: Path) -> int:
    """Bytes by which reading the header of a file raises the peak of a process of its own."""
    script = (
        "import resource, sys; from pathlib import Path; from tasks.dicom.core.header import read_header\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "before = peak(); read_header(Path(sys.argv[1])); print(peak() - before)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(path)], check=True, capture_output=True, text=True, preexec_fn=_limit_memory
    )
    return int(run.stdout)


def _limit_memory() -> None:
    # A claimed length that is allocated fails even where untouched pages would cost nothing.
    resource.setrlimit(resource.RLIMIT_AS, (2 * 1024**3, 2 * 1024**3))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(
        ["CT_small.dcm", "nested_priv_SQ.dcm", "rtplan.dcm", "image_dfl.dcm", "US1_J2KR.dcm", "chrX1.dcm"]
    ),
    edits=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.none() | st.integers(0, 3000),
)
def test_damage_never_ends_in_another_error(
    tmp_path: Path, name: str, edits: list[tuple[int, int]], cut: int | None
) -> None:
    names = {path.name: path for path in bundled_files()}
    data = bytearray(names.get(name, names["CT_small.dcm"]).read_bytes())
    for position, value in edits:
        data[position % len(data)] = value
    try:
        header = read_bytes(tmp_path, bytes(data[:cut]))
    except UnreadableInstanceError as error:
        assert str(error)
    else:
        assert is_uid(header.sop_instance_uid)
