"""`quintet demo`: the main job of a domain on stand-ins of the outside world, in a scratch home, counted."""

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from deployments.errors import ExpectedError

if TYPE_CHECKING:
    from deployments.demo.result import DemoResult, Report

app = typer.Typer(add_completion=False)

#: Every domain that has a demo.
DOMAINS = ("dicom", "league", "traders")


@app.command()
def demo(
    domains: Annotated[
        list[str] | None, typer.Argument(help=f"Which domains: {', '.join(DOMAINS)}. All of them when none is named.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the server and the scratch home until Ctrl-C, to look around.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object as the last line, keyed by domain.")
    ] = False,
) -> None:
    """Run the main job of each domain on stand-ins of the outside world, and count what came out.

    Nothing of yours is touched: the home is a scratch folder, the peers are local. The exit code is 1 if any count does
    not add up: `lost` are expected effects that are absent at the end, `duplicates` are effects beyond one.
    """
    chosen = tuple(dict.fromkeys(domains or DOMAINS))
    if unknown := [name for name in chosen if name not in DOMAINS]:
        raise ExpectedError(f"no demo of {', '.join(unknown)}; there is one of: {', '.join(DOMAINS)}")
    console = Console(stderr=as_json)
    with _scratch_home() as scratch:
        results = _run(chosen, scratch, console, keep=keep, as_json=as_json)
    if not all(result.ok for result in results):
        raise typer.Exit(1)


@contextmanager
def _scratch_home() -> Iterator[Path]:
    """A home that nothing else uses, as this process and its children see it."""
    scratch = Path(tempfile.mkdtemp(prefix="quintet-demo-"))
    # A database, a server or a profile of the user's must not be touched.
    for name in [name for name in os.environ if name.startswith(("QUINTET_", "PREFECT_"))]:
        if name != "QUINTET_DEBUG":
            del os.environ[name]
    os.environ["QUINTET_HOME"] = str(scratch / "home")
    os.environ["PREFECT_HOME"] = str(scratch / "home" / "prefect")
    from blocks.settings import settings

    settings.cache_clear()
    # So that the scratch home goes as well when a supervisor ends us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run(domains: tuple[str, ...], scratch: Path, console: Console, *, keep: bool, as_json: bool) -> "list[DemoResult]":
    from blocks.settings import settings
    from deployments.up import Stack

    jobs = [import_module(f"deployments.demo.{domain}") for domain in domains]
    results = []
    with ExitStack() as stack:
        with _progress(console) as report:
            report("start the stand-ins", 0, 0)
            sandboxes = [stack.enter_context(job.sandbox(scratch)) for job in jobs]
            # They told the environment where they are.
            settings.cache_clear()
            report("start Prefect and workers", 0, 0)
            running = stack.enter_context(
                Stack.for_demo(listener="dicom" in domains, on_step=lambda step: report(step, 0, 0))
            )
            for job, sandbox in zip(jobs, sandboxes, strict=True):
                results.append(job.run_demo(scratch, sandbox, running, report))
        for result in results:
            _show(result, console, keep=keep)
        if as_json:
            sys.stdout.write(json.dumps({result.domain: result.as_json() for result in results}) + "\n")
            sys.stdout.flush()
        if keep:
            console.print(
                f"\nThe Prefect UI is at {running.ui_url}, the home at {scratch}. Ctrl-C stops.", soft_wrap=True
            )
            running.wait()
    return results


@contextmanager
def _progress(console: Console) -> "Iterator[Report]":
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        shown = progress.add_task("start", total=None)

        def report(step: str, done: int, total: int) -> None:
            # `update` takes no total for one that stays as it was.
            progress.tasks[shown].total = total or None
            progress.update(shown, description=step, completed=done)

        yield report


def _show(result: "DemoResult", console: Console, *, keep: bool) -> None:
    # Not the table's title, which would be folded to its width.
    console.print(f"{result.domain}: {'everything adds up' if result.ok else 'NOT RIGHT'}", style="bold")
    table = Table()
    table.add_column("count")
    table.add_column("", justify="right")
    for name, value in result.as_json().items():
        if name not in ("ok", "ui", "problems"):
            table.add_row(name, str(value))
    console.print(table)
    for problem in result.shown_problems:
        console.print(f"[red]{problem}[/]")
    if keep:
        console.print(f"Prefect UI: {result.ui}", soft_wrap=True)
