"""The documentation's example loads and does what it says."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.dicom.core.rules import Rules, Source, evaluate, load_rules
from tasks.dicom.core.tables import SourceType
from tests.dicom.instances import make_instance
from tests.dicom.rules.conftest import table

DOCS = Path(__file__).parents[3] / "docs" / "dicom-rules.md"
NIGHT = datetime(2024, 5, 15, 20, 0, tzinfo=UTC)
SOURCE = Source(SourceType.DIMSE_LISTENER, "", "SENDER", "QUINTET", "::ffff:10.1.2.3")


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    blocks = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    for number, block in enumerate(blocks):
        (tmp_path / f"{number}.yaml").write_text(block, encoding="utf-8")
    return load_rules(tmp_path)


def test_a_chest_ct_at_night(rules: Rules) -> None:
    dataset = make_instance(PatientID="4711", BodyPartExamined="THORAX", PatientBirthDate="19700101")
    lookup = table({("4711",): {"pseudonym": "R-1"}})
    evaluation = evaluate(dataset, rules, SOURCE, now=NIGHT, crosswalk=lookup)
    assert evaluation.destinations == ["archive", "research"]
    assert evaluation.dataset.PatientID == evaluation.dataset.PatientName == "R-1"
    assert "PatientBirthDate" not in evaluation.dataset
    assert evaluation.dataset.private_block(0x0013, "QUINTET")[0x10].value == "night"


@pytest.mark.parametrize(
    ("elements", "source", "now"),
    [
        ({"Modality": "MR", "BodyPartExamined": "CHEST"}, SOURCE, NIGHT),
        ({"BodyPartExamined": "FOOT", "StudyDescription": "foot"}, SOURCE, NIGHT),
        ({"BodyPartExamined": "CHEST"}, Source(SourceType.FILE_UPLOAD), NIGHT),
        ({"BodyPartExamined": "CHEST"}, Source(SourceType.DIMSE_LISTENER, source_ip="10.2.0.1"), NIGHT),
        ({"BodyPartExamined": "CHEST"}, SOURCE, NIGHT.replace(hour=12)),
    ],
)
def test_everything_else(rules: Rules, elements: dict[str, str], source: Source, now: datetime) -> None:
    evaluation = evaluate(make_instance(**elements), rules, source, now=now)
    assert evaluation.destinations == ["archive"]
    assert not evaluation.modified


def test_the_table_of_operators_is_whole() -> None:
    from tasks.dicom.core.rules.operators import IpOperator, Operator

    text = DOCS.read_text(encoding="utf-8")
    assert [operator for operator in [*Operator, *IpOperator] if f"`{operator}`" not in text] == []
