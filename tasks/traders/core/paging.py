"""Pages through what a trader did, by time: nothing is lost where things of one millisecond lie over a page's end.

Answers hold a limited number of rows and say neither how many nor whether there are more. Of an answer that may have
been cut, the millisecond at the cut is left out and asked for again: no millisecond is ever taken in part, which also
lets rows without a number of their own be told apart by their place among their like.

Answers came oldest first and newest first in the past. The order of the rows shows which end was cut.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

R = TypeVar("R")

#: The fewest rows that an answer of the exchange was ever cut at: 500 in 2023 and for most kinds today, 2000 for fills.
CUT = 500


@dataclass(frozen=True, slots=True)
class Ask:
    """What to ask for next, in milliseconds, both ends included; no end: up to now."""

    start: int
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """What an answer gave.

    Attributes:
        rows: whole milliseconds of it, oldest first.
        then: what to ask for next; None when this was the end.
        lost: one millisecond filled the page, so that some of its rows may not be had at all.
    """

    rows: list[R]
    then: Ask | None = None
    lost: bool = False


def turn(asked: Ask, answer: Sequence[R], *, time: Callable[[R], int], cut: int | None = None) -> Page[R]:
    """Take an answer, and say what to ask for next; each next question is for less time than the one before.

    Args:
        asked: what it answers.
        answer: its rows, oldest or newest first.
        time: of a row, in milliseconds.
        cut: an answer with at least so many rows may have been cut; None: `CUT`.
    """
    # Rows that were not asked for would lead in circles.
    last = math.inf if asked.end is None else asked.end
    rows = sorted((row for row in answer if asked.start <= time(row) <= last), key=time)
    if len(answer) < (CUT if cut is None else cut) or not rows:
        return Page(rows)
    oldest, newest = time(rows[0]), time(rows[-1])
    if oldest == newest:
        backwards = asked.end is not None
        rest = Ask(asked.start, oldest - 1) if backwards else Ask(newest + 1)
        return Page(rows, rest if rest.end is None or rest.end >= rest.start else None, lost=True)
    if time(answer[0]) > time(answer[-1]):
        return Page([row for row in rows if time(row) > oldest], Ask(asked.start, oldest))
    return Page([row for row in rows if time(row) < newest], Ask(newest, asked.end))
