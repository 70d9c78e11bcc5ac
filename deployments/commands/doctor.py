"""`quintet doctor`: what is wrong here, and what to do about it."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(add_completion=False)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list of findings.")] = False,
) -> None:
    """Look at packages, home, disk, databases, rules, server, clock, workers and ports.

    One line each, with what to do where something is wrong; exit code 1 if anything is.
    """
    from deployments.doctor import examine

    findings = examine()
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        console = Console()
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            console.print("ok   " if finding.ok else "WRONG", style="green" if finding.ok else "bold red", end=" ")
            text = f"{finding.name:<{width}}  {finding.state}" + (f". {finding.advice}" if finding.advice else "")
            console.print(text, markup=False, highlight=False, soft_wrap=True)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
