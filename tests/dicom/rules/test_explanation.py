"""Explanations: what matched and why, for people and as JSON, without patients' values."""

import json

from tasks.dicom.core.rules import Explanation, Source, explain
from tests.dicom.instances import make_instance
from tests.dicom.rules.conftest import NOW, Load

RULES = """
rulesets:
  - name: s
    execution_mode: FIRST_MATCH
    rules:
      - name: other
        match_criteria:
          - {tag: Modality, op: eq, value: MR}
          - any_of:
              - {tag: PatientID, op: startswith, value: SEC}
              - {tag: PatientName, op: exists}
      - {name: off, is_active: false}
      - {name: night, schedule: {ranges: [{start: '22:00', end: '23:00'}]}}
      - {name: upload, applicable_sources: [FILE_UPLOAD]}
      - name: acts
        association_criteria: [{parameter: CALLING_AE_TITLE, op: eq, value: CT1}]
        match_criteria: [{tag: PatientID, op: eq, value: SECRET}]
        tag_modifications:
          - {action: set, tag: PatientID, value: R1}
          - {action: set, tag: BodyPartExamined, value: CHEST}
        destinations: [archive, paused]
      - {name: after, destinations: [research]}
"""


def explained(load: Load, *, show: bool = False, rules: str = RULES) -> Explanation:
    dataset = make_instance(PatientID="SECRET")
    explanation = explain(dataset, load(rules), Source(calling_ae="CT1"), now=NOW, show_values=show)
    assert dataset.PatientID == "SECRET"
    return explanation


def test_fates(load: Load) -> None:
    explanation = explained(load)
    assert {rule.rule: rule.fate for rule in explanation.rules} == {
        "other": "not matched",
        "off": "inactive",
        "night": "off schedule",
        "upload": "not for this source",
        "acts": "matched",
        "after": "not reached",
    }
    assert (explanation.matched, explanation.modified, explanation.destinations) == (True, True, ["archive"])


def test_text_says_why_and_hides_patients(load: Load) -> None:
    text = explained(load).text()
    assert "no  Modality eq MR, found CT" in text
    assert "yes any of" in text
    assert "no  PatientName exists, absent" in text
    assert "yes CALLING_AE_TITLE eq CT1, found CT1" in text
    assert "set PatientID: *** -> ***" in text
    assert "set BodyPartExamined: absent -> CHEST" in text
    assert "to archive, paused (disabled)" in text
    assert text.endswith("result: goes changed to archive")
    assert "SECRET" not in text
    assert "R1" not in text


def test_values_are_shown_when_asked_for(load: Load) -> None:
    assert "set PatientID: SECRET -> R1" in explained(load, show=True).text()


def test_json(load: Load) -> None:
    text = explained(load).model_dump_json()
    assert "SECRET" not in text
    content = json.loads(text)
    assert content["rules"][0]["criteria"][1]["children"][0]["held"] is True
    assert Explanation.model_validate_json(text).text() == explained(load).text()


def test_a_failing_change_is_explained(load: Load) -> None:
    rules = """
    rulesets:
      - name: s
        rules:
          - {name: a, destinations: [archive]}
          - {name: b, tag_modifications: [{action: copy, source: AccessionNumber, destination: StudyID}]}
          - {name: c, destinations: [research]}
    """
    explanation = explained(load, rules=rules)
    assert explanation.destinations == []
    assert explanation.error == "rule s/b: AccessionNumber: is absent"
    assert [rule.fate for rule in explanation.rules] == ["matched", "failed", "not reached"]
    assert explanation.text().endswith("nothing is delivered, a modification failed")


def test_control_characters_do_not_reach_the_terminal(load: Load) -> None:
    rules = "rulesets: [{name: s, rules: [{name: r, match_criteria: [{tag: Manufacturer, op: eq, value: x}]}]}]"
    dataset = make_instance(Manufacturer="\x1b[31mred")
    text = explain(dataset, load(rules), Source(), now=NOW, show_values=True).text()
    assert "\x1b" not in text
