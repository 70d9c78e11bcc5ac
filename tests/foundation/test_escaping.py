"""Texts of others, in Markdown and on one line."""

import html
import re
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.foundation.core.escaping import MAXIMUM_LENGTH, markdown_table, markdown_text, printable

HOSTILE = (
    "a|b",
    "a\n\n# heading",
    "![x](data:image/png;base64,AAAA)",
    "[x](javascript:alert(1))",
    "<img src=x onerror=alert(1)>",
    "&lt;script&gt;",
    "`code`",
    "**b** __i__ ~~s~~",
    "\u202egnp.exe\u202c",
    "\x1b[31mred\x1b[0m",
    "https://example.org/x",
    "www.example.org",
    "a@example.org",
    "back\\slash",
    "1. list",
    "- list",
    "> quote",
    "$x^2$",
    ":tada:",
    "\ud800",
)


def hostile(test: Callable[[str], None]) -> Callable[[str], None]:
    """Try these besides those that are drawn."""
    for text in HOSTILE:
        test = example(text)(test)
    return test


@hostile
@given(st.text(max_size=60))
def test_nothing_of_a_text_is_structure(text: str) -> None:
    safe = markdown_text(text)
    # All punctuation that is left belongs to character references.
    assert not re.search(r"[!-/:-@\[-`{-~]", re.sub(r"&#\d{2,3};", "", safe))
    assert "\n" not in safe and "\r" not in safe
    safe.encode("utf-8")


@hostile
@given(st.text(max_size=60))
def test_a_reader_sees_the_text(text: str) -> None:
    shown = html.unescape(markdown_text(text))
    for mark in "\u2060\u2068\u2069":
        shown = shown.replace(mark, "")
    assert shown == printable(text)


@hostile
@given(st.text(max_size=400))
def test_a_printable_text_is_one_line_of_visible_characters(text: str) -> None:
    line = printable(text)
    assert len(line) <= MAXIMUM_LENGTH
    assert not [character for character in line if unicodedata.category(character)[0] == "C"]
    assert line == line.strip() and "  " not in line
    assert printable(line) == line


@given(st.text(alphabet=st.characters(categories=["L", "N"]), max_size=MAXIMUM_LENGTH))
def test_letters_stay_as_they_are(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("text", ["https://evil.example", "WWW.evil.example", "me@evil.example"])
def test_no_link_is_found_in_what_a_renderer_resolves(text: str) -> None:
    # The patterns with which GitHub's flavour finds links in finished text.
    links = r"(?i)(https?://|www(?=\.))[-.\w]+|[-.\w+]+@[-\w]+(\.[-\w]+)+"
    assert re.search(links, text)
    assert not re.search(links, html.unescape(markdown_text(text)))


def test_text_from_right_to_left_is_kept_apart() -> None:
    assert markdown_text("שלום") == "\u2068שלום\u2069"
    assert markdown_text("Faker") == "Faker"


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=5))
def test_a_table_has_as_many_cells_as_headings_in_every_line(rows: list[tuple[str, str]]) -> None:
    lines = markdown_table(["a|b", "c"], rows, numbers=["c"]).split("\n")
    assert len(lines) == 2 + len(rows)
    assert {line.count("|") for line in lines} == {3}
    assert lines[1] == "| --- | ---: |"


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 cells, and the table 1 columns"):
        markdown_table(["a"], [("b", "c")])
