"""Does what modifications say, on a working copy of a data set that is never the caller's own."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Protocol

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR

from tasks.dicom.core.header import HeaderDataset
from tasks.dicom.core.rules.modifications import (
    CopyTag,
    CrosswalkTag,
    DeleteTag,
    IfMissing,
    Modification,
    MoveTag,
    PrependTag,
    RegexReplaceTag,
    SetTag,
    SuffixTag,
)
from tasks.dicom.core.rules.paths import Location, Step, TagPath
from tasks.dicom.core.rules.patterns import replaced
from tasks.dicom.core.rules.text_encoding import UTF_8, character_sets
from tasks.dicom.core.rules.values import make_element, texts

SPECIFIC_CHARACTER_SET = BaseTag(0x00080005)


class CannotChangeError(Exception):
    """A modification cannot be done on this instance; the text holds no values."""

    def __init__(self, element: str, reason: str) -> None:
        super().__init__(reason)
        self.element = element
        self.reason = reason


class CrosswalkLookup(Protocol):
    """Looks values up in an external table."""

    def __call__(self, crosswalk: str, keys: tuple[str, ...]) -> Mapping[str, str | None] | None:
        """The row for these keys, column -> value; None where there is none.

        Raises:
            CrosswalkError: the table has several rows for the keys, or is not as the rules need it.
            CrosswalkUnavailableError: the table cannot be asked now.
        """


@dataclass(frozen=True, slots=True)
class Change:
    """One element changed. `before` and `after` are patient data and are not shown by `repr`."""

    #: The element with its path, for people.
    element: str
    action: str
    #: The top-level element that it is, or is in.
    top: int
    before: DataElement | None = field(repr=False)
    after: DataElement | None = field(repr=False)

    @property
    def reason(self) -> str:
        """`ADD` where the element was absent, else `COERCE`."""
        return "ADD" if self.before is None else "COERCE"


def working_copy(dataset: Dataset) -> HeaderDataset:
    """A copy that may be changed without changing the original; elements not yet decoded are shared."""
    # The keys: iterating the data set itself would decode every element.
    items = {tag: dataset.get_item(tag, keep_deferred=True) for tag in dataset.keys()}  # noqa: SIM118
    copy = HeaderDataset({tag: item if item.is_raw else deepcopy(item) for tag, item in items.items()})
    implicit, little_endian = dataset.original_encoding
    copy.set_original_encoding(implicit, little_endian, dataset.original_character_set or None)
    copy.bulk_tags = frozenset(getattr(dataset, "bulk_tags", ()))
    if hasattr(dataset, "file_meta"):
        copy.file_meta = dataset.file_meta
    return copy


def apply(modification: Modification, dataset: HeaderDataset, crosswalk: CrosswalkLookup | None) -> list[Change]:
    """Do one modification; gives what it really changed.

    Raises:
        CannotChangeError: it cannot be done; the data set may be half changed and must not be used.
        ValueTypeError, PatternTimeoutError, CrosswalkError: the same, from below.
    """
    match modification:
        case SetTag():
            return [
                change
                for location in _places(dataset, modification.tag)
                for change in _write(location, dataset, modification.values, modification.vr, "set", modification.tag)
            ]
        case DeleteTag():
            return list(_delete(dataset, modification.tag, "delete"))
        case PrependTag() | SuffixTag() | RegexReplaceTag():
            return list(_rewrite(modification, dataset))
        case CopyTag() | MoveTag():
            return list(_transfer(modification, dataset))
        case CrosswalkTag():
            return list(_look_up(modification, dataset, crosswalk))


def _places(dataset: HeaderDataset, path: TagPath) -> list[Location]:
    """Where a path leads, with sequences and items made for item numbers that come next."""
    holder: Dataset = dataset
    for step in path.steps[:-1]:
        if not isinstance(step.item, int):
            break
        holder = _item(holder, step)
    return list(path.locations(dataset))


def _item(holder: Dataset, step: Step) -> Dataset:
    tag = _reserved(holder, step)
    if tag in getattr(holder, "bulk_tags", ()):
        raise CannotChangeError(str(step), "is too large to be changed")
    if tag not in holder:
        holder[tag] = DataElement(tag, "SQ", Sequence())
    element = holder[tag]
    if element.VR != "SQ":
        raise CannotChangeError(str(step), "is no sequence in this instance")
    number = step.item
    if not isinstance(number, int) or number > len(element.value):
        raise CannotChangeError(str(step), "does not exist, nor the item before it")
    if number == len(element.value):
        element.value.append(Dataset())
    item: Dataset = element.value[number]
    return item


def _reserved(holder: Dataset, step: Step) -> BaseTag:
    """The tag of a step, with a private block reserved where it needs one."""
    tag = step.tag_in(holder)
    if tag is None:
        block = holder.private_block(step.tag >> 16, step.creator or "", create=True)
        tag = block.get_tag(step.tag & 0xFF)
    return tag


def _existing(location: Location) -> DataElement | None:
    """The element at a place, None where absent.

    Raises:
        CannotChangeError: it is there, but was left in the file.
    """
    if location.in_bulk:
        raise CannotChangeError(location.name, "is too large to be read by a rule")
    if location.tag is None or location.tag not in location.holder:
        return None
    return location.holder[location.tag]


def _write(
    location: Location, dataset: HeaderDataset, values: list[str], vr: str | None, action: str, path: TagPath
) -> Iterator[Change]:
    tag = _reserved(location.holder, path.last)
    before = None if location.in_bulk else _existing(location)
    chosen = vr or (before.VR if before is not None else None) or path.last.known_vr() or "UN"
    encoded_in = character_sets(location.holders).first
    after = make_element(tag, chosen, values, encoded_in=encoded_in)
    if before is not None and before.VR == after.VR and texts(before) == texts(after) and before.value == after.value:
        return
    yield from _make_writable(location.holders, dataset, after, path)
    yield _put(location, dataset, tag, before, after, action, path)


def _put(
    location: Location,
    dataset: HeaderDataset,
    tag: BaseTag,
    before: DataElement | None,
    after: DataElement,
    action: str,
    path: TagPath,
) -> Change:
    # Replaced by something else, a large element is known to have been there, though not its value.
    was_bulk = location.in_bulk
    location.holder[tag] = after
    _drop_bulk(dataset, location, tag)
    old = DataElement(tag, after.VR, None) if was_bulk else before
    return Change(location.name, action, path.top.tag_in(dataset) or 0, old, after)


def _drop_bulk(dataset: HeaderDataset, location: Location, tag: BaseTag) -> None:
    if location.holder is dataset:
        dataset.bulk_tags -= {tag}


def _make_writable(
    holders: tuple[Dataset, ...], dataset: HeaderDataset, element: DataElement, path: TagPath
) -> Iterator[Change]:
    """Switch to UTF-8 where the character set that counts cannot hold a new text."""
    if element.VR not in CUSTOMIZABLE_CHARSET_VR:
        return
    declared = character_sets(holders)
    if all(declared.can_hold(text, element.VR) for text in texts(element) or ()):
        return
    owner = declared.owner
    before = owner.get(SPECIFIC_CHARACTER_SET)
    after = DataElement(SPECIFIC_CHARACTER_SET, "CS", UTF_8)
    owner[SPECIFIC_CHARACTER_SET] = after
    top = SPECIFIC_CHARACTER_SET if owner is dataset else path.top.tag_in(dataset) or 0
    yield Change("SpecificCharacterSet", "encode", top, before, after)


def _delete(dataset: HeaderDataset, path: TagPath, action: str) -> Iterator[Change]:
    for location in path.locations(dataset):
        if not location.present or location.tag is None:
            continue
        if location.in_bulk:
            before = DataElement(location.tag, path.last.known_vr() or "UN", None)
            _drop_bulk(dataset, location, location.tag)
        else:
            before = location.holder[location.tag]
            del location.holder[location.tag]
        yield Change(location.name, action, path.top.tag_in(dataset) or 0, before, None)


def _rewrite(modification: PrependTag | SuffixTag | RegexReplaceTag, dataset: HeaderDataset) -> Iterator[Change]:
    present = [location for location in modification.tag.locations(dataset) if location.present]
    if not present and modification.if_missing is IfMissing.FAIL:
        raise CannotChangeError(str(modification.tag), "is absent")
    for location in present:
        element = _existing(location)
        values = None if element is None else texts(element)
        if values is None:
            raise CannotChangeError(location.name, "holds no text")
        if values == [""]:
            if modification.if_missing is IfMissing.FAIL:
                raise CannotChangeError(location.name, "is empty")
            continue
        new = [_rewritten(modification, value) for value in values]
        yield from _write(location, dataset, new, None, modification.action, modification.tag)


def _rewritten(modification: PrependTag | SuffixTag | RegexReplaceTag, value: str) -> str:
    match modification:
        case PrependTag():
            return modification.value + value
        case SuffixTag():
            return value + modification.value
        case RegexReplaceTag():
            return replaced(modification.pattern, modification.replacement, value)


def _transfer(modification: CopyTag | MoveTag, dataset: HeaderDataset) -> Iterator[Change]:
    sources = [location for location in modification.source.locations(dataset) if location.present]
    source = _existing(sources[0]) if sources else None
    if source is None:
        if modification.if_missing is IfMissing.FAIL:
            raise CannotChangeError(str(modification.source), "is absent")
        return
    places = _places(dataset, modification.destination)
    if not places:
        raise CannotChangeError(str(modification.destination), "is in a sequence without items")
    for location in places:
        yield from _write_copy(location, dataset, source, modification)
    if isinstance(modification, MoveTag):
        yield from _delete(dataset, modification.source, "move")


def _write_copy(
    location: Location, dataset: HeaderDataset, source: DataElement, modification: CopyTag | MoveTag
) -> Iterator[Change]:
    path = modification.destination
    # Whatever large value is there is replaced.
    before = None if location.in_bulk else _existing(location)
    vr = modification.vr or (before.VR if before is not None else None) or path.last.known_vr() or source.VR
    values = texts(source)
    if values is not None and not isinstance(source.value, bytes):
        yield from _write(location, dataset, values, vr, modification.action, path)
        return
    if source.VR not in vr.split(" or "):
        raise CannotChangeError(location.name, f"has VR {vr} and cannot take a value with VR {source.VR}")
    if before is not None and before.value == source.value:
        return
    tag = _reserved(location.holder, path.last)
    after = DataElement(tag, source.VR, deepcopy(source.value))
    yield _put(location, dataset, tag, before, after, modification.action, path)


def _look_up(modification: CrosswalkTag, dataset: HeaderDataset, crosswalk: CrosswalkLookup | None) -> Iterator[Change]:
    keys: list[str] = []
    for path in modification.keys:
        element = next((_existing(location) for location in path.locations(dataset) if location.present), None)
        values = None if element is None else texts(element)
        if values is None or len(values) != 1 or not values[0].strip():
            if modification.if_missing is IfMissing.SKIP:
                return
            raise CannotChangeError(str(path), "has no single value to look up by")
        keys.append(values[0].strip())
    name = modification.crosswalk
    if crosswalk is None:
        raise CannotChangeError(name, "no crosswalk can be asked here")
    row = crosswalk(name, tuple(keys))
    if row is None:
        if modification.if_missing is IfMissing.SKIP:
            return
        raise CannotChangeError(name, "the crosswalk has no row for this instance")
    for path, column in modification.targets:
        value = row.get(column)
        if value is None:
            raise CannotChangeError(str(path), f"the crosswalk has no value in column {column}")
        places = _places(dataset, path)
        if not places:
            raise CannotChangeError(str(path), "is in a sequence without items")
        for location in places:
            yield from _write(location, dataset, [value], None, "crosswalk", path)
