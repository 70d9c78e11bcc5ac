"""Texts that others chose (names, answers of an outside system) made fit for what they are shown in.

What is hidden in such a text must not change what stands around it: no control characters, no line breaks, no marks
that turn the direction of writing, and in Markdown nothing that a renderer takes for structure, HTML or a link.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

#: Longer texts are cut here: one field must not push everything else off the page.
MAXIMUM_LENGTH = 200

#: What some Markdown renderer gives a meaning: punctuation but for what is plain inside a line, and of that a dash, a
#: dot or a plus that would begin a list or underline a heading. A colon between digits is a time of day.
_MEANING = re.compile(r"^[-.]|(?<=-)-|(?<=[0-9])[.](?=\s|$)|[!-$&(-+<-@\[-`{-~]|(?<![0-9]):|:(?![0-9])")
#: Renderers look for links in the text as well, after references have been resolved; a word joiner, which has no width,
#: makes that none.
_LINKS = re.compile(r"(?i)(://|www|@|xmpp:|mailto:)")
_WORD_JOINER = "\u2060"
#: Around text that may run from right to left, so that its neighbours keep their order.
_ISOLATE, _END_ISOLATE = "\u2068", "\u2069"


def printable(text: str, *, length: int = MAXIMUM_LENGTH) -> str:
    """One line of visible characters: control, format and private characters go, every white space becomes a blank.

    Args:
        text: as it came.
        length: characters kept; what is longer ends in an ellipsis.
    """
    kept = "".join(" " if character.isspace() else character for character in text if _visible(character))
    line = " ".join(kept.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def _visible(character: str) -> bool:
    # White space first: a line break is a control character too. Cf holds the marks that turn the direction.
    return character.isspace() or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn")


def markdown_text(text: str, *, length: int = MAXIMUM_LENGTH) -> str:
    """A text as Markdown that shows it and does nothing else, in a paragraph, a heading or a cell of a table.

    Punctuation with a meaning gets a backslash. Character references would do as well for CommonMark, but Prefect's UI
    shows them as they are written.

    Args:
        text: as it came.
        length: characters kept.
    """
    line = printable(text, length=length)
    turned = any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in line)
    joined = _LINKS.sub(rf"\1{_WORD_JOINER}", line)
    safe = _MEANING.sub(r"\\\g<0>", joined)
    return f"{_ISOLATE}{safe}{_END_ISOLATE}" if turned else safe


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Iterable[str] = ()) -> str:
    """A table in Markdown, every heading and cell escaped.

    Args:
        headings: one a column.
        rows: cells as long as the headings; None is shown as an empty cell.
        numbers: headings of the columns that are aligned to the right.

    Raises:
        ValueError: a row has more or fewer cells than there are headings.
    """
    right = set(numbers)
    lines = [_line(markdown_text(heading) for heading in headings)]
    lines.append(_line("---:" if heading in right else "---" for heading in headings))
    for row in rows:
        if len(row) != len(headings):
            raise ValueError(f"a row has {len(row)} cells, and the table {len(headings)} columns")
        lines.append(_line("" if cell is None else markdown_text(str(cell)) for cell in row))
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
