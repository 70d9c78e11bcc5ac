"""`quintet dicom dustbin`: look into the dustbin, take files out, hold them, sign them off, clean it.

Files are named by their receipt's id, or by its first characters, as `list` shows it.
"""

from datetime import datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Column, Table

from deployments.errors import ExpectedError

app = typer.Typer(no_args_is_help=True, help="Files that are done with, until their retention ends.")

Key = Annotated[str, typer.Argument(metavar="RECEIPT", help="The receipt's id, or its first characters.")]
Study = Annotated[str | None, typer.Option("--study", help="Only this StudyInstanceUID.")]
Limit = Annotated[int, typer.Option(min=1, help="At most so many.")]


def receipt_id(text: str) -> UUID:
    """The receipt that a person means.

    Raises:
        ExpectedError: none, or more than one.
    """
    from sqlalchemy import String, cast
    from sqlmodel import col, select

    from blocks.engine import session
    from tasks.dicom.core.tables import DOMAIN, Receipt

    # As written by people and by SQLite, which stores no dashes; PostgreSQL's text has them.
    wanted = text.strip().lower().replace("-", "")
    if len(wanted) < 4 or not all(character in "0123456789abcdef" for character in wanted):
        raise ExpectedError(f"{text!r} is no receipt: give its id, or at least its first 4 characters")
    if len(wanted) == 32:
        return UUID(wanted)
    with session(DOMAIN, read_only=True) as opened:
        dashed = opened.connection().dialect.name == "postgresql"
        start = "-".join(filter(None, (wanted[:8], wanted[8:12], wanted[12:16], wanted[16:20], wanted[20:])))
        matching = cast(col(Receipt.id), String).startswith(start if dashed else wanted)
        found = opened.exec(select(Receipt.id).where(matching).limit(2)).all()
    if len(found) != 1:
        raise ExpectedError(f"{'no receipt begins' if not found else 'more than one receipt begins'} with {text!r}")
    return found[0]


def short_id_column() -> Column:
    """A column of ids cut to what names one in practice, in one piece on a narrow screen too."""
    return Column("receipt", no_wrap=True, min_width=8)


def moment(at: datetime | None) -> str:
    """A moment for people, in UTC."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M}Z"


@app.command("list")
def list_files(
    held: Annotated[bool, typer.Option("--held", help="Only what is on legal hold.")] = False,
    study: Study = None,
    limit: Limit = 50,
) -> None:
    """List what lies in the dustbin, the next to be deleted first."""
    from tasks.dicom.dustbin import dustbin_space, list_dustbin

    rows = list_dustbin(held=held, study_instance_uid=study, limit=limit)
    table = Table(short_id_column(), "SOP Instance UID", "bytes", "binned", "kept until", "hold", "why it is here")
    for column in table.columns[1:]:
        column.overflow = "fold"
    for entry, receipt in rows:
        hold = (entry.legal_hold_reason or "yes") if entry.legal_hold else ""
        kept = moment(entry.retention_until) + (f", marked {moment(entry.marked_at)}" if entry.marked_at else "")
        cells = [moment(entry.binned_at), kept, hold, entry.reason]
        table.add_row(receipt.id.hex[:8], receipt.sop_instance_uid or "", str(entry.size), *cells)
    room = dustbin_space()
    console = Console()
    if rows:
        console.print(table)
    console.print(
        f"{len(rows)} of {room.files} files shown; the dustbin takes {room.taken:,} bytes, "
        f"{room.free:,} of {room.total:,} are free on its disk"
    )


@app.command()
def restore(
    receipt: Key,
    to: Annotated[
        Path | None, typer.Option("--to", help="Write a copy here (a new file, or a folder) and leave the file.")
    ] = None,
) -> None:
    """Take a file back into the spool, where it is kept; or, with --to, hand out a copy."""
    from tasks.dicom.core.durable_files import FileLostError, NameTakenError
    from tasks.dicom.core.dustbin import DustbinError
    from tasks.dicom.dustbin import copy_from_dustbin, restore_file

    key = receipt_id(receipt)
    try:
        told = f"restored to {restore_file(key)}" if to is None else f"copied to {copy_from_dustbin(key, to)}"
    except (DustbinError, LookupError, FileLostError, NameTakenError) as error:
        raise ExpectedError(str(error)) from error
    typer.echo(told)


@app.command()
def hold(receipt: Key, reason: Annotated[str, typer.Option("--reason", help="Why; kept in the ledger.")]) -> None:
    """Put a file on legal hold: it is not deleted until released."""
    from tasks.dicom.core.dustbin import DustbinError
    from tasks.dicom.dustbin import hold_file

    key = receipt_id(receipt)
    try:
        hold_file(key, reason)
    except (DustbinError, LookupError) as error:
        raise ExpectedError(str(error)) from error
    typer.echo(f"receipt {key} is on legal hold")


@app.command()
def release(receipt: Key) -> None:
    """End a legal hold; the retention counts as before."""
    from tasks.dicom.core.dustbin import DustbinError
    from tasks.dicom.dustbin import release_file

    key = receipt_id(receipt)
    try:
        entry = release_file(key)
    except (DustbinError, LookupError) as error:
        raise ExpectedError(str(error)) from error
    typer.echo(f"receipt {key} is no longer on hold; kept until {moment(entry.retention_until)}")


@app.command("sign-off")
def sign_off(receipt: Key, by: Annotated[str, typer.Option("--by", help="Who answers for it.")]) -> None:
    """Let a file that was not delivered everywhere be deleted after its retention."""
    from tasks.dicom.core.dustbin import DustbinError
    from tasks.dicom.dustbin import sign_off_file

    key = receipt_id(receipt)
    try:
        entry = sign_off_file(key, by)
    except (DustbinError, LookupError) as error:
        raise ExpectedError(str(error)) from error
    typer.echo(f"receipt {key} was signed off by {entry.signed_off_by}; kept until {moment(entry.retention_until)}")


@app.command()
def clean(
    really: Annotated[bool, typer.Option("--really", help="Mark and delete; without it nothing is changed.")] = False,
) -> None:
    """Delete what was marked long enough and mark what has ended its retention; shows only, unless --really."""
    from tasks.dicom.core.dustbin_cleaning import Outcome
    from tasks.dicom.dustbin import clean_dustbin, finish_dustbin_moves, sweep_dustbin

    if really:
        finish_dustbin_moves.fn()
    findings = {*clean_dustbin.fn(dry_run=not really).findings, *sweep_dustbin.fn(dry_run=not really).findings}
    table = Table("outcome" if really else "outcome (dry run)", "path", "reason")
    for finding in sorted(findings, key=lambda item: (item.outcome, item.path)):
        table.add_row(finding.outcome.value, finding.path, finding.reason)
    Console().print(table if findings else "nothing to mark or delete")
    alarms = sum(finding.outcome is Outcome.ALARM for finding in findings)
    if alarms:
        raise ExpectedError(f"{alarms} files in the dustbin are missing or changed; see the table")
