"""Holds an association for one run: claimed in the ledger, renewed while the run lives, handed back when it ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.exc import DBAPIError

from blocks.engine import LedgerError, session
from blocks.settings import settings
from tasks.dicom.core import dispatch
from tasks.dicom.core.summary import standing
from tasks.dicom.core.tables import DOMAIN, AssociationState
from tasks.foundation.core.columns import utc_now
from tasks.foundation.lifecycle import logger

#: A claim is renewed so often before it would run out.
RENEWALS = 4


class ClaimLostError(Exception):
    """Another run took the association over, since this one did not renew its claim in time."""


class Claim:
    """One run's hold on an association."""

    def __init__(self, association_id: UUID, owner: str) -> None:
        self.association_id = association_id
        self.owner = owner
        self.lost = False
        self._held_until = utc_now()

    @property
    def lease(self) -> timedelta:
        """How long a claim lasts unless renewed."""
        return timedelta(seconds=settings().dicom.delivery.lease_seconds)

    def take(self) -> bool:
        """Claim the association; False where it is done, still open, or held by a living run."""
        now = utc_now()
        with session(DOMAIN) as opened:
            taken = dispatch.claim(opened, self.association_id, owner=self.owner, now=now, lease=self.lease)
        self._held_until = now + self.lease
        return taken is not None

    def renew(self) -> None:
        """Lengthen the claim, or find that it is lost."""
        now = utc_now()
        with session(DOMAIN) as opened:
            self.lost = not dispatch.renew(opened, self.association_id, owner=self.owner, now=now, lease=self.lease)
        self._held_until = now + self.lease

    def check(self) -> None:
        """Stop a run that lost its claim before it does more.

        Raises:
            ClaimLostError: another run has the association.
        """
        if self.lost:
            raise ClaimLostError(f"association {self.association_id} was taken over by another run; it does the rest")

    def release(self, state: AssociationState, due_at: datetime | None = None) -> None:
        """Hand the association back in this state; without effect where the claim is gone."""
        with session(DOMAIN) as opened:
            dispatch.release(opened, self.association_id, owner=self.owner, state=state, due_at=due_at)

    def finish(self) -> bool:
        """Hand the association back as DONE; False where there is something to do after all, as after a replay."""
        with session(DOMAIN) as opened:
            # Locks the row, so that nobody wakes the association between our look and our commit.
            held = dispatch.renew(opened, self.association_id, owner=self.owner, now=utc_now(), lease=self.lease)
            self.lost = not held
            if not held or not standing(opened, self.association_id).done:
                return False
            return dispatch.release(opened, self.association_id, owner=self.owner, state=AssociationState.DONE)

    async def _keep(self) -> None:
        while not self.lost:
            await asyncio.sleep(self.lease.total_seconds() / RENEWALS)
            try:
                await asyncio.to_thread(self.renew)
            except (LedgerError, DBAPIError) as error:
                # The ledger may answer again before the claim runs out.
                logger(association=str(self.association_id)).warning("cannot renew the claim", error=str(error))
                self.lost = utc_now() >= self._held_until


@asynccontextmanager
async def claimed(association_id: UUID, owner: str) -> AsyncIterator[Claim | None]:
    """Hold an association; gives None where it is not to be had.

    A run that fails before it has released the claim hands the association back as READY, for the sweep to retry.
    """
    claim = Claim(association_id, owner)
    if not claim.take():
        yield None
        return
    keeper = asyncio.create_task(claim._keep())
    try:
        yield claim
    finally:
        keeper.cancel()
        try:
            with suppress(asyncio.CancelledError):
                await keeper
        finally:
            claim.release(AssociationState.READY)
