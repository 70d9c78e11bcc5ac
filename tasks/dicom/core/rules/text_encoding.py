"""Character sets: whether a text can be written as a data set says, and the switch to UTF-8 where it cannot.

References are to DICOM PS3.3, C.12.1.1.2 and PS3.5, 6.1.
"""

from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.dataset import Dataset
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR

from tasks.dicom.core.pydicom_modes import pydicom_quiet

UTF_8 = "ISO_IR 192"
# Only in VR PN do these separate parts, each of which starts anew in the first character set.
_DELIMITERS = {0x09, 0x0A, 0x0C, 0x0D, 0x5C}
_PERSON_DELIMITERS = _DELIMITERS | {0x5E, 0x3D}


def character_sets(holders: tuple[Dataset, ...]) -> tuple[Dataset, list[str]]:
    """The data set or item whose Specific Character Set counts for the innermost one, and its Python encodings."""
    for holder in reversed(holders):
        declared = holder.get("SpecificCharacterSet")
        if declared:
            return holder, _encodings(declared)
    return holders[0], ["ascii"]


def _encodings(declared: object) -> list[str]:
    terms = [str(term) for term in declared] if not isinstance(declared, str) else [declared]  # type: ignore[attr-defined]
    encodings = convert_encodings(terms)
    if terms[0].strip() in ("", "ISO_IR 6", "ISO 2022 IR 6"):
        # pydicom reads undeclared bytes as Latin-1; what is written must be what the standard allows.
        encodings[0] = "ascii"
    return encodings


def writable(text: str, vr: str, encodings: list[str]) -> bool:
    """Whether a text comes back unchanged from these encodings."""
    if vr not in CUSTOMIZABLE_CHARSET_VR or text.isascii():
        return text.isascii() or vr in CUSTOMIZABLE_CHARSET_VR
    delimiters = _PERSON_DELIMITERS if vr == "PN" else _DELIMITERS
    try:
        with pydicom_quiet():
            return decode_bytes(encode_string(text, encodings), encodings, delimiters) == text
    except (UnicodeError, LookupError, ValueError):
        return False
