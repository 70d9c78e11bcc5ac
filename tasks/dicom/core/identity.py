"""What an instance is, read from the first few elements of its file: enough for the ledger, far from the pixels.

Nothing here fails because an instance is odd: what cannot be read is None, and evaluation says later what is wrong.
"""

import re
import zlib
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from tasks.dicom.core.pydicom_modes import pydicom_quiet

_TRANSFER_SYNTAX = Tag(0x0002, 0x0010)
_SOP_CLASS = Tag(0x0008, 0x0016)
_SOP_INSTANCE = Tag(0x0008, 0x0018)
_MODALITY = Tag(0x0008, 0x0060)
_STUDY = Tag(0x0020, 0x000D)
_SERIES = Tag(0x0020, 0x000E)
_WANTED: list[BaseTag | int] = [_SOP_CLASS, _SOP_INSTANCE, _MODALITY, _STUDY, _SERIES]
# A deflated header is inflated no further than this.
_INFLATED = 1024 * 1024
#: UIDs as a peer may send them: PS3.5 section 9.1, but leading zeros in components are let through.
UID_PATTERN = re.compile(r"[0-9]+(\.[0-9]+)*")


@dataclass(frozen=True)
class Identity:
    """The identifying values of an instance that fit the ledger's columns."""

    sop_class_uid: str | None = None
    sop_instance_uid: str | None = None
    transfer_syntax_uid: str | None = None
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    modality: str | None = None

    def with_uids(self, sop_class_uid: str | None, sop_instance_uid: str | None) -> "Identity":
        """The same instance under the UIDs that its sender gave in the command."""
        return replace(self, sop_class_uid=sop_class_uid, sop_instance_uid=sop_instance_uid)


def clean_uid(raw: bytes | str | None) -> str | None:
    """A UID without its padding; None where it is missing or no UID."""
    text = clean_text(raw, 64)
    return text if text is not None and UID_PATTERN.fullmatch(text) else None


def clean_text(raw: bytes | str | None, longest: int) -> str | None:
    """A short ASCII text without its padding; None where it is missing, too long or not plain text."""
    if isinstance(raw, bytes):
        raw = raw.decode("ascii", "replace")
    text = (raw or "").strip(" \0")
    plain = text.isascii() and text.isprintable()
    return text if text and plain and len(text) <= longest else None


def read_identity(path: Path, *, offset: int, transfer_syntax_uid: str) -> Identity:
    """What the data set of a received file says about itself.

    Args:
        path: a file with preamble and file meta.
        offset: where its data set starts.
        transfer_syntax_uid: how the data set is encoded.
    """
    try:
        with pydicom_quiet(), path.open("rb") as file:
            file.seek(offset)
            return _identity(file, UID(transfer_syntax_uid))
    except Exception:  # noqa: BLE001 - damaged headers raise anything; the receive must not fail on any
        return Identity(transfer_syntax_uid=clean_uid(transfer_syntax_uid))


def read_file_identity(path: Path) -> Identity:
    """What a file from anywhere says about itself; all None where it is not DICOM."""
    meta = Identity()
    try:
        with pydicom_quiet(), path.open("rb") as file:
            if read_preamble(file, force=True) is None:
                file.seek(0)
            group = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
            meta = Identity(
                sop_class_uid=clean_uid(_raw(group, Tag(0x0002, 0x0002))),
                sop_instance_uid=clean_uid(_raw(group, Tag(0x0002, 0x0003))),
                transfer_syntax_uid=clean_uid(_raw(group, _TRANSFER_SYNTAX)),
            )
            syntax = UID(meta.transfer_syntax_uid) if meta.transfer_syntax_uid else _guessed_syntax(file)
            found = _identity(file, syntax)
            return replace(
                found,
                sop_class_uid=found.sop_class_uid or meta.sop_class_uid,
                sop_instance_uid=found.sop_instance_uid or meta.sop_instance_uid,
                transfer_syntax_uid=meta.transfer_syntax_uid,
            )
    except Exception:  # noqa: BLE001 - damaged headers raise anything; the receive must not fail on any
        return meta


def _identity(file: BinaryIO, syntax: UID) -> Identity:
    if syntax == DeflatedExplicitVRLittleEndian:
        file = BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(_INFLATED), _INFLATED))
    known = not syntax.is_private and syntax.is_transfer_syntax
    dataset = read_dataset(
        file,
        known and syntax.is_implicit_VR,
        not known or syntax.is_little_endian,
        stop_when=lambda tag, _vr, _length: tag > _SERIES,
        specific_tags=_WANTED,
    )
    return Identity(
        sop_class_uid=clean_uid(_raw(dataset, _SOP_CLASS)),
        sop_instance_uid=clean_uid(_raw(dataset, _SOP_INSTANCE)),
        transfer_syntax_uid=clean_uid(syntax),
        study_instance_uid=clean_uid(_raw(dataset, _STUDY)),
        series_instance_uid=clean_uid(_raw(dataset, _SERIES)),
        modality=clean_text(_raw(dataset, _MODALITY), 16),
    )


def _raw(dataset: Dataset, tag: BaseTag) -> bytes | str | None:
    """An element's value without pydicom's conversion, which validates, warns and may raise."""
    if tag not in dataset:
        return None
    value = dataset.get_item(tag).value
    return value if isinstance(value, bytes | str) else None


def _guessed_syntax(file: BinaryIO) -> UID:
    """Without file meta: explicit where a VR stands behind the first tag, else implicit."""
    start = file.tell()
    first = file.read(6)
    file.seek(start)
    return ExplicitVRLittleEndian if first[4:6].isalpha() else UID("1.2.840.10008.1.2")
