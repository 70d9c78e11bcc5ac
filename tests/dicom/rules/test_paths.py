"""Names of elements: every notation, back and forth."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom._dicom_dict import DicomDictionary

from tasks.dicom.core.rules.paths import Step, TagPath

SEQUENCES = sorted(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ" and entry[4])
PLAIN = sorted(tag for tag, entry in DicomDictionary.items() if entry[0] not in ("SQ",) and entry[4])
creators = st.text(
    st.characters(codec="ascii", categories=("L", "N", "P"), exclude_characters='"\\'), min_size=1, max_size=20
)


@st.composite
def steps(draw: st.DrawFn, last: bool) -> Step:
    item: Literal["*"] | int | None = None if last else draw(st.none() | st.integers(0, 99))
    if item is None and not last:
        item = "*"
    if draw(st.booleans()):
        group = draw(st.integers(5, 0x7FFF)) * 2 + 1
        return Step(group << 16 | draw(st.integers(0, 255)), draw(creators), item)
    return Step(draw(st.sampled_from(PLAIN if last else SEQUENCES)), None, item)


@given(st.lists(steps(last=False), max_size=3), steps(last=True))
def test_round_trip(before: list[Step], last: Step) -> None:
    path = TagPath((*before, last))
    assert TagPath.parse(str(path)) == path


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("PatientID", "PatientID"),
        ("0010,0020", "PatientID"),
        (" (0010,0020) ", "PatientID"),
        ("0011,0010", "(0011,0010)"),
        ('(0043,"GEMS_PARM_01",10)', '(0043,"GEMS_PARM_01",10)'),
        ('(0043,"GEMS_PARM_01",0010)', '(0043,"GEMS_PARM_01",10)'),
        ('(0043,"A.B[0]",1f)[*].PatientID', '(0043,"A.B[0]",1F)[*].PatientID'),
        ("(0040,0275)[0].0008,0050", "RequestAttributesSequence[0].AccessionNumber"),
    ],
)
def test_notations(text: str, plain: str) -> None:
    assert str(TagPath.parse(text)) == plain


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "names no element"),
        ("PatientId", "no keyword 'PatientId'"),
        ("0010", "names no element"),
        ("PatientID.", "ends with a dot"),
        ("PatientID[0]", "names an item"),
        ("PatientID[0].Modality", "is no sequence"),
        ("RequestAttributesSequence.AccessionNumber", "needs the item"),
        ("RequestAttributesSequence[-1].AccessionNumber", "names no element"),
        ('(0042,"ACME",10)', "is not private"),
        ('(0043,"ACME",1010)', "names no element"),
        (".".join(["RequestAttributesSequence[0]"] * 20 + ["PatientID"]), "more than 16"),
    ],
)
def test_what_names_nothing(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace("(", r"\(")):
        TagPath.parse(text)


@given(st.text(max_size=40))
def test_any_text_is_a_path_or_a_value_error(text: str) -> None:
    try:
        path = TagPath.parse(text)
    except ValueError:
        return
    assert TagPath.parse(str(path)) == path
