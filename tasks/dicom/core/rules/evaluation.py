"""Runs an instance through the rules: what matches, what it changes, and where the instance goes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pydicom.dataset import Dataset

from tasks.dicom.core.header import HeaderDataset, is_uid
from tasks.dicom.core.pydicom_modes import pydicom_quiet
from tasks.dicom.core.rules.audit import record, snapshot
from tasks.dicom.core.rules.changing import CannotChangeError, Change, CrosswalkLookup, apply, working_copy
from tasks.dicom.core.rules.criteria import AnyCriterion, Outcome, Source
from tasks.dicom.core.rules.errors import CrosswalkError, CrosswalkUnavailableError, ModificationError
from tasks.dicom.core.rules.model import ExecutionMode, Rule, Rules, RuleSet
from tasks.dicom.core.rules.modifications import CopyTag, CrosswalkTag, Modification, MoveTag
from tasks.dicom.core.rules.paths import TagPath
from tasks.dicom.core.rules.patterns import PatternTimeoutError
from tasks.dicom.core.rules.values import ValueTypeError


class Fate(StrEnum):
    """What became of a rule on one instance."""

    MATCHED = "matched"
    NOT_MATCHED = "not matched"
    OTHER_SOURCE = "not for this source"
    OFF_SCHEDULE = "off schedule"
    FAILED = "failed"


@dataclass
class RuleRun:
    """One rule on one instance."""

    ruleset: RuleSet
    rule: Rule
    fate: Fate
    outcomes: list[tuple[AnyCriterion, Outcome]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    error: ModificationError | None = None

    @property
    def name(self) -> str:
        """`ruleset/rule`."""
        return f"{self.ruleset.name}/{self.rule.name}"

    @property
    def acted(self) -> bool:
        """Whether it changed something or has destinations; a disabled destination counts: it is only paused."""
        return self.fate is Fate.MATCHED and bool(self.changes or self.rule.destinations)


@dataclass
class Evaluation:
    """What the rules made of an instance. `changes` hold patient data that `repr` does not show."""

    #: The instance as it is to be sent, without its bulk. Never the data set that was given.
    dataset: HeaderDataset = field(repr=False)
    runs: list[RuleRun] = field(default_factory=list, repr=False)
    destinations: list[str] = field(default_factory=list)
    #: Of the rules it was evaluated by.
    version: str = ""

    @property
    def applied_rules(self) -> list[str]:
        """The rules that matched, as `ruleset/rule`, in order."""
        return [run.name for run in self.runs if run.fate is Fate.MATCHED]

    @property
    def matched(self) -> bool:
        """Whether any rule matched."""
        return any(run.fate is Fate.MATCHED for run in self.runs)

    @property
    def changes(self) -> list[Change]:
        """All changes, in order."""
        return [change for run in self.runs for change in run.changes]

    @property
    def modified(self) -> bool:
        """Whether anything was changed."""
        return any(run.changes for run in self.runs)


def evaluate(
    dataset: Dataset,
    rules: Rules,
    source: Source,
    *,
    now: datetime,
    crosswalk: CrosswalkLookup | None = None,
    modified_at: datetime | None = None,
) -> Evaluation:
    """Run an instance through the rules.

    Args:
        dataset: the header's data set; it is not changed.
        rules: what `load_rules` gave.
        source: where the instance came from.
        now: an aware moment, for schedules.
        crosswalk: looks values up for crosswalk modifications.
        modified_at: an aware moment for the audit; `now` where absent. Give the same one for the same content, and what
            is sent is the same to the last byte.

    Returns:
        The changed copy, the rules that applied and the destinations, each once and without the disabled ones.

    Raises:
        ModificationError: a modification failed; nothing of the instance may be delivered.
        CrosswalkUnavailableError: a crosswalk cannot be asked now; nothing may be delivered yet, try again later.
    """
    evaluation = run_rules(dataset, rules, source, now=now, crosswalk=crosswalk, modified_at=modified_at)
    for run in evaluation.runs:
        if run.error is not None:
            raise run.error
    return evaluation


def run_rules(
    dataset: Dataset,
    rules: Rules,
    source: Source,
    *,
    now: datetime,
    crosswalk: CrosswalkLookup | None,
    modified_at: datetime | None = None,
) -> Evaluation:
    """As `evaluate`, but ends at a failed modification with its run as the last one. For explanations."""
    if now.tzinfo is None or (modified_at is not None and modified_at.tzinfo is None):
        raise ValueError("`now` needs a time zone")
    with pydicom_quiet():
        evaluation = Evaluation(working_copy(dataset), version=rules.version)
        for ruleset in rules.ordered:
            for rule in ruleset.ordered:
                moments = _Moments(now, modified_at or now)
                run = _run_rule(ruleset, rule, evaluation.dataset, source, moments, crosswalk)
                evaluation.runs.append(run)
                if run.fate is Fate.FAILED:
                    evaluation.destinations = []
                    return evaluation
                if run.fate is Fate.MATCHED:
                    _add_destinations(evaluation, rule, rules)
                if run.acted and ruleset.execution_mode is ExecutionMode.FIRST_MATCH:
                    return evaluation
    return evaluation


@dataclass(frozen=True)
class _Moments:
    now: datetime
    modified_at: datetime


def _add_destinations(evaluation: Evaluation, rule: Rule, rules: Rules) -> None:
    for name in rule.destinations:
        if rules.destinations[name].enabled and name not in evaluation.destinations:
            evaluation.destinations.append(name)


def _run_rule(
    ruleset: RuleSet,
    rule: Rule,
    dataset: HeaderDataset,
    source: Source,
    moments: _Moments,
    crosswalk: CrosswalkLookup | None,
) -> RuleRun:
    if not rule.applies_to(source):
        return RuleRun(ruleset, rule, Fate.OTHER_SOURCE)
    if rule.schedule is not None and not rule.schedule.is_on(moments.now):
        return RuleRun(ruleset, rule, Fate.OFF_SCHEDULE)
    outcomes = [(criterion, criterion.test(dataset, source)) for criterion in _criteria(rule)]
    if not all(outcome.held for _, outcome in outcomes):
        return RuleRun(ruleset, rule, Fate.NOT_MATCHED, outcomes)
    run = RuleRun(ruleset, rule, Fate.MATCHED, outcomes)
    try:
        for modification in rule.tag_modifications:
            run.changes += _modify(run, modification, dataset, source, moments.modified_at, crosswalk)
    except ModificationError as error:
        run.fate, run.error = Fate.FAILED, error
    return run


def _criteria(rule: Rule) -> list[AnyCriterion]:
    return [*rule.association_criteria, *rule.match_criteria]


def _modify(
    run: RuleRun,
    modification: Modification,
    dataset: HeaderDataset,
    source: Source,
    now: datetime,
    crosswalk: CrosswalkLookup | None,
) -> list[Change]:
    paths = _changed_paths(modification)
    audit = run.rule.audit if run.rule.audit is not None and run.rule.audit.enabled else None

    def work() -> list[Change]:
        tops = {tag for path in paths if (tag := path.top.tag_in(dataset)) is not None} | {0x00080005}
        before = snapshot(dataset, tops) if audit is not None else {}
        changes = apply(modification, dataset, crosswalk)
        if audit is not None:
            record(dataset, changes, before, audit=audit, source=source, now=now)
        for keyword in ("SOPClassUID", "SOPInstanceUID"):
            if keyword in dataset and any(change.element == keyword for change in changes):
                uid = dataset[keyword].value
                if not isinstance(uid, str) or not is_uid(uid):
                    raise CannotChangeError(keyword, "must be a UID")
        return changes

    return _failing_closed(run.name, ", ".join(str(path) for path in paths), work)


def _failing_closed(rule: str, elements: str, work: Callable[[], list[Change]]) -> list[Change]:
    """Every failure as a `ModificationError` without values. `from None`: the causes quote them."""
    try:
        return work()
    except CrosswalkUnavailableError:
        raise
    except CannotChangeError as error:
        raise ModificationError(rule, error.element, error.reason) from None
    except (ValueTypeError, PatternTimeoutError, CrosswalkError) as error:
        raise ModificationError(rule, elements, str(error)) from None
    except Exception as error:  # noqa: BLE001 - whatever pydicom or a crosswalk raises, nothing may be delivered
        raise ModificationError(rule, elements, f"failed with {type(error).__name__}") from None


def _changed_paths(modification: Modification) -> list[TagPath]:
    match modification:
        case MoveTag():
            return [modification.source, modification.destination]
        case CopyTag():
            return [modification.destination]
        case CrosswalkTag():
            return [path for path, _ in modification.targets]
    return [modification.tag]
