"""Names of elements in rules: keywords, tags, private tags by their creator, and paths into sequences.

| notation | means |
|---|---|
| `PatientID` | the keyword of the DICOM dictionary |
| `0010,0020` or `(0010,0020)` | the same by its tag |
| `(0043,"GEMS_PARM_01",10)` | element 10 of the block that GEMS_PARM_01 reserved in group 0043, wherever it is |
| `RequestAttributesSequence[0].AccessionNumber` | in the first item of a sequence |
| `RequestAttributesSequence[*].AccessionNumber` | in every item |
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydicom.datadict import dictionary_VR, get_private_entry, keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

_STEP = re.compile(
    r"""(?: (?P<keyword>[A-Za-z][A-Za-z0-9]*)
          | (?P<group>[0-9A-Fa-f]{4}),(?P<element>[0-9A-Fa-f]{4})
          | \((?P<group2>[0-9A-Fa-f]{4}),(?P<element2>[0-9A-Fa-f]{4})\)
          | \((?P<private>[0-9A-Fa-f]{4}),"(?P<creator>[^"\\]{1,64})",(?:00)?(?P<offset>[0-9A-Fa-f]{2})\)
        )(?:\[(?P<item>\d{1,5}|\*)\])?(?P<dot>\.|$)""",
    re.VERBOSE,
)
# Sequences nested deeper are in no information object definition.
MAXIMUM_STEPS = 16


@dataclass(frozen=True, slots=True)
class Step:
    """One element on a path, and which items of it the path goes on in."""

    #: The tag; for private elements by creator, group and element number without the block.
    tag: int
    creator: str | None = None
    #: Item number, `*` for all, None at the end of the path.
    item: int | Literal["*"] | None = None

    def __str__(self) -> str:
        group, element = self.tag >> 16, self.tag & 0xFFFF
        if self.creator is not None:
            name = f'({group:04X},"{self.creator}",{element:02X})'
        else:
            name = keyword_for_tag(self.tag) or f"({group:04X},{element:04X})"
        return name if self.item is None else f"{name}[{self.item}]"

    def tag_in(self, dataset: Dataset) -> BaseTag | None:
        """The tag in this data set; None where the creator has no block in it."""
        if self.creator is None:
            return BaseTag(self.tag)
        group = self.tag >> 16
        for block in range(0x10, 0x100):
            reserved = BaseTag(group << 16 | block)
            if reserved in dataset and str(dataset[reserved].value).strip() == self.creator:
                return BaseTag(group << 16 | block << 8 | self.tag & 0xFF)
        return None

    def known_vr(self) -> str | None:
        """The VR of the dictionaries; None where they do not know the element."""
        try:
            if self.creator is not None:
                return get_private_entry(self.tag & 0xFFFF00FF | 0x1000, self.creator)[0]
            return dictionary_VR(self.tag)
        except KeyError:
            return None


@dataclass(frozen=True, slots=True)
class Location:
    """A place for one element in one data set: it may be there or not."""

    #: From the whole data set down to the item that holds the element.
    holders: tuple[Dataset, ...]
    #: None where a private block is not reserved.
    tag: BaseTag | None
    #: The path with real item numbers.
    name: str

    @property
    def holder(self) -> Dataset:
        """The data set or item that holds the element."""
        return self.holders[-1]

    @property
    def present(self) -> bool:
        """Whether the element is there."""
        return self.tag is not None and (self.tag in self.holder or self.in_bulk)

    @property
    def in_bulk(self) -> bool:
        """Whether the element was left in the file because it is large."""
        return self.tag in getattr(self.holder, "bulk_tags", ())


@dataclass(frozen=True, slots=True)
class TagPath:
    """A parsed name of elements; `str` gives it back in its plainest notation."""

    steps: tuple[Step, ...]

    @classmethod
    def parse(cls, text: str) -> "TagPath":
        """Read a path.

        Raises:
            ValueError: it is none, or names a keyword that DICOM does not have.
        """
        steps: list[Step] = []
        position = 0
        text = text.strip()
        while position < len(text) or not steps:
            match = _STEP.match(text, position)
            if match is None:
                raise ValueError(f'{text!r} names no element (keyword, GGGG,EEEE or (GGGG,"CREATOR",EE) expected)')
            steps.append(_step(match))
            position = match.end()
            if len(steps) > MAXIMUM_STEPS:
                raise ValueError(f"more than {MAXIMUM_STEPS} sequences inside each other")
            if match["dot"] and position == len(text):
                raise ValueError(f"{text!r} ends with a dot")
        for step in steps[:-1]:
            if step.item is None:
                raise ValueError(f"{step} needs the item to go on in: {step}[0] or {step}[*]")
            if step.known_vr() not in ("SQ", None):
                raise ValueError(f"{step} is no sequence")
        if steps[-1].item is not None:
            raise ValueError(f"{text!r} names an item; name an element in it")
        return cls(tuple(steps))

    def __str__(self) -> str:
        return ".".join(str(step) for step in self.steps)

    @property
    def last(self) -> Step:
        """The element that is named."""
        return self.steps[-1]

    @property
    def top(self) -> Step:
        """The element of the whole data set that the path goes through."""
        return self.steps[0]

    @property
    def single(self) -> bool:
        """Whether it names at most one element of an instance."""
        return all(step.item != "*" for step in self.steps)

    def locations(self, dataset: Dataset) -> Iterator[Location]:
        """Every place of a data set that the path names, as far as the sequences on the way are there."""
        if self.top.creator is None and self.top.tag >> 16 == 2:
            dataset = getattr(dataset, "file_meta", None) or Dataset()
        yield from self._locations((dataset,), 0, "")

    def _locations(self, holders: tuple[Dataset, ...], index: int, before: str) -> Iterator[Location]:
        step = self.steps[index]
        tag = step.tag_in(holders[-1])
        if index == len(self.steps) - 1:
            yield Location(holders, tag, f"{before}{step}")
            return
        if tag is None or tag not in holders[-1] or holders[-1][tag].VR != "SQ":
            return
        for number, item in enumerate(holders[-1][tag].value or ()):
            if step.item in ("*", number):
                name = f"{before}{Step(step.tag, step.creator, number)}."
                yield from self._locations((*holders, item), index + 1, name)


def _step(match: re.Match[str]) -> Step:
    item = match["item"]
    number: int | Literal["*"] | None = None if item is None else "*" if item == "*" else int(item)
    if match["keyword"]:
        tag = tag_for_keyword(match["keyword"])
        if tag is None:
            raise ValueError(f"DICOM has no keyword {match['keyword']!r}")
        return Step(tag, item=number)
    if match["private"]:
        group = int(match["private"], 16)
        if group % 2 == 0 or group < 9:
            raise ValueError(f"group {group:04X} is not private")
        return Step(group << 16 | int(match["offset"], 16), match["creator"].strip(), number)
    digits = match["group"] + match["element"] if match["group"] else match["group2"] + match["element2"]
    return Step(int(digits, 16), item=number)
