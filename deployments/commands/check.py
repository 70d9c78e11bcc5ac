"""`quintet check`: what `quintet apply` would change, and what is wrong in the files."""

import asyncio

import typer
from rich.console import Console

from deployments.commands.apply import show

app = typer.Typer(add_completion=False)


@app.command()
def check() -> None:
    """Print the difference between the files and the server, and change nothing.

    Exit code 0: none. 1: `quintet apply` would change something, or no server answers. 2: prefect.yaml or
    automations.yaml is wrong (the line is named).
    """
    from deployments.apply import plan_all

    console = Console()
    changes = asyncio.run(plan_all())
    for change in changes:
        show(console, change)
    if changes:
        told = "1 difference; `quintet apply` removes it"
        if len(changes) > 1:
            told = f"{len(changes)} differences; `quintet apply` removes them"
        console.print(told, highlight=False)
        raise typer.Exit(1)
    console.print("nothing to change")
