"""Loading: every problem at once, each with file, line and field."""

from pathlib import Path

import pytest

from tasks.dicom.core.rules import RulesError, load_rules


def problems(folder: Path, **files: str) -> list[str]:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RulesError) as caught:
        load_rules(folder)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def test_all_problems_at_once_with_their_places(tmp_path: Path) -> None:
    text = """\
destinations:
  - name: archive
    folder: {path: /x, colour: red}
rulesets:
  - name: one
    rules:
      - name: a
        priority: ten
        match_criteria:
          - {tag: Modalty, op: eq, value: CT}
          - any_of:
              - {tag: PatientID, op: gt, value: abc}
        tag_modifications:
          - {action: sett, tag: PatientID, value: x}
          - {action: set, tag: StudyDate, value: yesterday}
          - {action: set, tag: PatientID}
          - {action: set, tag: PixelData, value: x}
          - {action: delete, tag: SOPInstanceUID}
          - {action: set, tag: PatientName, value: x, vr: OB}
          - {action: regex_replace, tag: PatientID, pattern: a, replacement: '\\2'}
          - {action: crosswalk, crosswalk: nowhere, keys: [PatientID], replace: {PatientID: a}}
        destinations: [archive, nowhere]
      - name: a
        schedule: {ranges: [{start: '25:00'}]}
        colour: red
extra: 1
"""
    found = problems(tmp_path, rules=text)
    rule = "rulesets[0].rules[0]"
    expected = [
        "rules.yaml:3: destinations[0].folder.colour: unknown",
        f"rules.yaml:8: {rule}.priority: Input should be a valid integer",
        f"rules.yaml:10: {rule}.match_criteria[0].tag: DICOM has no keyword 'Modalty'",
        f"rules.yaml:12: {rule}.match_criteria[1].any_of[0]: gt needs a number",
        f"rules.yaml:14: {rule}.tag_modifications[0]: Input tag 'sett'",
        f"rules.yaml:15: {rule}.tag_modifications[1]: the value does not fit VR DA",
        f"rules.yaml:16: {rule}.tag_modifications[2].value: missing",
        f"rules.yaml:17: {rule}.tag_modifications[3].tag: pixel data cannot be changed",
        f"rules.yaml:18: {rule}.tag_modifications[4]: SOPInstanceUID is an instance's identity",
        f"rules.yaml:19: {rule}.tag_modifications[5]: a rule cannot give a value to PatientName (VR OB)",
        f"rules.yaml:20: {rule}.tag_modifications[6]: bad replacement",
        f"rules.yaml:21: {rule}.tag_modifications[7].crosswalk: no crosswalk 'nowhere'",
        f"rules.yaml:22: {rule}.destinations[1]: no destination 'nowhere'",
        "rules.yaml:23: rulesets[0].rules[1].name: 'a' is already a rule of this ruleset",
        "rules.yaml:24: rulesets[0].rules[1].schedule.ranges[0].start: no time of day",
        "rules.yaml:25: rulesets[0].rules[1].colour: unknown",
        "rules.yaml:26: extra: unknown",
    ]
    assert len(found) == len(expected), found
    assert [text[: len(start)] for text, start in zip(found, expected, strict=True)] == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rulesets: [", "rules.yaml:1: file: not YAML"),
        ("- a", "rules.yaml:1: file: must be a mapping"),
        ("rulesets: {}", "rules.yaml:1: rulesets: must be a list"),
        ("rulesets:\n- 5", "rules.yaml:2: rulesets[0]: Input should be"),
        ("rulesets: !!python/object/apply:os.system ['true']", "rules.yaml:1: rulesets: the tag"),
        ("rulesets:\n- name: a\n  name: b", "rules.yaml:3: rulesets[0].name: given twice"),
        ("a: &a {b: 1}\nc:\n  <<: *a", "rules.yaml:3: c: keys must be plain words"),
        ("\x00", "rules.yaml:1: file: not YAML"),
    ],
)
def test_files_that_are_no_rules(tmp_path: Path, text: str, problem: str) -> None:
    assert any(found.startswith(problem) for found in problems(tmp_path, rules=text))


def test_not_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\xfd")
    assert problems(tmp_path) == ["a.yaml:1: file: not UTF-8 text"]


def test_aliases_that_multiply(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "too many values" in problems(tmp_path, rules="\n".join(lines))[0]


def test_an_alias_inside_itself(tmp_path: Path) -> None:
    assert problems(tmp_path, rules="rulesets: &a [*a]")


def test_names_are_unique_over_all_files(tmp_path: Path) -> None:
    text = "destinations: [{name: a, folder: {path: /a}}]"
    assert problems(tmp_path, one=text, two=text) == [
        "two.yaml:1: destinations[0].name: 'a' is already in destinations of one.yaml"
    ]


def test_an_unreadable_file_does_not_blame_the_others(tmp_path: Path) -> None:
    found = problems(
        tmp_path, bad="destinations: [", rules="rulesets: [{name: s, rules: [{name: r, destinations: [a]}]}]"
    )
    assert [text.partition(":")[0] for text in found] == ["bad.yaml"]


def test_a_missing_folder(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path / "rules")
    assert problem.startswith(f"{tmp_path / 'rules'}:1: file: no such folder; write your rules there")


def test_files_count_together_and_the_version_is_of_the_content(tmp_path: Path) -> None:
    assert load_rules(tmp_path).rulesets == []
    (tmp_path / "a.yaml").write_text("destinations: [{name: a, folder: {path: /a}}]")
    (tmp_path / "b.yml").write_text("rulesets: [{name: s, rules: [{name: r, destinations: [a]}]}]")
    (tmp_path / "ignored.txt").write_text("!")
    first = load_rules(tmp_path)
    assert set(first.destinations) == {"a"}
    (tmp_path / "b.yml").write_text("# the same\nrulesets:\n- name: s\n  rules:\n  - {destinations: [a], name: r}\n")
    assert load_rules(tmp_path).version == first.version
    (tmp_path / "b.yml").write_text("rulesets: [{name: s, rules: [{name: other, destinations: [a]}]}]")
    assert load_rules(tmp_path).version != first.version


def test_numbers_keep_their_zeros(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "rulesets: [{name: s, rules: [{name: r, match_criteria: [{tag: PatientID, op: eq, value: 007}]}]}]"
    )
    assert load_rules(tmp_path).rulesets[0].rules[0].match_criteria[0].value == "007"  # type: ignore[union-attr]
