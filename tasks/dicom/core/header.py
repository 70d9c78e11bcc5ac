"""Reads everything of an instance but its bulk: who it is, how it is written, and what rules may look at.

Lenient: what `pydicom.dcmread` reads with enough identity is read here too. A file without preamble or file meta that
still has a SOP Class UID and a SOP Instance UID is adopted, its encoding guessed. Memory stays bounded whatever a
length field claims; anything that is no instance ends in an `UnreadableInstanceError` with a reason for people.
References are to DICOM PS3.5 and PS3.10.
"""

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from tasks.dicom.core.byte_source import CHUNK, ByteSource, InflatedSource, InflateError, PlainSource
from tasks.dicom.core.elements import (
    PIXEL_TAGS,
    SPECIFIC_CHARACTER_SET,
    UNDEFINED,
    Element,
    Encoding,
    Scan,
    StructureError,
)
from tasks.dicom.core.pydicom_modes import pydicom_quiet

PREAMBLE = 128
PREFIX = b"DICM"
#: Names this software in the file meta of what it writes (PS3.7, D.3.3.2); a UUID-derived UID needs no registration.
IMPLEMENTATION_CLASS_UID = UID("2.25.230457681146289513498312574066190462877")
IMPLEMENTATION_VERSION_NAME = "QUINTET"
# The JPIP and HTJ2K "referenced deflate" syntaxes deflate the data set as well (PS3.5, A.6, A.7, A.10).
DEFLATED = frozenset({DeflatedExplicitVRLittleEndian, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
NATIVE = frozenset({ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian})

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_VR = re.compile(rb"[A-Z]{2}")


class UnreadableInstanceError(Exception):
    """A file is no DICOM instance that could be processed; the text says why and holds no patient data."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class HeaderDataset(Dataset):
    """A data set without its bulk: the elements in `bulk_tags` are in the file but not here."""

    bulk_tags: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Header:
    """What is known of an instance without its pixels."""

    path: Path
    #: All elements but pixel data and large values. Yours to change: `write_morphed` compares it with the file.
    dataset: HeaderDataset
    #: As it should be: complete and consistent with the data set, whatever the file had.
    file_meta: FileMetaDataset
    sop_class_uid: str
    sop_instance_uid: str
    #: None where absent or no UID.
    study_instance_uid: str | None
    series_instance_uid: str | None
    modality: str | None
    #: How the data set is really written; differs from what the file meta claims where that is wrong.
    transfer_syntax_uid: str
    #: The file meta was missing, incomplete or wrong: write the file anew before it is handed on as a DICOM file.
    adopted: bool
    #: First byte of the data set in the file.
    data_set_offset: int
    size: int
    #: The file ends inside an element.
    truncated: bool
    #: What was tolerated, for people. No values.
    problems: tuple[str, ...]
    encoding: Encoding
    elements: tuple[Element, ...]
    #: Where the last element ends, in the file or in the inflated stream.
    elements_end: int

    @property
    def deflated(self) -> bool:
        """Whether the data set is deflated."""
        return self.transfer_syntax_uid in DEFLATED


def is_uid(text: str | None) -> bool:
    """Whether a text may be used as a UID: digits and dots, at most 64 (PS3.5, 9.1; leading zeros are tolerated)."""
    return text is not None and len(text) <= 64 and _UID.fullmatch(text) is not None


def data_set_offset(path: Path) -> int:
    """The position of the first byte after the file meta group; 0 where there is none.

    Raises:
        UnreadableInstanceError: the file meta group is broken.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return _file_meta(file, _size(file))[1]


def content_sha256(path: Path) -> str:
    """SHA-256 (hex) of the data set as stored: all that follows the file meta group, or the whole file without one.

    Raises:
        UnreadableInstanceError: the file meta group is broken.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(_file_meta(file, _size(file))[1])
        digest = hashlib.sha256()
        while chunk := file.read(CHUNK):
            digest.update(chunk)
        return digest.hexdigest()


def read_header(path: Path) -> Header:
    """Read an instance without its pixel data and other bulk.

    Raises:
        UnreadableInstanceError: it is no DICOM instance; the reason says why.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = _size(file)
        prefix = _has_prefix(file)
        if size == 0:
            raise UnreadableInstanceError("the file is empty")
        meta, offset = _file_meta(file, size)
        declared = _text(meta.get(0x00020010))
        if offset == size:
            raise UnreadableInstanceError("the file holds no data set")
        source, encoding, syntax = _encoding(file, offset, size, declared)
        scan = Scan(source, encoding)
        try:
            elements = tuple(scan.elements())
        except (StructureError, InflateError) as error:
            raise UnreadableInstanceError(_not_dicom(offset, str(error))) from error
    problems = list(scan.problems)
    if not meta:
        problems.append("no file meta information")
    elif syntax != declared:
        problems.append(f"transfer syntax {declared or 'missing'} in the file meta, data set is written as {syntax}")
    values = {element.tag: element for element in elements}
    sop_class = _text(values.get(0x00080016)) or _text(meta.get(0x00020002))
    sop_instance = _text(values.get(0x00080018)) or _text(meta.get(0x00020003))
    for name, uid in (("SOP Class UID", sop_class), ("SOP Instance UID", sop_instance)):
        if uid is None:
            raise UnreadableInstanceError(_not_dicom(offset, f"no {name}"))
        if not is_uid(uid):
            raise UnreadableInstanceError(_not_dicom(offset, f"the {name} is no UID"))
    assert sop_class is not None and sop_instance is not None  # noqa: S101 - for the type checker; raised above
    file_meta = _complete(meta, sop_class, sop_instance, syntax)
    dataset = make_dataset(elements, encoding)
    # For criteria on file meta elements such as TransferSyntaxUID.
    dataset.file_meta = file_meta
    consistent = _text(meta.get(0x00020002)) == sop_class and _text(meta.get(0x00020003)) == sop_instance
    study, series = _text(values.get(0x0020000D)), _text(values.get(0x0020000E))
    modality = _text(values.get(0x00080060))
    return Header(
        path=path,
        dataset=dataset,
        file_meta=file_meta,
        sop_class_uid=sop_class,
        sop_instance_uid=sop_instance,
        study_instance_uid=study if is_uid(study) else None,
        series_instance_uid=series if is_uid(series) else None,
        modality=modality if modality and re.fullmatch(r"[A-Z0-9_ ]{1,16}", modality) else None,
        transfer_syntax_uid=syntax,
        adopted=not prefix or not consistent or syntax != declared,
        data_set_offset=offset,
        size=size,
        truncated=scan.truncated,
        problems=tuple(problems),
        encoding=encoding,
        elements=elements,
        elements_end=scan.end,
    )


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _has_prefix(file: BinaryIO) -> bool:
    file.seek(PREAMBLE)
    return file.read(len(PREFIX)) == PREFIX


def _not_dicom(offset: int, reason: str) -> str:
    return reason if offset else f"not a DICOM file: no file meta information, and {reason}"


def _text(element: Element | None) -> str | None:
    """The single text of an element without its padding; None where absent or empty."""
    if element is None or element.value is None:
        return None
    return element.value.rstrip(b"\0 ").decode("ascii", "replace").strip() or None


def _file_meta(file: BinaryIO, size: int) -> tuple[dict[int, Element], int]:
    """The elements of the file meta group, and where it ends (PS3.10, 7.1). Its length element is not believed."""
    start = PREAMBLE + len(PREFIX) if _has_prefix(file) else 0
    scan = Scan(PlainSource(file, start, size), Encoding(implicit=False))
    try:
        meta = {element.tag: element for element in scan.elements(only_group=2)}
    except StructureError as error:
        raise UnreadableInstanceError(f"the file meta information is broken: {error}") from error
    return meta, scan.end


def _encoding(file: BinaryIO, offset: int, size: int, declared: str | None) -> tuple[ByteSource, Encoding, str]:
    """How the data set is written: what the file meta says, unless the first element shows that it is not so."""
    if declared in DEFLATED:
        return InflatedSource(file, offset), Encoding(implicit=False), declared
    file.seek(offset)
    first = file.read(6)
    explicit = len(first) == 6 and _VR.fullmatch(first[4:]) is not None
    if declared is None or not is_uid(declared):
        # Groups of the first element are small: in the other byte order they look large.
        encoding = Encoding(not explicit, big_endian=explicit and int.from_bytes(first[:2], "little") >= 0x0400)
    else:
        encoding = Encoding(not explicit, big_endian=declared == ExplicitVRBigEndian)
    syntax = declared
    if syntax is None or not is_uid(syntax) or syntax in NATIVE:
        syntax = ImplicitVRLittleEndian if encoding.implicit else ExplicitVRLittleEndian
        if encoding.big_endian:
            syntax = ExplicitVRBigEndian
    return PlainSource(file, offset, size), encoding, str(syntax)


def _complete(meta: dict[int, Element], sop_class: str, sop_instance: str, syntax: str) -> FileMetaDataset:
    """The file meta as it should be; who sent the file and private information stay (PS3.10, table 7.1-1)."""
    complete = FileMetaDataset()
    complete.FileMetaInformationVersion = b"\x00\x01"
    complete.MediaStorageSOPClassUID = UID(sop_class)
    complete.MediaStorageSOPInstanceUID = UID(sop_instance)
    complete.TransferSyntaxUID = UID(syntax)
    complete.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    complete.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    for tag in (0x00020016, 0x00020017, 0x00020018):
        if (ae := _text(meta.get(tag))) and len(ae) <= 16 and ae.isascii() and ae.isprintable() and "\\" not in ae:
            complete.add_new(tag, "AE", ae)
    creator, private = _text(meta.get(0x00020100)), meta.get(0x00020102)
    if is_uid(creator) and private is not None and private.value:
        complete.PrivateInformationCreatorUID = UID(str(creator))
        complete.PrivateInformation = private.value
    return complete


def _raw(element: Element, big_endian: bool) -> RawDataElement:
    vr, value = element.vr, element.value
    if element.length == UNDEFINED and vr in (None, "UN"):
        # What is written as items is a sequence, unless the dictionary knows better (PS3.5, 6.2.2).
        try:
            vr = dictionary_VR(element.tag)
        except KeyError:
            vr = "SQ"
    return RawDataElement(
        BaseTag(element.tag),
        vr,
        len(value or b""),
        # As pydicom does; an empty value is no value to be read later.
        value or None,
        element.value_start,
        element.implicit,
        not big_endian,
    )


def make_dataset(elements: Iterable[Element], encoding: Encoding) -> HeaderDataset:
    """A data set of those elements whose values are here, decoded only when they are looked at."""
    # Made of the elements at once: setting them one by one makes pydicom decode some.
    kept = {one.tag: one for one in elements}
    bulk = {tag for tag, one in kept.items() if one.value is None or tag in PIXEL_TAGS}
    dataset = HeaderDataset(
        {BaseTag(tag): _raw(one, encoding.big_endian) for tag, one in kept.items() if tag not in bulk}
    )
    dataset.bulk_tags = frozenset(bulk)
    declared = kept.get(SPECIFIC_CHARACTER_SET)
    with pydicom_quiet():
        dataset.set_original_encoding(encoding.implicit, not encoding.big_endian, _character_sets(declared))
    return dataset


def _character_sets(declared: Element | None) -> list[str]:
    """Python's names of the declared character sets; pydicom's default where they cannot be understood."""
    terms = [] if declared is None or declared.value is None else declared.value.decode("ascii", "replace").split("\\")
    try:
        return convert_encodings([term.strip(" \0") for term in terms])
    except (LookupError, ValueError):
        return convert_encodings(None)
