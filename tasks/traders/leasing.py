"""Work that only one process may do at a time: a lease in the ledger, held and renewed for as long as the work goes on.

Needs the traders ledger. A process that was killed on this machine is known to be dead at once, one elsewhere when its
lease has run out.
"""

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from sqlalchemy.exc import InterfaceError, OperationalError

from blocks.engine import LedgerUnreadableError, session
from blocks.rate_owners import start_of, this_place
from tasks.foundation.core.columns import utc_now
from tasks.foundation.lifecycle import logger
from tasks.traders.core import leases
from tasks.traders.core.tables import DOMAIN

#: How long a lease is held without being renewed, and how often it is.
LEASE_SECONDS, RENEW_SECONDS = 30.0, 5.0
#: Enough of a place's hash to tell machines apart.
_PLACE = 16


def new_owner() -> str:
    """A name for one piece of work of this process, which nobody else has; others can tell when it is dead."""
    pid = os.getpid()
    return f"{pid}:{start_of(pid) or ''}:{_place()}:{secrets.token_hex(4)}"


def is_dead(owner: str) -> bool:
    """Whether an owner was a process of this machine that is no more. Of others nobody here can tell."""
    match owner.split(":"):
        case [pid, started, place, _] if place == _place() and pid.isdigit():
            return start_of(int(pid)) != started
    return False


def shown(owner: str) -> str:
    """An owner for people."""
    match owner.split(":"):
        case [pid, _, place, _]:
            return f"process {pid} on {'this' if place == _place() else 'another'} machine"
    return "another process"


def _place() -> str:
    return hashlib.sha256(this_place().encode()).hexdigest()[:_PLACE]


class Hold:
    """A lease as it stands for who asked for it."""

    def __init__(self, owner: str, holder: str) -> None:
        self.owner = owner
        #: Who holds it, for people; None where we do.
        self.held_by = None if owner == holder else shown(holder)
        #: Set when somebody else took it because it was not renewed in time.
        self.lost = asyncio.Event()

    @property
    def ours(self) -> bool:
        """Whether the work may go on."""
        return self.held_by is None and not self.lost.is_set()


@asynccontextmanager
async def leased(name: str) -> AsyncIterator[Hold]:
    """Take a lease, renew it in the background, and give it back at the end; look at `ours` before doing anything.

    Args:
        name: of what only one may do, such as `discovery`.

    Raises:
        LedgerError: the database cannot be used.
    """
    owner = new_owner()
    hold = Hold(owner, await asyncio.to_thread(_take, name, owner, utc_now()))
    if not hold.ours:
        yield hold
        return
    renewing = asyncio.create_task(_keep(name, hold))
    try:
        yield hold
    finally:
        renewing.cancel()
        await asyncio.wait([renewing])
        await asyncio.to_thread(_release, name, owner)
    if not renewing.cancelled():
        # It ends by itself only where it failed, or the lease was lost.
        renewing.result()


async def _keep(name: str, hold: Hold) -> None:
    while not hold.lost.is_set():
        await asyncio.sleep(RENEW_SECONDS)
        try:
            if not await asyncio.to_thread(_renew, name, hold.owner, utc_now()):
                hold.lost.set()
        except (LedgerUnreadableError, InterfaceError, OperationalError) as error:
            # There is time for several more tries until it runs out.
            logger().warning("the lease cannot be renewed", lease=name, error=type(error).__name__)


def _take(name: str, owner: str, now: datetime) -> str:
    with session(DOMAIN) as opened:
        return leases.take(opened, name, owner, now, LEASE_SECONDS, dead=is_dead)


def _renew(name: str, owner: str, now: datetime) -> bool:
    with session(DOMAIN) as opened:
        return leases.renew(opened, name, owner, now, LEASE_SECONDS)


def _release(name: str, owner: str) -> None:
    with session(DOMAIN) as opened:
        leases.release(opened, name, owner)
