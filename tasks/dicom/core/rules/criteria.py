"""What a rule looks at: elements of the instance, and the association it came by."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    Tag,
    model_validator,
)
from pydicom.dataset import Dataset

from tasks.dicom.core.rules.operators import (
    Expected,
    IpOperator,
    Operator,
    check_expected,
    holds,
    ip_holds,
    plain_address,
)
from tasks.dicom.core.rules.paths import Location, TagPath
from tasks.dicom.core.rules.patterns import PatternTimeoutError
from tasks.dicom.core.rules.values import texts
from tasks.dicom.core.tables import SourceType


def _path(value: Any) -> TagPath:
    if isinstance(value, TagPath):
        return value
    if not isinstance(value, str):
        raise ValueError("a keyword, a tag or a path expected")
    return TagPath.parse(value)


Path = Annotated[TagPath, PlainValidator(_path, json_schema_input_type=str), PlainSerializer(str, return_type=str)]


@dataclass(frozen=True, slots=True)
class Source:
    """Where an instance came from."""

    source_type: SourceType = SourceType.UNKNOWN
    source_id: str = ""
    calling_ae: str | None = None
    called_ae: str | None = None
    source_ip: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a criterion held, and why. `found` are values of the instance: patient data."""

    held: bool
    why: str
    found: tuple[str, ...] = ()
    children: "tuple[tuple[AnyCriterion, Outcome], ...]" = ()


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TagCriterion(_Model):
    """One element compared. With `[*]` in the path, the values of all items together."""

    tag: Path
    op: Operator
    value: Expected = None

    @model_validator(mode="after")
    def _value_fits(self) -> "TagCriterion":
        check_expected(self.op, self.value)
        return self

    def __str__(self) -> str:
        return f"{self.tag} {self.op}"

    def test(self, dataset: Dataset, source: Source) -> Outcome:
        """Whether it holds. What cannot be read or compared does not."""
        try:
            present = [location for location in self.tag.locations(dataset) if location.present]
            if not present:
                return Outcome(self.op is Operator.NOT_EXISTS, "absent")
            if self.op in (Operator.EXISTS, Operator.NOT_EXISTS):
                return Outcome(self.op is Operator.EXISTS, "present")
            values = list(_values(present))
        except Exception as error:  # noqa: BLE001 - pydicom raises nearly anything on broken values; fail closed
            return Outcome(False, f"cannot be read ({type(error).__name__})")
        if not values:
            return Outcome(False, "holds no text or number that could be compared")
        try:
            held = holds(self.op, self.value, values)
        except PatternTimeoutError as error:
            return Outcome(False, str(error), tuple(values))
        return Outcome(held, "compared", tuple(values))


def _values(locations: list[Location]) -> Iterator[str]:
    for location in locations:
        if location.in_bulk or location.tag is None:
            continue
        yield from texts(location.holder[location.tag]) or ()


class AssociationParameter(StrEnum):
    """What is known of an association."""

    CALLING_AE_TITLE = "CALLING_AE_TITLE"
    CALLED_AE_TITLE = "CALLED_AE_TITLE"
    SOURCE_IP = "SOURCE_IP"


class AssociationCriterion(_Model):
    """One parameter of the association compared, as text; addresses also as addresses."""

    parameter: AssociationParameter
    op: Operator | IpOperator
    value: Expected = None

    @model_validator(mode="after")
    def _value_fits(self) -> "AssociationCriterion":
        check_expected(self.op, self.value)
        if isinstance(self.op, IpOperator) and self.parameter is not AssociationParameter.SOURCE_IP:
            raise ValueError(f"{self.op} works on SOURCE_IP only")
        return self

    def __str__(self) -> str:
        return f"{self.parameter} {self.op}"

    def test(self, dataset: Dataset, source: Source) -> Outcome:
        """Whether it holds; an unknown parameter fails everything but `not_exists`."""
        value = {
            AssociationParameter.CALLING_AE_TITLE: source.calling_ae,
            AssociationParameter.CALLED_AE_TITLE: source.called_ae,
            AssociationParameter.SOURCE_IP: source.source_ip,
        }[self.parameter]
        if not value or not value.strip():
            return Outcome(self.op is Operator.NOT_EXISTS, "absent")
        value = value.strip()
        if isinstance(self.op, IpOperator):
            return Outcome(ip_holds(self.op, self.value, value), "compared", (value,))
        if self.parameter is AssociationParameter.SOURCE_IP and (address := plain_address(value)):
            value = str(address)
        try:
            return Outcome(holds(self.op, self.value, [value]), "compared", (value,))
        except PatternTimeoutError as error:
            return Outcome(False, str(error), (value,))


class AnyOf(_Model):
    """Holds when one of its criteria does."""

    any_of: "list[TagGroup]" = Field(min_length=1)

    def __str__(self) -> str:
        return "any of"

    def test(self, dataset: Dataset, source: Source) -> Outcome:
        """Whether any criterion holds."""
        children = tuple((child, child.test(dataset, source)) for child in self.any_of)
        return Outcome(any(outcome.held for _, outcome in children), "any of", children=children)


class AllOf(_Model):
    """Holds when all its criteria do; for use inside `any_of`."""

    all_of: "list[TagGroup]" = Field(min_length=1)

    def __str__(self) -> str:
        return "all of"

    def test(self, dataset: Dataset, source: Source) -> Outcome:
        """Whether all criteria hold."""
        children = tuple((child, child.test(dataset, source)) for child in self.all_of)
        return Outcome(all(outcome.held for _, outcome in children), "all of", children=children)


class AnyAssociationOf(_Model):
    """Holds when one of its association criteria does."""

    any_of: list[AssociationCriterion] = Field(min_length=1)

    def __str__(self) -> str:
        return "any of"

    def test(self, dataset: Dataset, source: Source) -> Outcome:
        """Whether any criterion holds."""
        children = tuple((child, child.test(dataset, source)) for child in self.any_of)
        return Outcome(any(outcome.held for _, outcome in children), "any of", children=children)


def _tag_shape(value: Any) -> str:
    return _shape(value, "<element>")


def _association_shape(value: Any) -> str:
    return _shape(value, "<parameter>")


def _shape(value: Any, plain: str) -> str:
    # In angle brackets, so that no member's name in an error is taken for a field's.
    for key, name in (("any_of", "<any>"), ("all_of", "<all>")):
        if (isinstance(value, dict) and key in value) or hasattr(value, key):
            return name
    return plain


TagGroup = Annotated[
    Annotated[TagCriterion, Tag("<element>")] | Annotated[AnyOf, Tag("<any>")] | Annotated[AllOf, Tag("<all>")],
    Discriminator(_tag_shape),
]
AssociationGroup = Annotated[
    Annotated[AssociationCriterion, Tag("<parameter>")] | Annotated[AnyAssociationOf, Tag("<any>")],
    Discriminator(_association_shape),
]
AnyCriterion = TagCriterion | AnyOf | AllOf | AssociationCriterion | AnyAssociationOf
AnyOf.model_rebuild()
AllOf.model_rebuild()
