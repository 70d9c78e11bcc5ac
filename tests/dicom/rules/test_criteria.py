"""Criteria: all operators, and what becomes of absent, empty, broken and multiple values."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydicom.dataset import Dataset

from tasks.dicom.core.header import make_dataset, read_header
from tasks.dicom.core.rules.criteria import AnyOf, AssociationCriterion, Source, TagCriterion
from tasks.dicom.core.rules.operators import Operator, holds
from tasks.dicom.core.rules.values import equal, number
from tests.dicom.instances import bundled, make_instance


def tag_holds(dataset: Dataset, tag: str, op: str, value: object = None) -> bool:
    return TagCriterion.model_validate({"tag": tag, "op": op, "value": value}).test(dataset, Source()).held


def source_holds(source: Source, parameter: str, op: str, value: object = None) -> bool:
    criterion = AssociationCriterion.model_validate({"parameter": parameter, "op": op, "value": value})
    return criterion.test(Dataset(), source).held


@pytest.mark.parametrize(
    ("op", "value", "held"),
    [
        ("eq", "CT", True),
        ("eq", "ct", False),
        ("ne", "MR", True),
        ("ne", "CT", False),
        ("contains", "T", True),
        ("startswith", "C", True),
        ("startswith", "T", False),
        ("endswith", "T", True),
        ("regex", "^C.$", True),
        ("regex", "^M", False),
        ("in", ["MR", "CT"], True),
        ("in", ["MR"], False),
        ("not_in", ["MR"], True),
        ("not_in", ["MR", "CT"], False),
        ("exists", None, True),
        ("not_exists", None, False),
        ("gt", "1", False),
    ],
)
def test_text(op: str, value: object, held: bool) -> None:
    assert tag_holds(make_instance(), "Modality", op, value) is held


@pytest.mark.parametrize(
    ("op", "value", "held"),
    [
        ("eq", "1.50", True),
        ("eq", "1.51", False),
        ("gt", "1.4", True),
        ("gt", "1.5", False),
        ("ge", "1.5", True),
        ("lt", "10", True),
        ("lt", "1.5", False),
        ("le", "1.5", True),
        ("in", ["1.500"], True),
    ],
)
def test_numbers(op: str, value: object, held: bool) -> None:
    assert tag_holds(make_instance(SliceThickness="1.5"), "SliceThickness", op, value) is held


def test_dates_count_as_numbers() -> None:
    assert tag_holds(make_instance(StudyDate="20240515"), "StudyDate", "ge", "20240101")


@pytest.mark.parametrize(
    ("op", "value", "held"),
    [
        ("eq", "PRIMARY", True),
        ("ne", "PRIMARY", False),
        ("ne", "LOCALIZER", True),
        ("in", ["AXIAL", "LOCALIZER"], True),
        ("not_in", ["AXIAL"], False),
        ("not_in", ["LOCALIZER"], True),
        ("startswith", "AX", True),
    ],
)
def test_any_value_or_all_values(op: str, value: object, held: bool) -> None:
    assert tag_holds(make_instance(ImageType=["ORIGINAL", "PRIMARY", "AXIAL"]), "ImageType", op, value) is held


@pytest.mark.parametrize("op", [op for op in Operator if op not in ("exists", "not_exists")])
def test_an_absent_element_fails_everything(op: Operator) -> None:
    value: object = ["1"] if op in ("in", "not_in") else "1"
    assert not tag_holds(make_instance(), "PatientID", op, value)


def test_absence_itself() -> None:
    assert tag_holds(make_instance(), "PatientID", "not_exists")
    assert not tag_holds(make_instance(), "PatientID", "exists")


def test_an_empty_element_exists_and_is_the_empty_text() -> None:
    dataset = make_instance(PatientID="")
    assert tag_holds(dataset, "PatientID", "exists")
    assert tag_holds(dataset, "PatientID", "eq", "")
    assert tag_holds(dataset, "PatientID", "ne", "1")
    assert not tag_holds(dataset, "PatientID", "lt", "1")


def test_nested_values_count_together() -> None:
    items = [Dataset(), Dataset(), Dataset()]
    items[0].AccessionNumber, items[1].AccessionNumber = "A", "B"
    dataset = make_instance(RequestAttributesSequence=items)
    assert tag_holds(dataset, "RequestAttributesSequence[*].AccessionNumber", "eq", "B")
    assert not tag_holds(dataset, "RequestAttributesSequence[*].AccessionNumber", "ne", "B")
    assert not tag_holds(dataset, "RequestAttributesSequence[0].AccessionNumber", "eq", "B")
    assert tag_holds(dataset, "RequestAttributesSequence[2].AccessionNumber", "not_exists")
    assert tag_holds(dataset, "RequestAttributesSequence[7].AccessionNumber", "not_exists")


def test_private_elements_are_found_by_creator() -> None:
    dataset = make_instance()
    dataset.private_block(0x0043, "OTHER", create=True).add_new(0x10, "LO", "no")
    dataset.private_block(0x0043, "ACME", create=True).add_new(0x10, "LO", "yes")
    assert tag_holds(dataset, '(0043,"ACME",10)', "eq", "yes")
    assert tag_holds(dataset, '(0043,"NOBODY",10)', "not_exists")


def test_file_meta_can_be_looked_at() -> None:
    header = read_header(bundled("CT_small.dcm"))
    assert tag_holds(header.dataset, "TransferSyntaxUID", "eq", "1.2.840.10008.1.2.1")
    assert tag_holds(make_instance(), "TransferSyntaxUID", "not_exists")


def test_pixels_exist_and_are_not_compared() -> None:
    header = read_header(bundled("CT_small.dcm"))
    assert tag_holds(header.dataset, "PixelData", "exists")
    assert not tag_holds(header.dataset, "PixelData", "ne", "1")


def test_broken_values_fail_closed() -> None:
    dataset = make_dataset(read_header(bundled("badVR.dcm")).elements, read_header(bundled("badVR.dcm")).encoding)
    for tag in list(dataset.keys()):
        assert tag_holds(dataset, f"{tag.group:04x},{tag.element:04x}", "exists")
        tag_holds(dataset, f"{tag.group:04x},{tag.element:04x}", "contains", "x")


def test_a_pattern_without_end_fails_closed() -> None:
    criterion = TagCriterion.model_validate({"tag": "StudyDescription", "op": "regex", "value": "^(a|aa)+$"})
    outcome = criterion.test(make_instance(StudyDescription="a" * 60 + "b"), Source())
    assert not outcome.held
    assert "took longer" in outcome.why


@pytest.mark.parametrize(
    ("op", "value", "problem"),
    [
        ("eq", None, "needs a value"),
        ("exists", "x", "takes no value"),
        ("in", "x", "needs a list"),
        ("in", [], "needs a list"),
        ("eq", ["x"], "needs one value"),
        ("gt", "abc", "needs a number"),
        ("gt", "1_000", "needs a number"),
        ("regex", "(", "no regular expression"),
        ("like", "x", "Input should be"),
    ],
)
def test_values_that_do_not_fit_the_operator(op: str, value: object, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        TagCriterion.model_validate({"tag": "Modality", "op": op, "value": value})


@given(
    st.lists(st.text(max_size=5) | st.decimals(allow_nan=False, allow_infinity=False).map(str), min_size=1, max_size=4),
    st.text(max_size=5),
)
def test_ne_is_the_complement_of_eq(values: list[str], expected: str) -> None:
    assert holds(Operator.EQ, expected, values) is not holds(Operator.NE, expected, values)
    assert holds(Operator.IN, [expected], values) is not holds(Operator.NOT_IN, [expected], values)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=3))
def test_numbers_are_equal_however_written(value: Decimal) -> None:
    assert equal(str(value), f"{value}0")
    assert number(str(value)) == value


@pytest.mark.parametrize("text", ["", "1_0", "inf", "NaN", "٣", "1e9999", "0x10", "1,5"])
def test_what_is_no_number(text: str) -> None:
    assert number(text) is None


@pytest.mark.parametrize(
    ("ip", "op", "value", "held"),
    [
        ("10.1.2.3", "ip_eq", "10.1.2.3", True),
        ("::ffff:10.1.2.3", "ip_eq", "10.1.2.3", True),
        ("10.1.2.3", "ip_eq", "::ffff:10.1.2.3", True),
        ("10.1.2.3", "ip_eq", "10.1.2.4", False),
        ("2001:db8::1", "ip_eq", "2001:0db8:0:0:0:0:0:1", True),
        ("fe80::1%eth0", "ip_eq", "fe80::1", True),
        ("10.1.2.3", "ip_startswith", "10.1.", True),
        ("::ffff:10.1.2.3", "ip_startswith", "10.1.", True),
        ("2001:db8::1", "ip_startswith", "2001:DB8:", True),
        ("2001:db8::1", "ip_startswith", "2001:0db8:", True),
        ("10.1.2.3", "ip_in_subnet", "10.1.0.0/16", True),
        ("::ffff:10.1.2.3", "ip_in_subnet", "10.1.0.0/16", True),
        ("10.1.2.3", "ip_in_subnet", "::ffff:10.1.0.0/112", True),
        ("10.2.2.3", "ip_in_subnet", "10.1.0.0/16", False),
        ("10.2.2.3", "ip_in_subnet", ["10.1.0.0/16", "10.2.0.0/16"], True),
        ("2001:db8::1", "ip_in_subnet", "2001:db8::/32", True),
        ("10.1.2.3", "ip_in_subnet", "2001:db8::/32", False),
        ("nonsense", "ip_in_subnet", "0.0.0.0/0", False),
        ("::ffff:10.1.2.3", "eq", "10.1.2.3", True),
        ("10.1.2.3", "regex", r"^10\.1\.", True),
    ],
)
def test_addresses(ip: str, op: str, value: object, held: bool) -> None:
    assert source_holds(Source(source_ip=ip), "SOURCE_IP", op, value) is held


def test_titles_are_texts_without_their_padding() -> None:
    source = Source(calling_ae="CT1 ", called_ae="QUINTET")
    assert source_holds(source, "CALLING_AE_TITLE", "eq", "CT1")
    assert source_holds(source, "CALLED_AE_TITLE", "in", ["X", "QUINTET"])
    assert not source_holds(source, "SOURCE_IP", "ne", "10.1.2.3")
    assert source_holds(source, "SOURCE_IP", "not_exists")


@pytest.mark.parametrize(
    ("parameter", "op", "value"),
    [
        ("CALLING_AE_TITLE", "ip_eq", "10.1.2.3"),
        ("SOURCE_IP", "ip_eq", "10.1.2"),
        ("SOURCE_IP", "ip_in_subnet", "10.1.2.3/8"),
        ("SOURCE_IP", "ip_in_subnet", "house"),
    ],
)
def test_addresses_are_checked_when_loaded(parameter: str, op: str, value: str) -> None:
    with pytest.raises(ValidationError):
        AssociationCriterion.model_validate({"parameter": parameter, "op": op, "value": value})


def test_groups() -> None:
    group = AnyOf.model_validate(
        {
            "any_of": [
                {"tag": "Modality", "op": "eq", "value": "MR"},
                {"all_of": [{"tag": "Modality", "op": "eq", "value": "CT"}, {"tag": "PatientID", "op": "exists"}]},
            ]
        }
    )
    assert not group.test(make_instance(), Source()).held
    assert group.test(make_instance(PatientID="1"), Source()).held
    assert group.test(make_instance(Modality="MR"), Source()).held
