"""Where the top-level elements of a data set begin and end, and the values of the small ones.

Lenient as pydicom is (implicit elements in explicit data sets, unknown VRs, missing delimiters at the end, trailing
bytes), but never recursive and never greedy: nothing larger than the limits below is held in memory. References are
to DICOM PS3.5, section 7.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

from tasks.dicom.core.byte_source import ByteSource

UNDEFINED = 0xFFFFFFFF
ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
SPECIFIC_CHARACTER_SET = 0x00080005

# Larger values (waveforms, encapsulated documents) stay in the file; rules cannot read or change them.
VALUE_LIMIT = 1024 * 1024
SEQUENCE_LIMIT = 4 * 1024 * 1024
TOTAL_LIMIT = 32 * 1024 * 1024
# Real data sets have a few hundred elements and sequences nested less than ten deep.
ELEMENTS_LIMIT = 20_000
DEPTH_LIMIT = 64

_VRS = {vr.value.encode() for vr in VR if len(vr.value) == 2}
_LONG = {vr.value.encode() for vr in EXPLICIT_VR_LENGTH_32}


class StructureError(ValueError):
    """The bytes are no data set."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the elements of a data set are written."""

    implicit: bool
    big_endian: bool = False

    @property
    def order(self) -> str:
        """The byte order as `struct` writes it."""
        return ">" if self.big_endian else "<"


@dataclass(frozen=True, slots=True)
class Element:
    """One top-level element: bytes `start` to `end` of the source, its value from `value_start` on."""

    tag: int
    vr: str | None
    implicit: bool
    #: As written; `UNDEFINED` for items up to a delimiter.
    length: int
    start: int
    value_start: int
    end: int
    #: None when the value stays in the file. Without the closing delimiter where the length is undefined.
    value: bytes | None


@dataclass(slots=True)
class Scan:
    """A pass over a data set; `problems` and `end` are known when it is through."""

    source: ByteSource
    encoding: Encoding
    #: What is wrong with the data set, without values.
    problems: list[str] = field(default_factory=list)
    #: Where the last element ends; what follows is no element.
    end: int = 0
    truncated: bool = False
    _held: int = 0

    def elements(self, only_group: int | None = None) -> Iterator[Element]:
        """The top-level elements in file order, up to the first that is not of `only_group`.

        Raises:
            StructureError: the bytes are no data set.
            InflateError: the deflated stream is damaged.
        """
        self.end = self.source.position
        past_command_set = False
        for count in range(ELEMENTS_LIMIT + 1):
            start = self.source.position
            head = self._head(self.encoding)
            if head is None:
                if self.source.position > start:
                    self.problems.append("bytes after the last element")
                return
            tag, vr, implicit, length = head
            if only_group is not None and tag >> 16 != only_group:
                return
            # Zeros read as group 0, which only comes first (a command set that was written along).
            if tag >> 16 == 0xFFFE or (tag >> 16 == 0 and past_command_set):
                self.problems.append("bytes after the last element")
                return
            if count == ELEMENTS_LIMIT:
                raise StructureError(f"more than {ELEMENTS_LIMIT} elements")
            past_command_set = tag >> 16 != 0
            value_start = self.source.position
            value = self._value(tag, vr, implicit, length)
            self.end = self.source.position
            yield Element(tag, vr, implicit, length, start, value_start, self.end, value)

    def _head(self, encoding: Encoding) -> tuple[int, str | None, bool, int] | None:
        """Tag, VR, whether it is written implicitly, and length; None at the end."""
        head = self.source.read(8)
        if len(head) < 8:
            return None
        group, element = struct.unpack_from(encoding.order + "HH", head)
        tag = group << 16 | element
        if group == 0xFFFE or encoding.implicit:
            return tag, None, True, struct.unpack_from(encoding.order + "L", head, 4)[0]
        vr = head[4:6]
        if vr in _LONG:
            more = self.source.read(4)
            if len(more) < 4:
                return None
            return tag, vr.decode(), False, struct.unpack(encoding.order + "L", more)[0]
        if vr in _VRS or (0x41 <= vr[0] <= 0x5A and 0x41 <= vr[1] <= 0x5A):
            return tag, vr.decode(), False, struct.unpack_from(encoding.order + "H", head, 6)[0]
        # Some writers switch to implicit elements inside an explicit data set.
        return tag, None, True, struct.unpack_from(encoding.order + "L", head, 4)[0]

    def _value(self, tag: int, vr: str | None, implicit: bool, length: int) -> bytes | None:
        """Read or pass over one value."""
        if length != UNDEFINED:
            limit = SEQUENCE_LIMIT if vr == "SQ" else VALUE_LIMIT
            keep = tag not in PIXEL_TAGS and length <= min(limit, TOTAL_LIMIT - self._held)
            if keep:
                there = self.source.read(length)
                self._held += len(there)
                self._check_whole(len(there), length, tag)
                return there
            self._check_whole(self.source.skip(length), length, tag)
            return None
        if tag not in PIXEL_TAGS:
            self.source.start_capture(max(0, min(SEQUENCE_LIMIT, TOTAL_LIMIT - self._held)))
        whole = self._walk_items(Encoding(implicit, self.encoding.big_endian), tag)
        value = None if tag in PIXEL_TAGS else self.source.end_capture()
        if value is None:
            return None
        self._held += len(value)
        return value[:-8] if whole else value

    def _check_whole(self, there: int, length: int, tag: int) -> None:
        if there < length:
            self._cut_short(tag)

    def _cut_short(self, tag: int) -> None:
        self.truncated = True
        self.problems.append(f"the file ends inside element ({tag >> 16:04X},{tag & 0xFFFF:04X})")

    def _walk_items(self, encoding: Encoding, tag: int) -> bool:
        """Pass over the items of a value of undefined length, with its delimiter; False where the file ends before."""
        # True: inside a sequence, where items come; False: inside an item, where elements come.
        inside = [True]
        while inside:
            head = self._head(encoding)
            if head is None:
                self._cut_short(tag)
                return False
            inner, _, _, length = head
            if inside[-1]:
                if inner == SEQUENCE_END:
                    inside.pop()
                elif inner != ITEM:
                    raise StructureError(f"({tag >> 16:04X},{tag & 0xFFFF:04X}) holds something else than items")
                elif length == UNDEFINED:
                    inside.append(False)
                elif self.source.skip(length) < length:
                    self._cut_short(tag)
                    return False
            elif inner == ITEM_END:
                inside.pop()
            elif length == UNDEFINED:
                inside.append(True)
            elif self.source.skip(length) < length:
                self._cut_short(tag)
                return False
            if len(inside) > DEPTH_LIMIT:
                raise StructureError(f"sequences nested more than {DEPTH_LIMIT // 2} deep")
        return True
