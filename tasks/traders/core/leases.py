"""Who does what only one may do at a time: a row that is taken, renewed while it is needed, and deleted at the end.

A lease that is not renewed is free when its time has passed; the row stays, so that others see that what was done may
be unfinished. `release` deletes it: nothing is.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, update
from sqlmodel import Session, col

from tasks.foundation.core.upsert import insert_unless_present
from tasks.traders.core.tables import Lease

#: The discovery of traders.
DISCOVERY = "discovery"


def take(
    session: Session,
    name: str,
    owner: str,
    now: datetime,
    seconds: float,
    *,
    dead: Callable[[str], bool] = lambda _owner: False,
) -> str:
    """Take a lease if it is free, ran out, is one's own already, or its owner is known to be dead.

    Of any number who try at once, one gets it.

    Args:
        session: the transaction; nothing is committed.
        name: of what only one may do.
        owner: a name that nobody else has, at most 64 characters.
        now: our own clock.
        seconds: how long it is held without being renewed.
        dead: tells owners that will surely not renew it.

    Returns:
        Who holds it now: `owner`, or who was faster.
    """
    until = now + timedelta(seconds=seconds)
    row = {"name": name, "owner": owner, "until_at": until}
    while not insert_unless_present(session, Lease, row, key=("name",)):
        holder = _holder(session, name)
        if holder is None:
            continue
        free = or_(col(Lease.until_at) <= now, col(Lease.owner) == owner)
        if dead(holder.owner):
            free = or_(free, col(Lease.owner) == holder.owner)
        taken = update(Lease).where(col(Lease.name) == name, free).values(owner=owner, until_at=until)
        if session.connection().execute(taken).rowcount:
            break
        holder = _holder(session, name)
        if holder is not None:
            return holder.owner
    return owner


def renew(session: Session, name: str, owner: str, now: datetime, seconds: float) -> bool:
    """Hold a lease for longer; also one that ran out and that nobody has taken since.

    Returns:
        Whether it is still the owner's.
    """
    longer = update(Lease).where(col(Lease.name) == name, col(Lease.owner) == owner)
    values = {"until_at": now + timedelta(seconds=seconds)}
    return session.connection().execute(longer.values(values)).rowcount == 1


def release(session: Session, name: str, owner: str) -> bool:
    """Give a lease back.

    Returns:
        Whether it was still the owner's.
    """
    mine = delete(Lease).where(col(Lease.name) == name, col(Lease.owner) == owner)
    return session.connection().execute(mine).rowcount == 1


def holds(session: Session, name: str, owner: str) -> bool:
    """Whether a lease is the owner's; on PostgreSQL nobody takes it before the end of the transaction."""
    holder = session.get(Lease, name, populate_existing=True, with_for_update={"read": True})
    return holder is not None and holder.owner == owner


def _holder(session: Session, name: str) -> Lease | None:
    return session.get(Lease, name, populate_existing=True)
