"""`quintet dicom quarantine`: look at files that could not be processed or delivered, and let them try again."""

import typer
from rich.console import Console
from rich.table import Table

from deployments.commands.dicom_dustbin import Key, Limit, Study, moment, receipt_id, short_id_column
from deployments.errors import ExpectedError

app = typer.Typer(no_args_is_help=True, help="Files that could not be processed or delivered; nothing here is deleted.")


@app.command("list")
def list_files(study: Study = None, limit: Limit = 50) -> None:
    """List what is in quarantine and why, the newest first."""
    from tasks.dicom.quarantine import list_quarantine

    table = Table(short_id_column(), "received", "bytes", "reason", "file")
    for column in table.columns[1:]:
        column.overflow = "fold"
    rows = list_quarantine(study_instance_uid=study, limit=limit)
    for receipt in rows:
        cells = [str(receipt.size), receipt.reason or "", receipt.path]
        table.add_row(receipt.id.hex[:8], moment(receipt.received_at), *cells)
    console = Console()
    if rows:
        console.print(table)
    console.print(f"{len(rows)} files shown" if rows else "nothing in quarantine")


@app.command()
def release(receipt: Key) -> None:
    """Send a file through the rules again, in an association of its own."""
    from tasks.dicom.core.durable_files import FileLostError, NameTakenError
    from tasks.dicom.core.quarantine import QuarantineError
    from tasks.dicom.quarantine import release_from_quarantine

    key = receipt_id(receipt)
    try:
        released = release_from_quarantine(key)
    except (QuarantineError, LookupError, FileLostError, NameTakenError) as error:
        raise ExpectedError(str(error)) from error
    typer.echo(f"receipt {key} is in association {released.association_id}, which the next sweep processes")
    if released.conflicts:
        typer.echo(
            f"{released.conflicts} destinations hold the instance with other content: that has to be settled there"
        )
