"""`quintet apply`: make the server and the databases what the files say."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from deployments.change import Change

app = typer.Typer(add_completion=False)

COLOURS = {"created": "green", "changed": "yellow", "removed": "red"}


@app.command()
def apply(
    recreate_work_pool: Annotated[
        bool,
        typer.Option("--recreate-work-pool", help="Delete a work pool of another type and make it anew."),
    ] = False,
) -> None:
    """Make limits, pools, queues, blocks, variables, automations and deployments what the files say.

    Runs the database migrations first. Prints one line per change; a second run prints `nothing changed`. What is no
    longer declared is removed; what somebody else made is left alone.
    """
    from deployments.apply import apply_all

    console = Console()
    if not asyncio.run(apply_all(report=lambda change: show(console, change), recreate_work_pool=recreate_work_pool)):
        console.print("nothing changed")


def show(console: Console, change: Change) -> None:
    """Print one change on one line."""
    console.print(change.action, style=COLOURS[change.action], end=" ")
    console.print(str(change).removeprefix(f"{change.action} "), markup=False, highlight=False, soft_wrap=True)
