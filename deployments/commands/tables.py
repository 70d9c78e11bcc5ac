"""Tables for terminals that show texts of others: escaped, without rules, so that much fits into 80 columns."""

from collections.abc import Collection, Iterable, Sequence

from rich.table import Table
from rich.text import Text


def plain_table(
    title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Collection[str] = ()
) -> Table:
    """A table without rules.

    Args:
        title: above it; none where empty.
        headings: one a column.
        rows: cells as long as the headings.
        numbers: headings of columns that are aligned to the right and not broken.
    """
    from tasks.foundation.core.escaping import printable

    table = Table(
        title=f"\n{title}" if title else None,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        header_style="dim",
    )
    for heading in headings:
        number = heading in numbers
        table.add_column(
            heading,
            justify="right" if number else "left",
            no_wrap=number,
            overflow="fold",
            min_width=None if number else min(8, max(len(heading), 4)),
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table
