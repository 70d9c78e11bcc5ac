"""What a person looks at in the Prefect UI: tables and pictures that a flow leaves on its run.

Outside a flow run (a task called with `.fn`, a script) nothing is created.
"""

import base64
from collections.abc import Sequence
from typing import Any

from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.context import FlowRunContext

#: A table longer than this stalls the browser; the rest is said in the description.
MAXIMUM_ROWS = 1000


async def table(key: str, rows: Sequence[dict[str, Any]], description: str) -> None:
    """Leave a table on the current flow run.

    Args:
        key: lower-case words joined by dashes.
        rows: one mapping a row; shown in this order, at most `MAXIMUM_ROWS`.
        description: Markdown shown above the table.
    """
    if FlowRunContext.get() is None:
        return
    if len(rows) > MAXIMUM_ROWS:
        description += f"\n\nThe first {MAXIMUM_ROWS} of {len(rows)} rows."
    await acreate_table_artifact(table=list(rows[:MAXIMUM_ROWS]), key=key, description=description)


async def markdown(key: str, text: str, description: str | None = None) -> None:
    """Leave a Markdown text on the current flow run."""
    if FlowRunContext.get() is not None:
        await acreate_markdown_artifact(markdown=text, key=key, description=description)


def picture(png: bytes, alternative: str) -> str:
    """A PNG as Markdown with a `data:` address; an image artifact would print the whole address under the picture.

    Args:
        png: the file's bytes.
        alternative: what the picture shows, in words.
    """
    return f"![{alternative}](data:image/png;base64,{base64.b64encode(png).decode()})"
