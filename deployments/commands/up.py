"""`quintet up`: everything on this machine, in the foreground."""

import json
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from deployments.up import Stack

app = typer.Typer(add_completion=False)


@app.command()
def up(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port of Prefect's server; 0 takes a free one.")
    ] = 4200,
    queue: Annotated[
        list[str] | None,
        typer.Option("--queue", "-q", help="Serve only this work queue (may be repeated); by default all of them."),
    ] = None,
    listener: Annotated[bool, typer.Option(help="Receive DICOM.")] = True,
    workers: Annotated[bool, typer.Option(help="Run flows.")] = True,
    task_worker: Annotated[bool, typer.Option(help="Run background tasks (`task.delay`).")] = True,
    drain_seconds: Annotated[
        float, typer.Option(min=0, help="Time that runs get to finish after Ctrl-C; the rest is marked Crashed.")
    ] = 60,
    recreate_work_pool: Annotated[
        bool, typer.Option("--recreate-work-pool", help="Delete a work pool of another type and make it anew.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON when all is ready, instead of a table.")
    ] = False,
) -> None:
    """Run everything here: Prefect's server, migrations, `apply`, workers and the DICOM listener.

    The server keeps its SQLite database in QUINTET_HOME/prefect and listens on 127.0.0.1 only. If PREFECT_API_URL is
    set, that server is used and none is started. What dies is started again. Ctrl-C ends all of it in order and lets
    runs finish; those that go on until they are stopped are asked to end. A second Ctrl-C does not wait.
    """
    from deployments.up import Stack, StackOptions

    console = Console(stderr=as_json)
    options = StackOptions(
        port=port,
        queues=tuple(queue or ()),
        workers=workers,
        task_worker=task_worker,
        listener=listener,
        drain_seconds=drain_seconds,
        recreate_work_pool=recreate_work_pool,
    )
    stack = Stack(options, on_step=lambda step: _say(console, f"{step} ..."), on_event=lambda text: _say(console, text))

    def on_signal(number: int, frame: object) -> None:
        # Two at once must not meet inside a lock that the first one holds.
        threading.Thread(target=stack.stop).start()

    # Before any child is started: a child inherits what is ignored.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    with stack:
        if as_json:
            sys.stdout.write(json.dumps(_ready(stack)) + "\n")
            sys.stdout.flush()
        else:
            console.print(_table(stack))
            for line in _next(stack):
                _say(console, line)
        stack.wait()
        _say(console, "stopping; once more to not wait for runs")
    _say(console, "stopped")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _ready(stack: "Stack") -> dict[str, object]:
    host, port = stack.listener if stack.options.listener else (None, None)
    return {
        "api": stack.api_url,
        "ui": stack.ui_url,
        "listener": None if host is None else {"host": host, "port": port},
        "pid": os.getpid(),
        "children": {service.name: service.pid for service in stack.services},
    }


def _table(stack: "Stack") -> Table:
    table = Table(title=f"quintet is up: {stack.ui_url}", title_justify="left")
    for heading in ("what", "where", "process"):
        table.add_column(heading, overflow="fold")
    for service in stack.services:
        table.add_row(service.name, service.where, str(service.pid))
    return table


def _next(stack: "Stack") -> list[str]:
    """What a person needs next: paths and an address in one piece, to be copied."""
    from blocks.settings import settings

    root = settings().root
    return [
        f"Logs are in {root / 'logs'}, rules belong in {root / 'dicom' / 'rules'}.",
        # Without it, Prefect's own command would start a server of its own.
        f"For other commands, and Prefect's own: export PREFECT_API_URL={stack.api_url} QUINTET_HOME={root}",
        "Ctrl-C stops all of it.",
    ]
