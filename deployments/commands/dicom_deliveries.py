"""`quintet dicom deliveries`: what could not be delivered, and destinations that fail or are paused.

Deliveries are named by their id, or by its first characters, as `list` shows it.
"""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deployments.errors import ExpectedError

app = typer.Typer(no_args_is_help=True, help="What could not be delivered, and destinations that fail or are paused.")

Name = Annotated[str, typer.Argument(metavar="DESTINATION", help="Its name in the rules.")]


@app.command("list")
def list_dead(
    destination: Annotated[str | None, typer.Option(help="Only to this destination.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
) -> None:
    """Show dead deliveries, the oldest first: their files are kept, and `replay` tries them again."""
    from blocks.engine import session
    from tasks.dicom.core.replay import dead_deliveries
    from tasks.dicom.core.tables import DOMAIN

    with session(DOMAIN, read_only=True) as opened:
        rows = dead_deliveries(opened, destination=destination, limit=limit)
    table = Table("delivery", "destination", "instance", "state", "attempts", "reason")
    for row in rows:
        reason = row.reason or ""
        table.add_row(row.id.hex[:8], row.destination, row.sop_instance_uid, row.state, str(row.attempts), reason)
    Console().print(table if rows else "no dead deliveries")


@app.command()
def replay(
    delivery: Annotated[list[str] | None, typer.Argument(help="Which; or --all.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead ones (of --from, where given).")] = False,
    of: Annotated[str | None, typer.Option("--from", help="Only those to this destination.")] = None,
    to: Annotated[str | None, typer.Option(help="Deliver them to this destination instead.")] = None,
) -> None:
    """Make dead deliveries due again, to the same destination or to another; the sweep delivers them."""
    from blocks.engine import session
    from tasks.dicom.core.replay import dead_deliveries
    from tasks.dicom.core.tables import DOMAIN
    from tasks.dicom.deliveries import destination_named, replay_deliveries

    if bool(delivery) == everything:
        raise ExpectedError("name deliveries, or give --all")
    if to is not None:
        destination_named(to)
    with session(DOMAIN, read_only=True) as opened:
        dead = dead_deliveries(opened, destination=of, limit=100_000)
    wanted = [row.id for row in dead]
    if delivery:
        starts = [text.strip().lower().replace("-", "") for text in delivery]
        if short := [text for text in delivery if len(text.strip()) < 4]:
            raise ExpectedError(f"give at least the first 4 characters of a delivery's id, not {short[0]!r}")
        if unknown := [text for text in starts if not any(key.hex.startswith(text) for key in wanted)]:
            raise ExpectedError(f"no dead delivery begins with {', '.join(unknown)}")
        wanted = [key for key in wanted if any(key.hex.startswith(text) for text in starts)]
    due = replay_deliveries.fn(wanted, to)
    Console().print(f"{len(due)} deliveries are due again; the sweep delivers them within a minute.")


@app.command()
def destinations() -> None:
    """Show every destination: whether it works, fails or is paused, and what waits for it."""
    from sqlmodel import func, select

    from blocks.engine import session
    from blocks.settings import settings
    from tasks.dicom.core.rules import load_rules
    from tasks.dicom.core.tables import DOMAIN, Delivery, DestinationHealth
    from tasks.foundation.core.columns import utc_now

    rules = load_rules(settings().domain_home(DOMAIN) / "rules")
    with session(DOMAIN, read_only=True) as opened:
        health = {row.destination: row for row in opened.exec(select(DestinationHealth)).all()}
        counted = opened.exec(
            select(Delivery.destination, Delivery.state, func.count()).group_by(Delivery.destination, Delivery.state)
        ).all()
    table = Table("destination", "state", "deliveries", "last said")
    for name in sorted({*rules.destinations, *health, *(row[0] for row in counted)}):
        counts = ", ".join(f"{number} {state}" for where, state, number in counted if where == name)
        row = health.get(name)
        known = rules.destinations.get(name)
        if known is None:
            state = "not in the rules"
        elif not known.enabled:
            state = "disabled in the rules"
        elif row is not None and row.paused:
            state = "paused"
        elif row is not None and row.open_until is not None and row.open_until > utc_now():
            state = f"failing, tried again {row.open_until:%H:%M:%S}Z"
        else:
            state = "working"
        said = row.last_reason if row is not None and state != "working" else None
        table.add_row(name, state, counts, said or "")
    Console().print(table)


@app.command()
def pause(destination: Name) -> None:
    """Send nothing to a destination until `resume`; what is to be delivered waits."""
    from tasks.dicom.deliveries import destination_named, pause_destination

    destination_named(destination)
    pause_destination(destination)
    Console().print(f"{destination} is paused.")


@app.command()
def resume(destination: Name) -> None:
    """Send to a destination again; what waited is due at once."""
    from tasks.dicom.deliveries import destination_named, resume_destination

    destination_named(destination)
    resume_destination(destination)
    Console().print(f"{destination} is in use again.")


@app.command("give-up")
def give_up(
    destination: Name,
    really: Annotated[bool, typer.Option("--really", help="Do it; without this, nothing is changed.")] = False,
) -> None:
    """Stop waiting for a destination that is gone for good: what waits becomes dead, and can be replayed elsewhere.

    Nothing is deleted. Files with a dead delivery go to quarantine, unless the settings say otherwise.
    """
    from tasks.dicom.deliveries import give_up_destination

    if not really:
        raise ExpectedError(
            f"this calls everything that waits for {destination} dead; give --really, then "
            f"`quintet dicom deliveries replay --all --from {destination} --to ANOTHER`"
        )
    Console().print(f"{give_up_destination(destination)} deliveries to {destination} were given up.")
