"""Records changes in the Original Attributes Sequence (PS3.3, C.12.1.1.9), so that old values can be found again."""

from copy import deepcopy
from datetime import UTC, datetime

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from tasks.dicom.core.header import HeaderDataset
from tasks.dicom.core.rules.changing import CannotChangeError, Change
from tasks.dicom.core.rules.criteria import Source
from tasks.dicom.core.rules.model import Audit
from tasks.dicom.core.rules.values import ValueTypeError, make_element

ORIGINAL_ATTRIBUTES = BaseTag(0x04000561)
# Undoes itself when recorded: the sequence that records, and the time it was written.
_OWN = frozenset({0x04000561, 0x00080015})


def snapshot(dataset: HeaderDataset, tops: set[int]) -> dict[int, list[DataElement]]:
    """Those top-level elements as they are now, each with the private creator it needs; absent ones are left out."""
    return {
        top: [deepcopy(dataset[tag]) for tag in (*_creator(dataset, top), BaseTag(top))]
        for top in tops
        if top in dataset
    }


def _creator(dataset: Dataset, top: int) -> list[BaseTag]:
    tag = BaseTag(top)
    if not tag.is_private or tag.element < 0x1000:
        return []
    creator = BaseTag(tag.group << 16 | tag.element >> 8)
    return [creator] if creator in dataset else []


def record(
    dataset: HeaderDataset,
    changes: list[Change],
    before: dict[int, list[DataElement]],
    *,
    audit: Audit,
    source: Source,
    now: datetime,
) -> None:
    """Add one item for each top-level element that a modification changed.

    Args:
        dataset: the changed data set.
        changes: what one modification changed.
        before: what `snapshot` gave before it, for the elements it might change.
        audit: how to sign.
        source: where the instance came from.
        now: an aware moment.

    Raises:
        CannotChangeError: the sequence is there but too large to be added to.
    """
    tops = list(dict.fromkeys(change.top for change in changes if change.top not in _OWN))
    if not tops:
        return
    if ORIGINAL_ATTRIBUTES in dataset.bulk_tags:
        raise CannotChangeError("OriginalAttributesSequence", "is too large to be added to")
    moment = now.astimezone(UTC).strftime("%Y%m%d%H%M%S.%f+0000")
    items = [_item(before.get(top), audit, source, moment) for top in tops]
    kept = list(dataset[ORIGINAL_ATTRIBUTES].value or ()) if ORIGINAL_ATTRIBUTES in dataset else []
    dataset[ORIGINAL_ATTRIBUTES] = DataElement(ORIGINAL_ATTRIBUTES, "SQ", Sequence([*kept, *items]))
    dataset.InstanceCoercionDateTime = moment


def _item(old: list[DataElement] | None, audit: Audit, source: Source, moment: str) -> Dataset:
    modified = Dataset()
    for element in old or ():
        modified[element.tag] = element
    item = Dataset()
    item.ModifiedAttributesSequence = Sequence([modified])
    item.AttributeModificationDateTime = moment
    item.ModifyingSystem = audit.modifying_system
    # Type 2: empty where the source is not known, or is no text that an element may hold.
    name = audit.source_of_previous_values or source.calling_ae or source.source_id[:64]
    try:
        item[0x04000564] = make_element(BaseTag(0x04000564), "LO", [name if name.isascii() else ""])
    except ValueTypeError:
        item.SourceOfPreviousValues = ""
    item.ReasonForTheAttributeModification = "COERCE" if old else "ADD"
    return item
