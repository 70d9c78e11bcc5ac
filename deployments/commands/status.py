"""`quintet status`: what runs now, or where one run stands."""

import asyncio
import json
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from deployments.status import RunStatus
    from tasks.foundation.progress import Progress

app = typer.Typer(add_completion=False)


@app.command()
def status(
    run: Annotated[
        UUID | None, typer.Argument(help="Id of a flow run or a background task; all that run now where left out.")
    ] = None,
    flow: Annotated[str | None, typer.Option(help="The newest runs of this flow, finished ones too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, or a list of them.")] = False,
) -> None:
    """Show state, step, percent and counts of one run, or of all that run now."""
    from deployments import status as source

    if run is not None:
        found = [asyncio.run(source.run_status(run))]
    elif flow is not None:
        found = asyncio.run(source.runs_of(flow))
    else:
        found = asyncio.run(source.running())
    if as_json:
        objects = [status.model_dump(mode="json") for status in found]
        typer.echo(json.dumps(objects[0] if run is not None else objects))
    elif run is not None:
        Console().print(_details(found[0]))
    elif found:
        Console().print(_table(found))
    else:
        typer.echo("nothing runs now" if flow is None else f"no runs of a flow {flow}")


def _short(progress: "Progress") -> str:
    failed = f", {progress.failed} failed" if progress.failed else ""
    return f"{progress.step} {progress.percent:.0f} % ({progress.processed}/{progress.total}{failed})"


def _details(status: "RunStatus") -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in (
        ("run", f"{status.id} ({status.name})"),
        ("flow", status.flow),
        ("state", status.state),
        ("message", status.message),
        ("started", None if status.started_at is None else f"{status.started_at:%Y-%m-%d %H:%M:%S}Z"),
        ("seconds", f"{status.seconds:.1f}"),
    ):
        if value:
            table.add_row(name, Text(value))
    if status.progress is not None:
        progress = status.progress
        table.add_row("step", f"{progress.step}, {progress.percent:.0f} %")
        table.add_row("counts", f"{progress.processed} of {progress.total} processed, {progress.failed} failed")
        if progress.current:
            table.add_row("current", Text(progress.current))
    return table


def _table(found: "list[RunStatus]") -> Table:
    table = Table(box=None, pad_edge=False)
    # In one piece, to be copied.
    table.add_column("run", no_wrap=True)
    for heading, least in (("flow", 11), ("state", 9), ("progress", 9)):
        table.add_column(heading, overflow="fold", min_width=least)
    table.add_column("s", justify="right", no_wrap=True, min_width=5)
    for status in found:
        progress = status.progress
        table.add_row(
            str(status.id),
            status.flow or "",
            status.state,
            _short(progress) if progress else "",
            f"{status.seconds:.1f}",
        )
    return table
