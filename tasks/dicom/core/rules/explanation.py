"""Why rules did or did not act on an instance, for a terminal and as JSON.

Values that may tell who the patient is are masked unless asked for.
"""

from collections.abc import Iterator
from datetime import datetime

from pydantic import BaseModel
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from tasks.dicom.core.pydicom_modes import pydicom_quiet
from tasks.dicom.core.rules.changing import Change, CrosswalkLookup
from tasks.dicom.core.rules.criteria import AllOf, AnyAssociationOf, AnyCriterion, AnyOf, Outcome, Source, TagCriterion
from tasks.dicom.core.rules.evaluation import Fate, RuleRun, run_rules
from tasks.dicom.core.rules.model import Rules
from tasks.dicom.core.rules.values import texts

MASK = "***"
#: Elements that say nothing about a person; all others are masked, free texts too.
OPEN_KEYWORDS = frozenset(
    {
        "BitsAllocated",
        "BitsStored",
        "BodyPartExamined",
        "Columns",
        "ConversionType",
        "ImageType",
        "Laterality",
        "Manufacturer",
        "ManufacturerModelName",
        "Modality",
        "NumberOfFrames",
        "PatientPosition",
        "PhotometricInterpretation",
        "PresentationIntentType",
        "Rows",
        "SOPClassUID",
        "SamplesPerPixel",
        "SliceThickness",
        "SpecificCharacterSet",
        "TransferSyntaxUID",
        "ViewPosition",
    }
)


class CriterionExplanation(BaseModel):
    """One criterion, or a group of them."""

    criterion: str
    held: bool
    why: str
    expected: list[str] = []
    found: list[str] = []
    children: list["CriterionExplanation"] = []


class ChangeExplanation(BaseModel):
    """One element that would be changed; None where it is absent."""

    element: str
    action: str
    before: list[str] | None
    after: list[str] | None


class RuleExplanation(BaseModel):
    """One rule."""

    ruleset: str
    rule: str
    #: `matched`, `not matched`, `not for this source`, `off schedule`, `failed`, `inactive`, `not reached`
    fate: str
    criteria: list[CriterionExplanation] = []
    changes: list[ChangeExplanation] = []
    destinations: list[str] = []
    error: str | None = None


class Explanation(BaseModel):
    """What the rules would make of an instance. `model_dump_json()` gives it as JSON, `text()` for a terminal."""

    rules_version: str
    matched: bool
    modified: bool
    #: Where it would go; nowhere when a modification fails.
    destinations: list[str]
    error: str | None
    rules: list[RuleExplanation]

    def text(self) -> str:
        """Lines for a terminal."""
        return "\n".join(_lines(self))


def explain(
    dataset: Dataset,
    rules: Rules,
    source: Source,
    *,
    now: datetime,
    crosswalk: CrosswalkLookup | None = None,
    show_values: bool = False,
) -> Explanation:
    """Say for every rule whether it matches an instance and why, what it would change, and where that would go.

    Args:
        dataset: the header's data set; it is not changed.
        rules: what `load_rules` gave.
        source: where the instance came from.
        now: an aware moment, for schedules.
        crosswalk: looks values up; without it a crosswalk modification is shown as failing.
        show_values: show values that may tell who the patient is.
    """
    evaluation = run_rules(dataset, rules, source, now=now, crosswalk=crosswalk)
    runs = {(run.ruleset.name, run.rule.name): run for run in evaluation.runs}
    explained = []
    with pydicom_quiet():
        for ruleset in sorted(rules.rulesets, key=lambda one: one.priority):
            for rule in sorted(ruleset.rules, key=lambda one: one.priority):
                run = runs.get((ruleset.name, rule.name))
                if run is not None:
                    explained.append(_rule(run, rules, show_values))
                else:
                    fate = "not reached" if ruleset.is_active and rule.is_active else "inactive"
                    explained.append(RuleExplanation(ruleset=ruleset.name, rule=rule.name, fate=fate))
    errors = [str(run.error) for run in evaluation.runs if run.error is not None]
    return Explanation(
        rules_version=evaluation.version,
        matched=evaluation.matched,
        modified=evaluation.modified,
        destinations=evaluation.destinations,
        error=errors[0] if errors else None,
        rules=explained,
    )


def _rule(run: RuleRun, rules: Rules, show: bool) -> RuleExplanation:
    reached = run.fate in (Fate.MATCHED, Fate.FAILED)
    return RuleExplanation(
        ruleset=run.ruleset.name,
        rule=run.rule.name,
        fate=run.fate.value,
        criteria=[_criterion(criterion, outcome, show) for criterion, outcome in run.outcomes],
        changes=[_change(change, show) for change in run.changes],
        destinations=[
            name if rules.destinations[name].enabled else f"{name} (disabled)"
            for name in (run.rule.destinations if reached else ())
        ],
        error=str(run.error) if run.error is not None else None,
    )


def _criterion(criterion: AnyCriterion, outcome: Outcome, show: bool) -> CriterionExplanation:
    expected: list[str] = []
    if not isinstance(criterion, AnyOf | AllOf | AnyAssociationOf):
        value = criterion.value
        expected = [] if value is None else value if isinstance(value, list) else [value]
    # Who sent it is no patient data.
    shown = show or not isinstance(criterion, TagCriterion) or _open(str(criterion.tag))
    return CriterionExplanation(
        criterion=str(criterion),
        held=outcome.held,
        why=outcome.why,
        expected=_masked(expected, shown),
        found=_masked(list(outcome.found), shown),
        children=[_criterion(child, inner, show) for child, inner in outcome.children],
    )


def _change(change: Change, show: bool) -> ChangeExplanation:
    shown = show or _open(change.element)
    return ChangeExplanation(
        element=change.element,
        action=change.action,
        before=_values(change.before, shown),
        after=_values(change.after, shown),
    )


def _open(element: str) -> bool:
    return element.rpartition(".")[2] in OPEN_KEYWORDS


def _values(element: DataElement | None, shown: bool) -> list[str] | None:
    if element is None:
        return None
    values = texts(element)
    return ["(items or binary data)"] if values is None else _masked(values, shown)


def _masked(values: list[str], shown: bool) -> list[str]:
    return values if shown else [MASK if value else "" for value in values]


def _lines(explanation: Explanation) -> Iterator[str]:
    yield f"rules version {explanation.rules_version}"
    ruleset = None
    for rule in explanation.rules:
        if rule.ruleset != ruleset:
            ruleset = rule.ruleset
            yield f"ruleset {ruleset}"
        yield f"  rule {rule.rule}: {rule.fate}"
        for criterion in rule.criteria:
            yield from _criterion_lines(criterion, "    ")
        for change in rule.changes:
            yield f"    {change.action} {change.element}: {_shown(change.before)} -> {_shown(change.after)}"
        if rule.error:
            yield f"    failed: {rule.error}"
        if rule.destinations:
            yield f"    to {', '.join(rule.destinations)}"
    if explanation.error:
        yield "result: nothing is delivered, a modification failed"
    elif explanation.destinations:
        changed = "changed" if explanation.modified else "unchanged"
        yield f"result: goes {changed} to {', '.join(explanation.destinations)}"
    else:
        yield f"result: goes nowhere ({'matched' if explanation.matched else 'no rule matched'})"


def _criterion_lines(criterion: CriterionExplanation, indent: str) -> Iterator[str]:
    mark = "yes" if criterion.held else "no "
    expected = f" {_shown(criterion.expected)}" if criterion.expected else ""
    found = f", found {_shown(criterion.found)}" if criterion.found else ""
    why = "" if criterion.children or (criterion.found and criterion.why == "compared") else f", {criterion.why}"
    yield f"{indent}{mark} {criterion.criterion}{expected}{found}{why}"
    for child in criterion.children:
        yield from _criterion_lines(child, indent + "  ")


def _shown(values: list[str] | None) -> str:
    # What comes from a file must not move the terminal's cursor or colour it.
    return (
        "absent"
        if values is None
        else "\\".join(value if value.isprintable() else ascii(value) for value in values) or '""'
    )
