"""Element values as rules see them: texts and numbers out of an element, and an element out of texts."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pydicom.config
from pydicom.dataelem import DataElement
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.valuerep import validate_value

TEXT_VRS = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
)
INTEGER_VRS = frozenset({"SL", "SS", "SV", "UL", "US", "UV"})
FLOAT_VRS = frozenset({"FD", "FL"})
#: VRs that a rule may give a value to.
SETTABLE_VRS = TEXT_VRS | INTEGER_VRS | FLOAT_VRS | {"AT", "UN"}
#: VRs that hold one text, in which a backslash is no separator (PS3.5, 6.4).
SINGLE_TEXT_VRS = frozenset({"LT", "ST", "UR", "UT"})
_RANGES = {
    "SS": (-(2**15), 2**15 - 1),
    "US": (0, 2**16 - 1),
    "SL": (-(2**31), 2**31 - 1),
    "UL": (0, 2**32 - 1),
    "SV": (-(2**63), 2**63 - 1),
    "UV": (0, 2**64 - 1),
}
# Python's own grammar would also take `1_000`, `Infinity` and digits of other scripts.
_NUMBER = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,3})?")


_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")


class ValueTypeError(ValueError):
    """A value cannot be what the VR says. The text holds no values."""


def number(text: str) -> Decimal | None:
    """The number that a text is, or None."""
    stripped = text.strip()
    return Decimal(stripped) if _NUMBER.fullmatch(stripped) else None


def equal(left: str, right: str) -> bool:
    """Whether two values are the same: as numbers where both are numbers, else as texts."""
    numbers = number(left), number(right)
    if numbers[0] is not None and numbers[1] is not None:
        return numbers[0] == numbers[1]
    return left == right


def texts(element: DataElement) -> list[str] | None:
    """The values of an element as texts, `[""]` for an empty one; None where it holds items or binary data."""
    if element.VR == "SQ" or isinstance(element.value, bytes | bytearray):
        return None if element.VR == "SQ" or element.value else [""]
    value = element.value
    if value is None:
        return [""]
    if isinstance(value, MultiValue | list | tuple):
        return [_text(single, element.VR) for single in value] or [""]
    return [_text(value, element.VR)]


def _text(value: Any, vr: str) -> str:
    if vr == "AT":
        return f"{int(value) >> 16:04X},{int(value) & 0xFFFF:04X}"
    original = getattr(value, "original_string", None)
    return str(original) if original is not None else "" if value is None else str(value)


def make_element(tag: BaseTag, vr: str, values: Sequence[str], *, encoded_in: str = "ascii") -> DataElement:
    """An element with those values.

    Args:
        tag: its tag.
        vr: its VR, one of `SETTABLE_VRS` or an ambiguous one like `US or SS`.
        values: one text for each value; none, or one empty text, for an empty element.
        encoded_in: the encoding for VR UN, whose value is bytes.

    Raises:
        ValueTypeError: the values do not fit the VR.
    """
    if " or " in vr:
        vr = _unambiguous(vr, values)
    if vr not in SETTABLE_VRS:
        raise ValueTypeError(f"a rule cannot give a value to an element with VR {vr}")
    given: list[str] = [] if list(values) == [""] else list(values)
    if vr in SINGLE_TEXT_VRS and len(given) > 1:
        raise ValueTypeError(f"VR {vr} holds one value only")
    try:
        converted: list[Any] = [_converted(vr, value, encoded_in) for value in given]
        if vr in TEXT_VRS:
            for value in converted:
                validate_value(vr, value, pydicom.config.RAISE)
        if not converted:
            return DataElement(tag, vr, b"" if vr == "UN" else None)
        if vr == "UN":
            return DataElement(tag, vr, b"\\".join(converted))
        return DataElement(tag, vr, converted[0] if len(converted) == 1 else converted)
    except (ValueError, TypeError, OverflowError, ArithmeticError):
        # The original text quotes the value.
        raise ValueTypeError(f"the value does not fit VR {vr}") from None


def _unambiguous(vr: str, values: Sequence[str]) -> str:
    if vr.startswith("US or SS"):
        return "SS" if any(value.startswith("-") for value in values) else "US"
    raise ValueTypeError(f"a rule cannot give a value to an element with VR {vr}")


def _converted(vr: str, value: str, encoded_in: str) -> Any:
    if vr not in SINGLE_TEXT_VRS and "\\" in value:
        raise ValueError("a backslash separates values")
    if vr in INTEGER_VRS:
        if not _INTEGER.fullmatch(value):
            raise ValueError("no integer")
        whole = int(value)
        low, high = _RANGES[vr]
        if not low <= whole <= high:
            raise ValueError("out of range")
        return whole
    if vr in FLOAT_VRS:
        if number(value) is None:
            raise ValueError("no number")
        return float(value)
    if vr == "AT":
        group, _, element = value.strip("()").partition(",")
        return BaseTag(int(group, 16) << 16 | int(element, 16))
    if vr == "UN":
        return value.encode(encoded_in)
    return value
