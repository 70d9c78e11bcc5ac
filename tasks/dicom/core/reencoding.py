"""Encodes the elements of a data set that changed, and finds out which did.

Whatever did not change is not encoded anew: its bytes are copied. Only when the character set of the data set changes
are the other texts written anew too (PS3.3, C.12.1.1.2).
"""

from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import BaseTag
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR

from tasks.dicom.core.elements import DEPTH_LIMIT, SPECIFIC_CHARACTER_SET, Encoding
from tasks.dicom.core.header import Header, HeaderDataset, make_dataset


class MorphError(Exception):
    """A changed instance cannot be written; the text holds no values."""


def changed_elements(header: Header, dataset: Dataset) -> dict[int, bytes | None]:
    """The top-level elements in which a data set differs from the file, encoded as the file is; None for removed ones.

    Raises:
        MorphError: an element cannot be encoded, or a large one would have to be.
    """
    pristine = make_dataset(header.elements, header.encoding)
    bulk = pristine.bulk_tags
    kept_bulk: frozenset[int] = dataset.bulk_tags if isinstance(dataset, HeaderDataset) else bulk
    before = list(pristine.original_character_set)
    encodings = _encodings(dataset, pristine, before)
    recode = encodings != before
    if recode:
        _refuse_bulk_texts(header, kept_bulk)
    changed: dict[int, bytes | None] = {}
    for tag in pristine.keys() - dataset.keys():
        changed[int(tag)] = None
    for number in bulk - kept_bulk:
        if number not in dataset:
            changed[number] = None
    for tag in dataset.keys():  # noqa: SIM118 - iterating the data set itself would decode every element
        there = tag in pristine
        if (
            there
            and not recode
            and dataset.get_item(tag, keep_deferred=True) == pristine.get_item(tag, keep_deferred=True)
        ):
            continue
        new = _encoded(dataset, tag, header.encoding, encodings, recode)
        if there and new == _encoded_before(pristine, tag, header.encoding):
            continue
        changed[int(tag)] = new
    return changed


def _encodings(dataset: Dataset, pristine: Dataset, before: list[str]) -> list[str]:
    """The character sets to write in. What the file declares need not be understood while nobody changes it."""
    if dataset.get_item(SPECIFIC_CHARACTER_SET, keep_deferred=True) == pristine.get_item(
        SPECIFIC_CHARACTER_SET, keep_deferred=True
    ):
        return before
    try:
        return convert_encodings(dataset.get("SpecificCharacterSet"))
    except Exception as error:  # noqa: BLE001 - pydicom raises nearly anything on broken values
        raise MorphError(f"the SpecificCharacterSet cannot be understood ({type(error).__name__})") from None


def _refuse_bulk_texts(header: Header, bulk: frozenset[int]) -> None:
    for element in header.elements:
        if element.tag in bulk and (element.vr in CUSTOMIZABLE_CHARSET_VR or element.vr == "SQ"):
            raise MorphError(
                f"the character set changes, and ({element.tag >> 16:04X},{element.tag & 0xFFFF:04X}) "
                "is too large to be written anew"
            )


def _encoded_before(pristine: Dataset, tag: BaseTag, encoding: Encoding) -> bytes | None:
    """How the element of the file would be encoded by us; None where it could not."""
    try:
        return _encoded(pristine, tag, encoding, list(pristine.original_character_set), recode=False)
    except MorphError:
        return None


def _encoded(dataset: Dataset, tag: BaseTag, encoding: Encoding, encodings: list[str], recode: bool) -> bytes:
    try:
        raw = dataset.get_item(tag, keep_deferred=True)
        # What was never looked at and needs no other character set stays as it is.
        element: DataElement | RawDataElement = raw
        if not recode or not raw.is_raw or not _plain_ascii(raw):
            element = dataset[tag]
        if recode and isinstance(element, DataElement):
            _decode(element, 0)
        buffer = DicomBytesIO()
        buffer.is_implicit_VR = encoding.implicit
        buffer.is_little_endian = not encoding.big_endian
        if element.is_raw and element.VR is None:
            element = dataset[tag]
        write_data_element(buffer, element, encodings)
        return buffer.getvalue()
    except MorphError:
        raise
    except Exception as error:  # noqa: BLE001 - pydicom raises nearly anything; the cause may quote a value
        name = f"({tag.group:04X},{tag.element:04X})"
        raise MorphError(f"element {name} cannot be encoded ({type(error).__name__})") from None


def _plain_ascii(raw: DataElement | RawDataElement) -> bool:
    return isinstance(raw.value, bytes) and raw.value.isascii() and b"\x1b" not in raw.value


def _decode(element: DataElement, depth: int) -> None:
    """Decode all texts in an element while their own character set is known.

    Raises:
        MorphError: a text is not what its character set says, so it would be damaged by writing it in another one.
    """
    if depth > DEPTH_LIMIT:
        raise MorphError("sequences are nested too deep")
    if element.VR == "SQ":
        for item in element.value or ():
            for inner in item:
                _decode(inner, depth + 1)
    elif element.VR in CUSTOMIZABLE_CHARSET_VR and "\ufffd" in str(element.value):
        raise MorphError(
            f"({element.tag.group:04X},{element.tag.element:04X}) is not written in the character set that is declared"
        )
