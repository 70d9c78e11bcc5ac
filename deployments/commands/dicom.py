"""`quintet dicom`: look at rules, hand files in, and look after deliveries, the dustbin and the quarantine."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deployments.commands import dicom_deliveries, dicom_dustbin, dicom_quarantine
from deployments.errors import ExpectedError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="The DICOM gateway: explain rules, submit files, look after deliveries.",
)
app.add_typer(dicom_deliveries.app, name="deliveries")
app.add_typer(dicom_dustbin.app, name="dustbin")
app.add_typer(dicom_quarantine.app, name="quarantine")


@app.command()
def explain(
    file: Annotated[Path, typer.Argument(help="A DICOM file.")],
    calling_ae: Annotated[str | None, typer.Option(help="As if this AE title had sent it.")] = None,
    called_ae: Annotated[str | None, typer.Option(help="As if it had called this AE title.")] = None,
    source_ip: Annotated[str | None, typer.Option(help="As if it came from this address.")] = None,
    source_type: Annotated[str, typer.Option(help="As if it came in this way.")] = "DIMSE_LISTENER",
    source_id: Annotated[str, typer.Option(help="As if it came from this source.")] = "",
    show_values: Annotated[bool, typer.Option("--show-values", help="Show values that may tell who it is.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say which rules match a file and why, what they would change, and where it would go. Nothing is changed.

    The rules are those in QUINTET_HOME/dicom/rules.
    """
    from blocks.settings import settings
    from tasks.dicom.core.header import UnreadableInstanceError, read_header
    from tasks.dicom.core.rules import Source, load_rules
    from tasks.dicom.core.rules import explain as explained
    from tasks.dicom.core.tables import DOMAIN, SourceType
    from tasks.dicom.crosswalks import open_crosswalks
    from tasks.foundation.core.columns import utc_now

    if source_type not in SourceType.__members__:
        raise ExpectedError(f"no source type {source_type!r}; one of {', '.join(SourceType)}")
    rules = load_rules(settings().domain_home(DOMAIN) / "rules")
    try:
        header = read_header(file)
    except UnreadableInstanceError as error:
        raise ExpectedError(f"{file}: {error.reason}. The gateway would put it into quarantine.") from error
    source = Source(SourceType(source_type), source_id, calling_ae, called_ae, source_ip)
    with open_crosswalks(rules) as crosswalk:
        answer = explained(header.dataset, rules, source, now=utc_now(), crosswalk=crosswalk, show_values=show_values)
    sys.stdout.write((answer.model_dump_json() if as_json else answer.text()) + "\n")


@app.command()
def submit(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders. They stay as they are; copies are processed.")],
    source_id: Annotated[str, typer.Option(help="Which source it was, as rules may ask for it.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Hand DICOM files in: copied durably, then evaluated, delivered and disposed of like received ones.

    It returns when the copies are durable. If Prefect does not answer, they wait in the ledger and are processed later.
    """
    from tasks.dicom.submission import files_in, submit_files

    submission = submit_files(files_in(paths), source_id=source_id)
    console = Console(stderr=as_json)
    for item in submission.refused:
        console.print(f"[red]not taken[/] {item.path}: {item.reason}", soft_wrap=True)
    if submission.association_id is None:
        raise ExpectedError("nothing was taken" if submission.refused else "no files there")
    started = _start(submission.association_id)
    if as_json:
        answer = {
            "association_id": str(submission.association_id),
            "taken": len(submission.paths),
            "refused": [vars(item) for item in submission.refused],
            "run_started": started is None,
        }
        sys.stdout.write(json.dumps(answer) + "\n")
    else:
        console.print(f"{len(submission.paths)} files taken as association {submission.association_id}.")
        console.print("A flow run processes them." if started is None else f"They wait in the ledger: {started}")
    if submission.refused:
        raise typer.Exit(1)


def _start(association_id: object) -> str | None:
    """Start the association's flow run; gives the reason where that is not possible now."""
    from sqlmodel import select

    from blocks.engine import session
    from tasks.dicom.core.tables import DOMAIN, Association
    from tasks.dicom.runs import start_runs

    with session(DOMAIN, read_only=True) as opened:
        association = opened.exec(select(Association).where(Association.id == association_id)).one()
    try:
        start_runs([association])
    except Exception as error:  # noqa: BLE001 - whatever Prefect's client raises, the files are safe and wait
        return f"Prefect does not answer ({type(error).__name__}); `quintet up` or the sweep goes on with them."
    return None
