"""When a demo is all right, and what its JSON says."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from deployments.demo import dicom
from deployments.demo.result import DemoResult


def result(lost: int = 0, duplicates: int = 0, problems: tuple[str, ...] = ()) -> DemoResult:
    return DemoResult("dicom", lost, duplicates, 1.25, "http://ui", {"sent": 3}, list(problems))


def test_all_is_well_only_if_nothing_is_lost_doubled_or_odd() -> None:
    assert result().ok
    assert not result(lost=1).ok
    assert not result(duplicates=1).ok
    assert not result(problems=("3 files are in quarantine, 2 are broken",)).ok


def test_its_json_holds_what_programs_ask_for() -> None:
    answer = json.loads(json.dumps(result(lost=2).as_json()))
    assert {"ok", "lost", "duplicates", "seconds", "ui", "sent"} <= set(answer)
    assert (answer["ok"], answer["lost"]) == (False, 2)


def test_truth_is_read_from_the_senders_log_and_the_files(tmp_path: Path) -> None:
    files = {path.name: path for path in dicom.test_files()}
    entries = [
        {"sop_instance_uid": "1.2.3", "sha256": "a", "status": 0},
        {"sop_instance_uid": "1.2.3", "sha256": "a", "status": 0},
        {"sop_instance_uid": "1.2.3", "sha256": "b", "status": 0},
        {"sop_instance_uid": "1.2.4", "sha256": "c", "status": None},
    ]
    log = tmp_path / "sent.jsonl"
    log.write_text("\n".join(json.dumps(entry) for entry in entries))
    truth = dicom._truth(log, [str(files["no_meta.dcm"]), str(files["DICOMDIR-empty.dcm"])])
    assert truth.archive == Counter({"1.2.3": 2}), "one of each content, and only what was acknowledged"
    assert truth.shelf - truth.archive != Counter(), "a directory goes to the shelf alone"
    assert truth.broken == {"no_meta.dcm"}


@pytest.mark.parametrize("arguments", [["demo", "dicomm"], ["demo", "dicom", "radio"]])
def test_an_unknown_domain_is_named(arguments: list[str]) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "deployments.cli", *arguments], capture_output=True, text=True, check=False
    )
    assert said.returncode == 1
    assert arguments[-1] in said.stderr and "there is one of: dicom" in said.stderr
