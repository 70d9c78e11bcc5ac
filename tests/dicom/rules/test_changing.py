"""Changes: every action, VRs, character sets, nested and private elements, and failing closed."""

from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from tasks.dicom.core.header import read_header
from tasks.dicom.core.morph import write_morphed
from tasks.dicom.core.rules import CrosswalkError, CrosswalkUnavailableError, ModificationError, Source, evaluate
from tasks.dicom.core.rules.model import Rules
from tests.dicom.instances import make_instance, write_instance
from tests.dicom.rules.conftest import NOW, Apply, table


def value(dataset: Dataset, keyword: str) -> object:
    return dataset[keyword].value


@pytest.mark.parametrize(
    ("modification", "keyword", "expected"),
    [
        ("- {action: set, tag: PatientID, value: 007}", "PatientID", "007"),
        ("- {action: set, tag: ImageType, value: [DERIVED, SECONDARY]}", "ImageType", ["DERIVED", "SECONDARY"]),
        ("- {action: set, tag: Rows, value: 512}", "Rows", 512),
        ("- {action: set, tag: StudyDescription, value: ''}", "StudyDescription", None),
        ("- {action: prepend, tag: AccessionNumber, value: X-}", "AccessionNumber", "X-A1"),
        ("- {action: suffix, tag: AccessionNumber, value: -X}", "AccessionNumber", "A1-X"),
        ("- {action: prepend, tag: OtherPatientNames, value: X}", "OtherPatientNames", ["XA", "XB"]),
        (
            r"- {action: regex_replace, tag: AccessionNumber, pattern: '([A-Z])(\d)', replacement: '\2\1'}",
            "AccessionNumber",
            "1A",
        ),
        ("- {action: copy, source: AccessionNumber, destination: StudyID}", "StudyID", "A1"),
        ("- {action: move, source: AccessionNumber, destination: StudyID}", "StudyID", "A1"),
        ("- {action: set, tag: SmallestImagePixelValue, value: -5}", "SmallestImagePixelValue", -5),
        ("- {action: set, tag: FrameIncrementPointer, value: '(0018,1063)'}", "FrameIncrementPointer", 0x00181063),
    ],
)
def test_actions(apply: Apply, modification: str, keyword: str, expected: object) -> None:
    before = make_instance(AccessionNumber="A1", OtherPatientNames=["A", "B"])
    evaluation = apply(before, modification)
    assert value(evaluation.dataset, keyword) == expected
    assert evaluation.modified
    assert before.AccessionNumber == "A1", "the caller's data set is left alone"


def test_delete_and_move_leave_nothing(apply: Apply) -> None:
    evaluation = apply(
        make_instance(AccessionNumber="A1", PatientID="1"),
        "- {action: delete, tag: PatientID}\n- {action: move, source: AccessionNumber, destination: StudyID}",
    )
    assert "PatientID" not in evaluation.dataset
    assert "AccessionNumber" not in evaluation.dataset


@pytest.mark.parametrize(
    "modification",
    [
        "- {action: delete, tag: PatientID}",
        "- {action: prepend, tag: PatientID, value: X}",
        "- {action: regex_replace, tag: StudyInstanceUID, pattern: z, replacement: y}",
        "- {action: set, tag: Modality, value: CT}",
        "- {action: copy, source: PatientID, destination: StudyID, if_missing: skip}",
        "- {action: set, tag: 'RequestAttributesSequence[*].AccessionNumber', value: X}",
    ],
)
def test_what_changes_nothing_is_no_change(apply: Apply, modification: str) -> None:
    evaluation = apply(make_instance(), modification)
    assert not evaluation.modified
    assert evaluation.matched
    assert evaluation.dataset == make_instance()


@pytest.mark.parametrize(
    ("modification", "element", "reason"),
    [
        ("- {action: copy, source: PatientID, destination: StudyID}", "PatientID", "is absent"),
        ("- {action: prepend, tag: PatientID, value: X, if_missing: fail}", "PatientID", "is absent"),
        ("- {action: copy, source: StudyDescription, destination: StudyID}", "StudyID", "does not fit VR SH"),
        ("- {action: suffix, tag: StudyDate, value: x}", "StudyDate", "does not fit VR DA"),
        (
            "- {action: regex_replace, tag: SOPInstanceUID, pattern: '.*', replacement: ''}",
            "SOPInstanceUID",
            "must be a UID",
        ),
        ("- {action: copy, source: Modality, destination: SOPInstanceUID}", "SOPInstanceUID", "does not fit VR UI"),
        (
            "- {action: regex_replace, tag: PatientComments, pattern: '^(a|aa)+$', replacement: ''}",
            "PatientComments",
            "took longer",
        ),
        (
            "- {action: set, tag: 'RequestAttributesSequence[3].AccessionNumber', value: X}",
            "RequestAttributesSequence",
            "does not exist",
        ),
        ("- {action: copy, source: IconImageSequence, destination: StudyID}", "StudyID", "VR SH"),
        ("- {action: prepend, tag: '(0043,\"ACME\",10)', value: X}", "ACME", "holds no text"),
    ],
)
def test_failures_name_the_rule_and_the_element_but_no_value(
    apply: Apply, modification: str, element: str, reason: str
) -> None:
    dataset = make_instance(
        StudyDescription="a secret far longer than sixteen", StudyDate="20240515", PatientComments="a" * 60 + "b"
    )
    dataset.IconImageSequence = [Dataset()]
    dataset.private_block(0x0043, "ACME", create=True).add_new(0x10, "OB", b"\1\2")
    with pytest.raises(ModificationError) as caught:
        apply(dataset, modification)
    assert str(caught.value).startswith("rule set/rule: ")
    assert element in caught.value.element
    assert reason in caught.value.reason
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("dataset", "charset", "name"),
    [
        (make_instance(PatientName="X"), "ISO_IR 192", "Müller^Jörg"),
        (make_instance(PatientName="X", SpecificCharacterSet="ISO_IR 100"), "ISO_IR 100", "Müller^Jörg"),
        (make_instance(PatientName="Ä", SpecificCharacterSet="ISO_IR 100"), "ISO_IR 192", "山田^太郎"),
        (make_instance(PatientName="X", SpecificCharacterSet="ISO_IR 192"), "ISO_IR 192", "山田^太郎"),
        (
            make_instance(PatientName="X", SpecificCharacterSet=["", "ISO 2022 IR 87"]),
            ["", "ISO 2022 IR 87"],
            "山田^太郎",
        ),
        (make_instance(PatientName="X"), None, "Plain^Name"),
    ],
)
def test_texts_that_the_character_set_cannot_hold(
    apply: Apply, tmp_path: Path, dataset: Dataset, charset: object, name: str
) -> None:
    source = write_instance(tmp_path / "in.dcm", dataset)
    header = read_header(source)
    evaluation = apply(header.dataset, f"- {{action: set, tag: PatientName, value: {name}}}")
    assert evaluation.dataset.get("SpecificCharacterSet") == charset
    write_morphed(header, evaluation.dataset, tmp_path / "out.dcm")
    assert str(pydicom.dcmread(tmp_path / "out.dcm").PatientName) == name


def test_only_text_changes_the_character_set(apply: Apply) -> None:
    with pytest.raises(ModificationError, match="does not fit VR CS"):
        apply(make_instance(AccessionNumber="ä"), "- {action: copy, source: AccessionNumber, destination: Modality}")


def test_nested_and_private_places_are_made(apply: Apply) -> None:
    dataset = apply(
        make_instance(),
        """
        - {action: set, tag: 'RequestAttributesSequence[0].AccessionNumber', value: A}
        - {action: set, tag: 'RequestAttributesSequence[1].AccessionNumber', value: B}
        - {action: set, tag: '(0043,"ACME",10)', value: C, vr: LO}
        - {action: set, tag: '(0043,"OTHER",10)', value: D}
        """,
    ).dataset
    assert [item.AccessionNumber for item in dataset.RequestAttributesSequence] == ["A", "B"]
    assert dataset[0x00431010].value == "C"
    assert (dataset[0x00431110].VR, dataset[0x00431110].value) == ("UN", b"D")
    assert dataset[0x00430011].value == "OTHER"


def test_nested_changes_leave_the_callers_items_alone(apply: Apply) -> None:
    item = Dataset()
    item.AccessionNumber = "A"
    before = make_instance(RequestAttributesSequence=[item])
    after = apply(before, "- {action: delete, tag: 'RequestAttributesSequence[*].AccessionNumber'}").dataset
    assert "AccessionNumber" not in after.RequestAttributesSequence[0]
    assert before.RequestAttributesSequence[0].AccessionNumber == "A"


def test_sequences_are_copied_whole(apply: Apply) -> None:
    item = Dataset()
    item.CodeValue = "1"
    before = make_instance(ProcedureCodeSequence=[item])
    after = apply(
        before, "- {action: copy, source: ProcedureCodeSequence, destination: RequestedProcedureCodeSequence}"
    )
    assert after.dataset.RequestedProcedureCodeSequence[0].CodeValue == "1"
    assert after.dataset.RequestedProcedureCodeSequence[0] is not item


def test_large_elements_can_be_removed_and_replaced_but_not_read(apply: Apply, tmp_path: Path) -> None:
    header = read_header(write_instance(tmp_path / "in.dcm", make_instance(TextValue="secret" * 300_000)))
    assert "TextValue" not in apply(header.dataset, "- {action: delete, tag: TextValue}").dataset
    for change in ("- {action: delete, tag: TextValue}", "- {action: set, tag: TextValue, value: short}"):
        evaluation = apply(header.dataset, change)
        assert evaluation.modified
        write_morphed(header, evaluation.dataset, tmp_path / "out.dcm")
        assert b"secret" not in (tmp_path / "out.dcm").read_bytes()
    with pytest.raises(ModificationError, match="too large"):
        apply(header.dataset, "- {action: prepend, tag: TextValue, value: X}")


CROSSWALK = """
- action: crosswalk
  crosswalk: table
  keys: [PatientID, IssuerOfPatientID]
  replace: {PatientID: new, PatientName: name}
"""


def test_crosswalk(apply: Apply) -> None:
    rows: dict[tuple[str, ...], dict[str, str | None]] = {("1", "HOSP"): {"new": "R1", "name": "R^1"}}
    dataset = apply(make_instance(PatientID="1 ", IssuerOfPatientID="HOSP"), CROSSWALK, crosswalk=table(rows)).dataset
    assert (dataset.PatientID, dataset.PatientName) == ("R1", "R^1")


@pytest.mark.parametrize(
    ("elements", "rows", "reason"),
    [
        ({"PatientID": "1"}, {}, "IssuerOfPatientID: has no single value"),
        ({"PatientID": "", "IssuerOfPatientID": "H"}, {}, "PatientID: has no single value"),
        ({"PatientID": "1", "IssuerOfPatientID": "H"}, {}, "no row"),
        (
            {"PatientID": "1", "IssuerOfPatientID": "H"},
            {("1", "H"): {"new": None, "name": "x"}},
            "no value in column new",
        ),
        ({"PatientID": "1", "IssuerOfPatientID": "H"}, {("1", "H"): {"new": "x" * 65, "name": "x"}}, "does not fit"),
    ],
)
def test_crosswalks_fail_closed(
    apply: Apply, elements: dict[str, str], rows: dict[tuple[str, ...], dict[str, str | None]], reason: str
) -> None:
    with pytest.raises(ModificationError, match=reason):
        apply(make_instance(**elements), CROSSWALK, crosswalk=table(rows))


def test_a_crosswalk_that_cannot_be_asked(apply: Apply) -> None:
    def away(crosswalk: str, keys: tuple[str, ...]) -> None:
        raise CrosswalkUnavailableError("away")

    def ambiguous(crosswalk: str, keys: tuple[str, ...]) -> None:
        raise CrosswalkError("several rows")

    dataset = make_instance(PatientID="1", IssuerOfPatientID="H")
    with pytest.raises(CrosswalkUnavailableError, match="away"):
        apply(dataset, CROSSWALK, crosswalk=away)
    with pytest.raises(ModificationError, match="several rows"):
        apply(dataset, CROSSWALK, crosswalk=ambiguous)
    with pytest.raises(ModificationError, match="no crosswalk can be asked"):
        apply(dataset, CROSSWALK)


ORIGINAL = "audit: {}"


def test_audit_of_a_change(apply: Apply) -> None:
    dataset = apply(
        make_instance(PatientID="old"), "- {action: set, tag: PatientID, value: new}", extra=ORIGINAL
    ).dataset
    (item,) = dataset.OriginalAttributesSequence
    assert item.ModifiedAttributesSequence[0].PatientID == "old"
    assert item.AttributeModificationDateTime == dataset.InstanceCoercionDateTime == "20240515120000.000000+0000"
    assert (item.ModifyingSystem, item.SourceOfPreviousValues) == ("QUINTET", "SENDER")
    assert item.ReasonForTheAttributeModification == "COERCE"


def test_audit_of_an_addition_and_of_each_change(apply: Apply) -> None:
    dataset = apply(
        make_instance(AccessionNumber="A", OriginalAttributesSequence=[Dataset()]),
        """
        - {action: set, tag: PatientID, value: new}
        - {action: move, source: AccessionNumber, destination: StudyID}
        - {action: delete, tag: PatientName}
        """,
        extra="audit: {modifying_system: GATE, source_of_previous_values: RIS}",
    ).dataset
    first, added, destination, source = dataset.OriginalAttributesSequence
    assert len(first) == 0
    assert len(added.ModifiedAttributesSequence[0]) == len(destination.ModifiedAttributesSequence[0]) == 0
    assert added.ReasonForTheAttributeModification == destination.ReasonForTheAttributeModification == "ADD"
    assert source.ModifiedAttributesSequence[0].AccessionNumber == "A"
    assert source.ReasonForTheAttributeModification == "COERCE"
    assert (added.ModifyingSystem, added.SourceOfPreviousValues) == ("GATE", "RIS")


def test_audit_of_nested_and_private_changes(apply: Apply) -> None:
    item = Dataset()
    item.AccessionNumber = "A"
    before = make_instance(RequestAttributesSequence=[item, Dataset()])
    before.private_block(0x0043, "ACME", create=True).add_new(0x10, "LO", "P")
    dataset = apply(
        before,
        """
        - {action: set, tag: 'RequestAttributesSequence[*].AccessionNumber', value: B}
        - {action: delete, tag: '(0043,"ACME",10)'}
        """,
        extra=ORIGINAL,
    ).dataset
    nested, private = (one.ModifiedAttributesSequence[0] for one in dataset.OriginalAttributesSequence)
    assert nested.RequestAttributesSequence[0].AccessionNumber == "A"
    assert "AccessionNumber" not in nested.RequestAttributesSequence[1]
    assert private.private_block(0x0043, "ACME")[0x10].value == "P"


def test_without_audit_nothing_old_is_left(apply: Apply) -> None:
    dataset = apply(make_instance(PatientID="old"), "- {action: set, tag: PatientID, value: new}").dataset
    assert "OriginalAttributesSequence" not in dataset
    assert "InstanceCoercionDateTime" not in dataset
    assert "old" not in str(dataset)


plain = st.text(st.characters(categories=("L", "N"), codec="utf-8"), min_size=1, max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(old=plain, new=plain)
def test_the_audit_holds_the_old_value_in_the_file(tmp_path: Path, old: str, new: str) -> None:
    rules = Rules.model_validate(
        {
            "rulesets": [
                {
                    "name": "s",
                    "rules": [
                        {
                            "name": "r",
                            "audit": {},
                            "tag_modifications": [{"action": "set", "tag": "PatientID", "value": new}],
                        }
                    ],
                }
            ]
        }
    )
    header = read_header(
        write_instance(tmp_path / "in.dcm", make_instance(PatientID=old, SpecificCharacterSet="ISO_IR 192"))
    )
    evaluation = evaluate(header.dataset, rules, Source(), now=NOW)
    written = write_morphed(header, evaluation.dataset, tmp_path / "out.dcm")
    after = pydicom.dcmread(tmp_path / "out.dcm")
    assert after.PatientID == new
    assert written.modified is evaluation.modified is (old != new)
    if old != new:
        assert after.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].PatientID == old


def test_the_same_moment_gives_the_same_bytes(apply: Apply, tmp_path: Path) -> None:
    header = read_header(write_instance(tmp_path / "in.dcm", make_instance(PatientID="old")))
    hashes = {
        write_morphed(
            header,
            apply(header.dataset, "- {action: set, tag: PatientID, value: new}", extra=ORIGINAL).dataset,
            tmp_path / "out.dcm",
        ).content_sha256
        for _ in range(2)
    }
    assert len(hashes) == 1
