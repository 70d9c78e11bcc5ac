"""Traders by their addresses, for who asks for one that no trade has shown yet.

Needs the traders ledger. A trader that was asked for is polled by the next tracking like any other.
"""

import asyncio
from datetime import datetime

from pydantic import BaseModel, ConfigDict
from sqlmodel import Session, col, select

from blocks.engine import session
from tasks.foundation.core.columns import utc_now
from tasks.foundation.core.upsert import insert_unless_present
from tasks.foundation.retries import MAINTENANCE
from tasks.traders.core.addresses import normal
from tasks.traders.core.tables import DOMAIN, Trader


class KnownTrader(BaseModel):
    """A trader as the ledger knows one."""

    model_config = ConfigDict(frozen=True)

    id: int
    #: Lower case.
    address: str
    #: It was not known before.
    created: bool
    discovered_at: datetime
    #: Exchange milliseconds of its newest trade; None where none was seen.
    seen_time: int | None
    #: Neither polled nor ranked.
    ignored: bool


@MAINTENANCE.task
async def get_or_create_trader(address: str) -> KnownTrader:
    """Find a trader by address, and make it known where it is not.

    Args:
        address: `0x` and 40 hexadecimal digits, in any case.

    Returns:
        The trader; of any number of callers at once `created` is so for one.

    Raises:
        ValueError: that is no address.
        LedgerError: the database cannot be used.
    """
    return await asyncio.to_thread(_get_or_create, normal(address))


def _get_or_create(address: str) -> KnownTrader:
    # Most who are asked for are known, and a look takes no write lock.
    with session(DOMAIN, read_only=True) as opened:
        found = _find(opened, address)
    created = False
    if found is None:
        with session(DOMAIN) as opened:
            row = Trader(address=address, discovered_at=utc_now()).model_dump(exclude={"id"})
            created = insert_unless_present(opened, Trader, row, key=("address",))
            found = _find(opened, address)
    if found is None or found.id is None:
        raise RuntimeError("a trader that was just stored is not there")
    return KnownTrader(
        id=found.id,
        address=found.address,
        created=created,
        discovered_at=found.discovered_at,
        seen_time=found.seen_time,
        ignored=found.ignored,
    )


def _find(opened: Session, address: str) -> Trader | None:
    return opened.exec(select(Trader).where(col(Trader.address) == address)).first()
