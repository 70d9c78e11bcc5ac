"""Texts of others, in Markdown and on one line."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tasks.foundation.core.escaping import MAXIMUM_LENGTH, markdown_table, markdown_text, printable

#: As strict as CommonMark, with the tables and the struck-out text of GitHub's flavour.
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])

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


def shown(text: str) -> str:
    """What a reader sees of Markdown that is one paragraph of text and nothing else."""
    tokens = MARKDOWN.parse(text)
    assert [token.type for token in tokens] in ([], ["paragraph_open", "inline", "paragraph_close"])
    children = (tokens[1].children or []) if tokens else []
    assert {token.type for token in children} <= {"text"}
    seen = "".join(token.content for token in children)
    for mark in "\u2060\u2068\u2069":
        seen = seen.replace(mark, "")
    return seen


def shown_by_character(safe: str) -> str:
    """What is left of Markdown once its backslashes are resolved, with the marks that have no width."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", safe)


@hostile
@given(st.text(max_size=60))
@example("2024. - a")
@example("a -- b")
@example("12:30")
def test_a_text_is_shown_and_does_nothing_else(text: str) -> None:
    safe = markdown_text(text)
    safe.encode("utf-8")
    assert shown(safe) == printable(text)
    # Nor in the middle of a line, nor as a heading, nor between marks.
    assert shown(f"said {safe} here") == f"said {printable(text)} here"
    heading = MARKDOWN.parse(f"# {safe}")
    assert [token.type for token in heading] == ["heading_open", "inline", "heading_close"]
    # Signs of formulas and short names of pictures, which some renderers know, and HTML.
    assert not re.search(r"(?<!\\)([$<>&]|:[a-z])", safe)


@given(st.text(alphabet="-=_*+#>~`|:.)<&![] 1a\t\n\\", max_size=12))
def test_no_sequence_of_signs_is_structure(text: str) -> None:
    assert shown(markdown_text(text)) == printable(text)


@pytest.mark.parametrize("text", ["2024-05-01 12:30Z", "54.9 %", "5,000 / 3", "it's"])
def test_plain_text_can_be_read_in_the_source(text: str) -> None:
    assert markdown_text(text) == text


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
    assert not re.search(links, shown_by_character(markdown_text(text)))


def test_prefects_ui_shows_what_stands_there() -> None:
    """It knows backslashes, but shows character references as they are written."""
    assert markdown_text("Blue Kitten#EUW (2 wins): a|b & <c>") == r"Blue Kitten\#EUW \(2 wins\)\: a\|b \& \<c\>"


def test_text_from_right_to_left_is_kept_apart() -> None:
    assert markdown_text("שלום") == "\u2068שלום\u2069"
    assert markdown_text("Faker") == "Faker"


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=5))
def test_a_table_has_as_many_cells_as_headings_in_every_line(rows: list[tuple[str, str]]) -> None:
    table = MARKDOWN.parse(markdown_table(["a|b", "c"], rows, numbers=["c"]))
    cells = Counter(token.type for token in table)
    assert (cells["tr_open"], cells["th_open"], cells["td_open"]) == (1 + len(rows), 2, 2 * len(rows))
    assert [token.attrs.get("style") for token in table if token.type == "th_open"] == [None, "text-align:right"]
    children = [child.type for token in table for child in token.children or []]
    assert set(children) <= {"text"}


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 cells, and the table 1 columns"):
        markdown_table(["a"], [("b", "c")])
