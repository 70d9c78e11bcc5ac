"""What a rule changes, as data. How it is done stands in `changing`."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydicom.tag import BaseTag
from pydicom.uid import UID

from tasks.dicom.core.elements import PIXEL_TAGS
from tasks.dicom.core.rules.criteria import Path
from tasks.dicom.core.rules.paths import TagPath
from tasks.dicom.core.rules.patterns import compiled, replaced
from tasks.dicom.core.rules.values import SETTABLE_VRS, ValueTypeError, make_element

# Without these an instance has no identity: they may be changed, not removed.
IDENTITY = frozenset({0x00080016, 0x00080018})


class IfMissing(StrEnum):
    """What to do when the element that a modification takes its value from is absent."""

    #: Stop the delivery: what should have been replaced may still be there.
    FAIL = "fail"
    SKIP = "skip"


def _changeable(path: TagPath) -> TagPath:
    for step in path.steps:
        group, element = step.tag >> 16, step.tag & 0xFFFF
        if group in (0x0000, 0x0002, 0xFFFE):
            raise ValueError(f"{step} is no part of the data set and cannot be changed by a rule")
        if step.tag in PIXEL_TAGS:
            raise ValueError("pixel data cannot be changed by a rule")
        if step.creator is None and element == 0:
            raise ValueError("group lengths are no longer written (PS3.5, 7.2)")
        if step.creator is None and group % 2 and 0x10 <= element <= 0xFF:
            raise ValueError("private creators are written as needed; name the elements by creator instead")
        if step.creator is None and group % 2 and element >= 0x1000:
            raise ValueError(f'name private elements by creator: ({group:04X},"CREATOR",{element & 0xFF:02X})')
    return path


def _settable(path: TagPath, vr: str | None) -> None:
    """Refuse what can never be given a value."""
    known = vr or path.last.known_vr()
    if known is not None and known not in SETTABLE_VRS and not known.startswith("US or SS"):
        raise ValueError(f"a rule cannot give a value to {path.last} (VR {known})")


class _Modification(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Targeted(_Modification):
    tag: Path

    @field_validator("tag")
    @classmethod
    def _tag_changeable(cls, path: TagPath) -> TagPath:
        return _changeable(path)


class SetTag(_Targeted):
    """Give an element a value, whether it is there or not."""

    action: Literal["set"]
    value: str | list[str]
    vr: str | None = None

    @property
    def values(self) -> list[str]:
        """The values, one text each."""
        return self.value if isinstance(self.value, list) else [self.value]

    @model_validator(mode="after")
    def _value_fits(self) -> "SetTag":
        _settable(self.tag, self.vr)
        vr = self.vr or self.tag.last.known_vr()
        if self.tag.last.tag in IDENTITY and not all(UID(value).is_valid for value in self.values):
            raise ValueError("must be a UID")
        if vr is not None:
            try:
                make_element(BaseTag(self.tag.last.tag), vr, self.values)
            except ValueTypeError as error:
                raise ValueError(str(error)) from error
        return self


class DeleteTag(_Targeted):
    """Remove an element; nothing happens where it is absent."""

    action: Literal["delete"]

    @model_validator(mode="after")
    def _removable(self) -> "DeleteTag":
        if self.tag.last.tag in IDENTITY and len(self.tag.steps) == 1:
            raise ValueError(f"{self.tag} is an instance's identity and cannot be removed")
        return self


class _TextChange(_Targeted):
    #: Nothing is there that could leave unchanged: absent elements are skipped unless the rule says otherwise.
    if_missing: IfMissing = IfMissing.SKIP

    @model_validator(mode="after")
    def _is_text(self) -> "_TextChange":
        _settable(self.tag, None)
        return self


class PrependTag(_TextChange):
    """Put a text before every value of an element."""

    action: Literal["prepend"]
    value: str = Field(min_length=1)


class SuffixTag(_TextChange):
    """Put a text after every value of an element."""

    action: Literal["suffix"]
    value: str = Field(min_length=1)


class RegexReplaceTag(_TextChange):
    """Replace every occurrence of a pattern in every value of an element."""

    action: Literal["regex_replace"]
    pattern: str = Field(min_length=1)
    replacement: str

    @model_validator(mode="after")
    def _compiles(self) -> "RegexReplaceTag":
        compiled(self.pattern)
        # Finds groups that the pattern does not have; a text without a match would not.
        replaced(f"(?:{self.pattern})|", self.replacement, "")
        return self


class _Transfer(_Modification):
    source: Path
    destination: Path
    vr: str | None = None
    if_missing: IfMissing = IfMissing.FAIL

    @field_validator("source")
    @classmethod
    def _one_source(cls, path: TagPath) -> TagPath:
        if not path.single:
            raise ValueError("must name one element, so no [*]")
        return path

    @field_validator("destination")
    @classmethod
    def _destination_changeable(cls, path: TagPath) -> TagPath:
        return _changeable(path)

    @model_validator(mode="after")
    def _different(self) -> "_Transfer":
        if self.source == self.destination:
            raise ValueError("source and destination are the same")
        return self


class CopyTag(_Transfer):
    """Give an element the value of another."""

    action: Literal["copy"]


class MoveTag(_Transfer):
    """Give an element the value of another, and remove that."""

    action: Literal["move"]

    @field_validator("source")
    @classmethod
    def _source_changeable(cls, path: TagPath) -> TagPath:
        if path.last.tag in IDENTITY and len(path.steps) == 1:
            raise ValueError(f"{path} is an instance's identity and cannot be removed")
        return _changeable(path)


class CrosswalkTag(_Modification):
    """Replace elements by what an external table has for the values of one or more elements."""

    action: Literal["crosswalk"]
    #: Name of a crosswalk that the rules declare.
    crosswalk: str
    #: The elements to look up by, in the order of the crosswalk's key columns.
    keys: list[Path] = Field(min_length=1)
    #: Element -> value column of the crosswalk.
    replace: dict[str, str] = Field(min_length=1)
    #: What to do when an element to look up by is absent or empty, or the table has no row.
    if_missing: IfMissing = IfMissing.FAIL

    @field_validator("keys")
    @classmethod
    def _single_keys(cls, paths: list[TagPath]) -> list[TagPath]:
        for path in paths:
            if not path.single:
                raise ValueError(f"{path} must name one element, so no [*]")
        return paths

    @field_validator("replace")
    @classmethod
    def _replaceable(cls, replace: dict[str, str]) -> dict[str, str]:
        for name in replace:
            path = _changeable(TagPath.parse(name))
            _settable(path, None)
        return replace

    @property
    def targets(self) -> list[tuple[TagPath, str]]:
        """The elements to replace, each with its column."""
        return [(TagPath.parse(name), column) for name, column in self.replace.items()]


Modification = Annotated[
    SetTag | DeleteTag | PrependTag | SuffixTag | RegexReplaceTag | CopyTag | MoveTag | CrosswalkTag,
    Field(discriminator="action"),
]
