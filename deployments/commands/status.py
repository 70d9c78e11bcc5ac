"""`quintet status`: what runs now, or where one run stands."""

import asyncio
import json
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from deployments.status import RunStatus

app = typer.Typer()


@app.command()
def status(
    run: Annotated[UUID | None, typer.Argument(help="Id of a flow run; all that run now where left out.")] = None,
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
    elif found:
        Console().print(_table(found))
    else:
        typer.echo("nothing runs now")


def _table(found: "list[RunStatus]") -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("run", "flow", "state", "step"):
        table.add_column(heading, overflow="fold")
    for heading in ("percent", "processed", "failed", "seconds"):
        table.add_column(heading, justify="right")
    for status in found:
        progress = status.progress
        table.add_row(
            str(status.id),
            status.flow,
            status.state,
            progress.step if progress else status.message or "",
            f"{progress.percent:.0f}" if progress else "",
            f"{progress.processed}/{progress.total}" if progress else "",
            str(progress.failed) if progress else "",
            f"{status.seconds:.1f}",
        )
    return table
