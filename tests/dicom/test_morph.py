"""Morphing: what did not change is the same to the last byte, what did is right, and memory stays flat."""

import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from tasks.dicom.core.elements import PIXEL_TAGS, VALUE_LIMIT
from tasks.dicom.core.header import Header, UnreadableInstanceError, content_sha256, data_set_offset, read_header
from tasks.dicom.core.morph import MorphError, Written, write_morphed
from tasks.dicom.core.pydicom_modes import pydicom_quiet
from tests.dicom.instances import bundled, bundled_files, make_instance, write_instance


def readable() -> list[Path]:
    """pydicom's instances, but for DICOMDIR."""
    found = []
    for path in bundled_files():
        try:
            header = read_header(path)
        except UnreadableInstanceError:
            continue
        if header.sop_class_uid != "1.2.840.10008.1.3.10":
            found.append(path)
    return found


def morph(path: Path, target: Path, change=lambda dataset: None) -> tuple[Header, Written]:  # type: ignore[no-untyped-def]
    header = read_header(path)
    dataset = deepcopy(header.dataset)
    change(dataset)
    return header, write_morphed(header, dataset, target)


def pixels(path: Path) -> dict[int, bytes]:
    """The pixel elements as stored, with everything about them."""
    header = read_header(path)
    raw = path.read_bytes()
    if header.deflated:
        import zlib

        raw, start = zlib.decompress(raw[header.data_set_offset :], -zlib.MAX_WBITS), 0
    else:
        start = 0
    return {one.tag: raw[one.start + start : one.end + start] for one in header.elements if one.tag in PIXEL_TAGS}


@pytest.mark.parametrize("path", readable(), ids=lambda path: path.name)
def test_without_change_the_data_set_is_the_same(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.dcm"
    _, written = morph(path, target)
    assert not written.modified
    assert target.read_bytes()[data_set_offset(target) :] == path.read_bytes()[data_set_offset(path) :]
    assert written.content_sha256 == content_sha256(path)
    again = read_header(target)
    assert not again.adopted
    assert [child.name for child in tmp_path.iterdir()] == ["out.dcm"]


@pytest.mark.parametrize("path", readable(), ids=lambda path: path.name)
def test_with_a_change_everything_else_is_the_same(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.dcm"

    def change(dataset: Dataset) -> None:
        dataset.PatientID = "ANON-1"
        dataset.SOPInstanceUID = "1.2.3.4.5"

    _, written = morph(path, target, change)
    assert written.modified
    assert written.content_sha256 == content_sha256(target)
    assert written.size == target.stat().st_size
    assert pixels(target) == pixels(path)
    with pydicom_quiet():
        before, after = pydicom.dcmread(path, force=True), pydicom.dcmread(target)
        assert after.PatientID == "ANON-1"
        assert (
            after.SOPInstanceUID
            == after.file_meta.MediaStorageSOPInstanceUID
            == written.sop_instance_uid
            == "1.2.3.4.5"
        )
        touched = {0x00100020, 0x00080018}
        kept = [tag for tag in before.keys() if tag not in touched and tag.element and tag not in PIXEL_TAGS]  # noqa: SIM118
        assert all(before[tag] == after[tag] for tag in kept)
        assert {int(tag) for tag in after.keys()} >= {int(tag) for tag in kept}  # noqa: SIM118


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_every_encoding(tmp_path: Path, syntax: str) -> None:
    dataset = make_instance(Rows=2, PatientName="Doe^Jane", PatientComments="c")
    dataset.add_new(0x7FE00010, "OW", b"\1\2\3\4")
    dataset.add_new(0xFFFCFFFC, "OB", b"pad!")
    path = write_instance(tmp_path / "in.dcm", dataset, syntax)

    def change(changed: Dataset) -> None:
        changed.Rows = 258
        changed.PatientName = "X"
        del changed.PatientComments
        changed.BurnedInAnnotation = "NO"

    _, written = morph(path, tmp_path / "out.dcm", change)
    after = pydicom.dcmread(tmp_path / "out.dcm")
    assert after.file_meta.TransferSyntaxUID == syntax == written.transfer_syntax_uid
    assert (after.Rows, after.PatientName, after.BurnedInAnnotation) == (258, "X", "NO")
    assert "PatientComments" not in after
    assert after[0x7FE00010].value == pydicom.dcmread(path)[0x7FE00010].value
    assert after[0xFFFCFFFC].value == b"pad!"
    assert [int(tag) for tag in after.keys()] == sorted(int(tag) for tag in after.keys())  # noqa: SIM118


@pytest.mark.parametrize(("tag", "vr"), [(0x7FE00008, "OF"), (0x7FE00009, "OD")])
def test_float_pixels_stay(tmp_path: Path, tag: int, vr: str) -> None:
    dataset = make_instance()
    dataset.add_new(tag, vr, bytes(range(64)))
    path = write_instance(tmp_path / "in.dcm", dataset)
    header, _ = morph(path, tmp_path / "out.dcm", lambda changed: setattr(changed, "PatientID", "7"))
    assert header.dataset.bulk_tags == {tag}
    assert pixels(tmp_path / "out.dcm") == pixels(path)


def test_elements_after_the_pixels_can_change(tmp_path: Path) -> None:
    dataset = make_instance()
    dataset.add_new(0x7FE00010, "OW", b"\1\2\3\4")
    dataset.private_block(0x7FE1, "ACME", create=True).add_new(1, "LO", "secret")
    path = write_instance(tmp_path / "in.dcm", dataset)

    def change(changed: Dataset) -> None:
        changed[0x7FE11001].value = "open"

    morph(path, tmp_path / "out.dcm", change)
    assert pydicom.dcmread(tmp_path / "out.dcm")[0x7FE11001].value == "open"
    assert pixels(tmp_path / "out.dcm") == pixels(path)
    assert b"secret" not in (tmp_path / "out.dcm").read_bytes()


def test_bytes_after_the_last_element_stay(tmp_path: Path) -> None:
    path = write_instance(tmp_path / "in.dcm", make_instance())
    path.write_bytes(path.read_bytes() + bytes(333))
    morph(path, tmp_path / "out.dcm", lambda changed: setattr(changed, "StudyID", "7"))
    assert (tmp_path / "out.dcm").read_bytes().endswith(bytes(333))
    assert read_header(tmp_path / "out.dcm").dataset.StudyID == "7"


def test_group_lengths_of_changed_groups_go(tmp_path: Path) -> None:
    data = write_instance(tmp_path / "a.dcm", make_instance(PatientID="1")).read_bytes()
    at = data.index(b"\x10\0\x20\0LO")
    path = tmp_path / "in.dcm"
    path.write_bytes(data[:at] + b"\x10\0\0\0UL\4\0\x0a\0\0\0" + data[at:])
    assert 0x00100000 in read_header(path).dataset
    morph(path, tmp_path / "kept.dcm", lambda changed: setattr(changed, "StudyID", "7"))
    assert 0x00100000 in read_header(tmp_path / "kept.dcm").dataset
    morph(path, tmp_path / "gone.dcm", lambda changed: setattr(changed, "PatientID", "12345678"))
    assert 0x00100000 not in read_header(tmp_path / "gone.dcm").dataset


def test_nested_change(tmp_path: Path) -> None:
    item = Dataset()
    item.AccessionNumber = "A1"
    path = write_instance(tmp_path / "in.dcm", make_instance(RequestAttributesSequence=[item]))

    def change(changed: Dataset) -> None:
        changed.RequestAttributesSequence[0].AccessionNumber = "B2"

    _, written = morph(path, tmp_path / "out.dcm", change)
    assert written.modified
    assert pydicom.dcmread(tmp_path / "out.dcm").RequestAttributesSequence[0].AccessionNumber == "B2"


def test_looking_is_no_change(tmp_path: Path) -> None:
    path = bundled("CT_small.dcm")

    def look(dataset: Dataset) -> None:
        with pydicom_quiet():
            assert [str(element) for element in dataset.iterall()]

    _, written = morph(path, tmp_path / "out.dcm", look)
    assert not written.modified


def test_a_number_written_otherwise_is_a_change(tmp_path: Path) -> None:
    path = write_instance(tmp_path / "in.dcm", make_instance(SliceThickness="1.0"))
    _, written = morph(path, tmp_path / "out.dcm", lambda changed: setattr(changed, "SliceThickness", "1.00"))
    assert written.modified
    assert pydicom.dcmread(tmp_path / "out.dcm").SliceThickness.original_string == "1.00"


def test_a_new_character_set_reaches_every_text(tmp_path: Path) -> None:
    item = Dataset()
    item.ScheduledProcedureStepDescription = "Schädel"
    path = write_instance(
        tmp_path / "in.dcm",
        make_instance(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg", RequestAttributesSequence=[item]),
    )
    _, written = morph(
        path, tmp_path / "out.dcm", lambda changed: setattr(changed, "SpecificCharacterSet", "ISO_IR 192")
    )
    assert written.modified
    data = (tmp_path / "out.dcm").read_bytes()
    assert "Müller^Jörg".encode() in data
    assert "Schädel".encode() in data
    after = pydicom.dcmread(tmp_path / "out.dcm")
    assert after.PatientName == "Müller^Jörg"
    assert after.RequestAttributesSequence[0].ScheduledProcedureStepDescription == "Schädel"


@pytest.mark.parametrize(
    "path", [path for path in readable() if path.parent.name == "charset_files"], ids=lambda path: path.name
)
def test_texts_survive_utf_8(path: Path, tmp_path: Path) -> None:
    with pydicom_quiet():
        before = pydicom.dcmread(path, force=True)
        texts = [
            str(element.value) for element in before.iterall() if element.VR in ("PN", "LO", "SH", "LT", "ST", "UT")
        ]
    morph(path, tmp_path / "out.dcm", lambda changed: setattr(changed, "SpecificCharacterSet", "ISO_IR 192"))
    after = pydicom.dcmread(tmp_path / "out.dcm")
    assert [
        str(element.value) for element in after.iterall() if element.VR in ("PN", "LO", "SH", "LT", "ST", "UT")
    ] == texts


def test_a_character_set_that_cannot_hold_the_texts_is_refused(tmp_path: Path) -> None:
    path = write_instance(tmp_path / "in.dcm", make_instance(SpecificCharacterSet="ISO_IR 192", PatientName="山田"))
    with pytest.raises(MorphError, match=r"\(0010,0010\) cannot be encoded") as caught:
        morph(path, tmp_path / "out.dcm", lambda changed: setattr(changed, "SpecificCharacterSet", "ISO_IR 100"))
    assert "山田" not in str(caught.value)
    assert [child.name for child in tmp_path.iterdir()] == ["in.dcm"]


def test_a_large_text_stops_a_new_character_set(tmp_path: Path) -> None:
    path = write_instance(tmp_path / "in.dcm", make_instance(TextValue="x" * (VALUE_LIMIT + 2)))
    morph(path, tmp_path / "out.dcm", lambda changed: setattr(changed, "PatientID", "7"))
    with pytest.raises(MorphError, match=r"\(0040,A160\) is too large"):
        morph(path, tmp_path / "out2.dcm", lambda changed: setattr(changed, "SpecificCharacterSet", "ISO_IR 192"))


def test_a_large_element_can_be_removed(tmp_path: Path) -> None:
    path = write_instance(tmp_path / "in.dcm", make_instance(EncapsulatedDocument=b"x" * (VALUE_LIMIT + 2)))

    def change(changed: Dataset) -> None:
        changed.bulk_tags = frozenset()

    _, written = morph(path, tmp_path / "out.dcm", change)
    assert written.size < 2000
    assert "EncapsulatedDocument" not in pydicom.dcmread(tmp_path / "out.dcm")


def test_nothing_is_added_after_a_truncated_element(tmp_path: Path) -> None:
    with pytest.raises(MorphError, match="ends inside its last element"):
        morph(
            bundled("MR_truncated.dcm"), tmp_path / "out.dcm", lambda changed: changed.add_new(0xFFFCFFFC, "OB", b"12")
        )
    assert list(tmp_path.iterdir()) == []


def test_dicomdir_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MorphError, match="DICOMDIR"):
        morph(bundled("DICOMDIR-bigEnd"), tmp_path / "out.dcm")


def test_identity_must_be_a_uid(tmp_path: Path) -> None:
    with pydicom_quiet(), pytest.raises(MorphError, match="SOPInstanceUID is no UID"):
        morph(bundled("CT_small.dcm"), tmp_path / "out.dcm", lambda changed: setattr(changed, "SOPInstanceUID", "../x"))


def test_a_changed_source_is_noticed(tmp_path: Path) -> None:
    path = write_instance(tmp_path / "in.dcm", make_instance())
    header = read_header(path)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(MorphError, match="changed since"):
        write_morphed(header, header.dataset, tmp_path / "out.dcm")
    assert not (tmp_path / "out.dcm").exists()


def test_a_missing_folder_leaves_nothing(tmp_path: Path) -> None:
    header = read_header(bundled("CT_small.dcm"))
    with pytest.raises(FileNotFoundError):
        write_morphed(header, header.dataset, tmp_path / "absent" / "out.dcm")


def flat(tmp_path: Path, megabytes: int) -> None:
    """Morph a multi-frame of that size in a process of its own, and look at the peak of its memory."""
    path = write_instance(tmp_path / "in.dcm", make_instance(PatientID="1"))
    with path.open("ab") as file:
        file.write(b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\0\0\0\0")
        frame = bytes(range(256)) * 4096
        for _ in range(megabytes):
            file.write(b"\xfe\xff\0\xe0" + len(frame).to_bytes(4, "little") + frame)
        file.write(b"\xfe\xff\xdd\xe0\0\0\0\0")
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from tasks.dicom.core.header import read_header; from tasks.dicom.core.morph import write_morphed\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "small = Path(sys.argv[3]); header = read_header(small); header.dataset.PatientID = '2'\n"
        "write_morphed(header, header.dataset, Path(sys.argv[2])); before = peak()\n"
        "header = read_header(Path(sys.argv[1])); header.dataset.PatientID = '2'\n"
        "print(write_morphed(header, header.dataset, Path(sys.argv[2])).size); print(peak() - before)"
    )
    small = write_instance(tmp_path / "small.dcm", make_instance(PatientID="1"))
    arguments = [sys.executable, "-c", script, str(path), str(tmp_path / "out.dcm"), str(small)]
    size, growth = map(int, subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.split())
    assert size > megabytes * 1024 * 1024
    assert growth < 16 * 1024, "kilobytes"


def test_memory_stays_flat(tmp_path: Path) -> None:
    flat(tmp_path, 120)


@pytest.mark.campaign
def test_memory_stays_flat_for_a_large_multiframe(tmp_path: Path) -> None:
    flat(tmp_path, 400)
