"""Rules as data: rulesets of rules, the destinations they send to and the crosswalks they look values up in."""

import hashlib
from enum import StrEnum
from functools import cached_property
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from tasks.dicom.core.destinations import Destination
from tasks.dicom.core.rules.criteria import AssociationGroup, Source, TagGroup
from tasks.dicom.core.rules.modifications import Modification
from tasks.dicom.core.rules.schedules import Schedule
from tasks.dicom.core.tables import SourceType

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,99}$")]


class ExecutionMode(StrEnum):
    """How many rules of a ruleset may act on an instance."""

    #: Stop after the first rule that changed something or has destinations, the remaining rulesets included.
    FIRST_MATCH = "FIRST_MATCH"
    ALL_MATCHES = "ALL_MATCHES"


def _source(text: str) -> str:
    source_type, _, _ = text.partition("/")
    if source_type not in SourceType.__members__:
        raise ValueError(f"no source type {source_type!r} (one of {', '.join(SourceType)}; with an id: TYPE/ID)")
    return text


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Audit(_Model):
    """How changes are recorded in the Original Attributes Sequence (PS3.3, C.12.1.1.9)."""

    enabled: bool = True
    modifying_system: str = Field("QUINTET", min_length=1, max_length=64)
    #: The calling AE title or the source's id where absent.
    source_of_previous_values: str | None = Field(None, max_length=64)


class Rule(_Model):
    """When all criteria hold, change the instance and send it."""

    name: Name
    is_active: bool = True
    #: Lower comes first; the order in the file where equal.
    priority: int = 100
    #: All must hold; none means every instance.
    match_criteria: list[TagGroup] = []
    association_criteria: list[AssociationGroup] = []
    tag_modifications: list[Modification] = []
    destinations: list[str] = []
    #: Source types, or `TYPE/ID` for one source; empty for all.
    applicable_sources: list[Annotated[str, AfterValidator(_source)]] = []
    schedule: Schedule | None = None
    #: Keeps the old values in the instance: never use it on a rule that removes identity.
    audit: Audit | None = None

    def applies_to(self, source: Source) -> bool:
        """Whether instances of this source concern the rule."""
        return not self.applicable_sources or any(
            entry in (source.source_type.value, f"{source.source_type.value}/{source.source_id}")
            for entry in self.applicable_sources
        )


class RuleSet(_Model):
    """Rules that belong together."""

    name: Name
    is_active: bool = True
    #: Lower comes first; the order of files and in the file where equal.
    priority: int = 100
    execution_mode: ExecutionMode = ExecutionMode.ALL_MATCHES
    rules: list[Rule] = []

    @property
    def ordered(self) -> list[Rule]:
        """The active rules in the order they are tried."""
        return sorted((rule for rule in self.rules if rule.is_active), key=lambda rule: rule.priority)


class Crosswalk(_Model):
    """A table to look values up in, by the name of its Prefect block document."""

    name: Name
    block: str = Field(pattern=r"^crosswalk-table/[a-z0-9][a-z0-9-]*$")


class Rules(_Model):
    """All that the rules folder says."""

    rulesets: list[RuleSet] = []
    destinations: dict[str, Destination] = {}
    crosswalks: dict[str, Crosswalk] = {}

    @property
    def ordered(self) -> list[RuleSet]:
        """The active rulesets in the order they are tried."""
        return sorted((one for one in self.rulesets if one.is_active), key=lambda one: one.priority)

    @cached_property
    def version(self) -> str:
        """Short SHA-256 of the content: the same for the same rules, however they are written down."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]
