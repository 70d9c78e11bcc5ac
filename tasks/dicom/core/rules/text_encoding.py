"""Character sets: whether a text can be written as a data set says, and the switch to UTF-8 where it cannot.

References are to DICOM PS3.3, C.12.1.1.2 and PS3.5, 6.1.
"""

from dataclasses import dataclass

from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.dataset import Dataset
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, PersonName

from tasks.dicom.core.pydicom_modes import pydicom_quiet

UTF_8 = "ISO_IR 192"
_DEFAULT = ("", "ISO_IR 6", "ISO 2022 IR 6")
# After these the first character set counts again.
_DELIMITERS = {0x09, 0x0A, 0x0C, 0x0D, 0x5C}


@dataclass(frozen=True, slots=True)
class CharacterSets:
    """What texts of a data set or item are written in."""

    #: The data set or item that declares it; the whole data set where nobody does.
    owner: Dataset
    #: As Python and pydicom name them.
    encodings: tuple[str, ...]
    #: The first one is the default repertoire, ASCII. pydicom takes Latin-1 for it, which others need not understand.
    ascii_first: bool

    @property
    def first(self) -> str:
        """The encoding of what has no escape sequence."""
        return "ascii" if self.ascii_first else self.encodings[0]

    def can_hold(self, text: str, vr: str) -> bool:
        """Whether a text comes back unchanged."""
        if text.isascii():
            return True
        if vr not in CUSTOMIZABLE_CHARSET_VR or (self.ascii_first and any("\x80" <= one <= "\xff" for one in text)):
            return False
        encodings = list(self.encodings)
        try:
            with pydicom_quiet():
                if vr == "PN":
                    # Each component group and component starts anew in the first character set.
                    return str(PersonName(PersonName(text).encode(encodings), encodings)) == text
                return decode_bytes(encode_string(text, encodings), encodings, _DELIMITERS) == text
        except (UnicodeError, LookupError, ValueError):
            return False


def character_sets(holders: tuple[Dataset, ...]) -> CharacterSets:
    """The Specific Character Set that counts for the innermost of a data set and items in it."""
    for holder in reversed(holders):
        declared = holder.get("SpecificCharacterSet")
        if declared:
            terms = [declared] if isinstance(declared, str) else [str(term) for term in declared]
            return CharacterSets(holder, tuple(convert_encodings(terms)), terms[0].strip() in _DEFAULT)
    return CharacterSets(holders[0], tuple(convert_encodings(None)), ascii_first=True)
