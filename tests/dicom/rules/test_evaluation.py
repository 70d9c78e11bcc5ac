"""The order of rules, when they stop, and where an instance goes."""

from datetime import datetime

import pytest

from tasks.dicom.core.rules import Evaluation, ModificationError, Source, evaluate
from tasks.dicom.core.tables import SourceType
from tests.dicom.instances import make_instance
from tests.dicom.rules.conftest import NOW, Load


def run(load: Load, text: str, source: Source | None = None, **elements: object) -> Evaluation:
    return evaluate(make_instance(**elements), load(text), source or Source(), now=NOW)


def test_lower_priority_comes_first_and_equal_ones_as_written(load: Load) -> None:
    evaluation = run(
        load,
        """
        rulesets:
          - {name: late, priority: 20, rules: [{name: a, destinations: [archive]}]}
          - name: early
            priority: 10
            rules:
              - {name: second, priority: 5, destinations: [research]}
              - {name: third, priority: 5, destinations: [archive]}
              - {name: first, priority: 1}
        """,
    )
    assert evaluation.applied_rules == ["early/first", "early/second", "early/third", "late/a"]
    assert evaluation.destinations == ["research", "archive"]


CHAIN = """
rulesets:
  - name: one
    execution_mode: {mode}
    rules:
      - name: looks
        match_criteria: [{{tag: Modality, op: eq, value: CT}}]
      - name: changes
        tag_modifications: [{{action: set, tag: Modality, value: MR}}]
      - name: sees the change
        match_criteria: [{{tag: Modality, op: eq, value: MR}}]
        destinations: [archive]
      - name: does not see the original
        match_criteria: [{{tag: Modality, op: eq, value: CT}}]
        destinations: [research]
  - name: two
    rules:
      - {{name: rest, destinations: [research]}}
"""


def test_all_matches_sees_what_earlier_rules_changed(load: Load) -> None:
    evaluation = run(load, CHAIN.format(mode="ALL_MATCHES"))
    assert evaluation.applied_rules == ["one/looks", "one/changes", "one/sees the change", "two/rest"]
    assert evaluation.destinations == ["archive", "research"]


def test_first_match_stops_after_the_first_rule_that_acts(load: Load) -> None:
    evaluation = run(load, CHAIN.format(mode="FIRST_MATCH"))
    assert evaluation.applied_rules == ["one/looks", "one/changes"]
    assert evaluation.destinations == []


def test_first_match_stops_on_destinations_too_even_paused_ones(load: Load) -> None:
    evaluation = run(
        load,
        """
        rulesets:
          - name: one
            execution_mode: FIRST_MATCH
            rules:
              - {name: a, destinations: [paused]}
              - {name: b, destinations: [archive]}
        """,
    )
    assert evaluation.applied_rules == ["one/a"]
    assert evaluation.destinations == []


def test_inactive_rules_and_rulesets_do_nothing(load: Load) -> None:
    evaluation = run(
        load,
        """
        rulesets:
          - {name: off, is_active: false, rules: [{name: a, destinations: [archive]}]}
          - {name: on, rules: [{name: b, is_active: false, destinations: [archive]}]}
        """,
    )
    assert not evaluation.matched
    assert evaluation.destinations == []


@pytest.mark.parametrize(
    ("source", "applies"),
    [
        (Source(SourceType.DIMSE_LISTENER, "main"), True),
        (Source(SourceType.FILE_UPLOAD, "clinic"), True),
        (Source(SourceType.FILE_UPLOAD, "other"), False),
        (Source(SourceType.STOW_RS), False),
    ],
)
def test_applicable_sources(load: Load, source: Source, applies: bool) -> None:
    text = "rulesets: [{name: s, rules: [{name: r, applicable_sources: [DIMSE_LISTENER, FILE_UPLOAD/clinic]}]}]"
    assert run(load, text, source).matched is applies


def test_schedules_are_asked(load: Load) -> None:
    text = "rulesets: [{name: s, rules: [{name: r, schedule: {ranges: [{start: '18:00', end: '06:00'}]}}]}]"
    assert not run(load, text).matched
    assert evaluate(make_instance(), load(text), Source(), now=NOW.replace(hour=20)).matched


def test_association_and_instance_must_both_fit(load: Load) -> None:
    text = """
    rulesets:
      - name: s
        rules:
          - name: r
            association_criteria: [{parameter: CALLING_AE_TITLE, op: eq, value: CT1}]
            match_criteria: [{tag: Modality, op: eq, value: CT}]
    """
    assert run(load, text, Source(calling_ae="CT1")).matched
    assert not run(load, text, Source(calling_ae="CT2")).matched
    assert not run(load, text, Source(calling_ae="CT1"), Modality="MR").matched


def test_a_failing_change_stops_everything(load: Load) -> None:
    with pytest.raises(ModificationError, match="rule s/b: PatientID: is absent"):
        run(
            load,
            """
            rulesets:
              - name: s
                rules:
                  - {name: a, destinations: [archive]}
                  - name: b
                    tag_modifications: [{action: copy, source: PatientID, destination: StudyID}]
                  - {name: c, destinations: [research]}
            """,
        )


def test_changes_name_elements_and_hide_values(load: Load) -> None:
    text = "rulesets: [{name: s, rules: [{name: r, tag_modifications: [{action: set, tag: PatientID, value: new}]}]}]"
    evaluation = run(load, text, PatientID="secret")
    (change,) = evaluation.changes
    assert (change.element, change.action, change.reason) == ("PatientID", "set", "COERCE")
    assert "secret" not in repr(evaluation) + repr(change)


def test_no_rules_match_nothing(load: Load) -> None:
    evaluation = run(load, "")
    assert (evaluation.matched, evaluation.modified, evaluation.destinations) == (False, False, [])


def test_now_needs_a_time_zone(load: Load) -> None:
    with pytest.raises(ValueError, match="time zone"):
        evaluate(make_instance(), load(""), Source(), now=datetime(2024, 5, 15))  # noqa: DTZ001
