"""Damaged instances on the whole way through the rules: delivered changed, or refused with a reason, never else."""

import threading
import warnings
from pathlib import Path

import pydicom.config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.dicom.core.header import UnreadableInstanceError, read_header
from tasks.dicom.core.morph import MorphError, write_morphed
from tasks.dicom.core.pydicom_modes import pydicom_quiet
from tasks.dicom.core.rules import ModificationError, Source, evaluate, explain
from tasks.dicom.core.rules.model import Rules
from tests.dicom.instances import bundled
from tests.dicom.rules.conftest import NOW

FILES = {
    name: bundled(name).read_bytes()
    for name in ("CT_small.dcm", "rtplan.dcm", "chrX1.dcm", "image_dfl.dcm", "ExplVR_BigEnd.dcm", "reportsi.dcm")
}
RULES = Rules.model_validate(
    {
        "rulesets": [
            {
                "name": "s",
                "rules": [
                    {
                        "name": "r",
                        "audit": {},
                        "match_criteria": [
                            {
                                "any_of": [
                                    {"tag": "StudyDescription", "op": "contains", "value": "e"},
                                    {"tag": "ImageType", "op": "ne", "value": "e"},
                                    {"tag": "BeamSequence[*].BeamName", "op": "not_exists"},
                                ]
                            }
                        ],
                        "tag_modifications": [
                            {"action": "set", "tag": "PatientID", "value": "NEW"},
                            {"action": "set", "tag": "PatientName", "value": "山田"},
                            {"action": "suffix", "tag": "StudyDescription", "value": " x"},
                            {"action": "delete", "tag": "BeamSequence[*].BeamName"},
                        ],
                    }
                ],
            }
        ]
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(FILES)),
    edits=st.lists(st.tuples(st.integers(128, 4000), st.integers(0, 255)), min_size=1, max_size=10),
)
def test_damage_is_delivered_changed_or_refused(tmp_path: Path, name: str, edits: list[tuple[int, int]]) -> None:
    data = bytearray(FILES[name])
    for position, value in edits:
        data[position % len(data)] = value
    path = tmp_path / "in.dcm"
    path.write_bytes(data)
    try:
        header = read_header(path)
        assert explain(header.dataset, RULES, Source(), now=NOW).text()
        evaluation = evaluate(header.dataset, RULES, Source(), now=NOW)
        write_morphed(header, evaluation.dataset, tmp_path / "out.dcm")
    except (UnreadableInstanceError, ModificationError, MorphError) as error:
        assert str(error)
        return
    if evaluation.matched:
        assert read_header(tmp_path / "out.dcm").dataset.PatientID == "NEW"


def test_pydicoms_modes_are_put_back_by_the_last_user() -> None:
    modes = pydicom.config.settings
    before = (modes.reading_validation_mode, modes.writing_validation_mode, list(warnings.filters))
    inside, leave = threading.Event(), threading.Event()

    def use() -> None:
        with pydicom_quiet():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=use)
    with pydicom_quiet():
        thread.start()
        assert inside.wait(10)
    assert modes.writing_validation_mode == pydicom.config.RAISE
    leave.set()
    thread.join(10)
    assert (modes.reading_validation_mode, modes.writing_validation_mode, list(warnings.filters)) == before
