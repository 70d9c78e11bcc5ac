"""What became of each delivery of a batch, written to the ledger in small groups as the answers come."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from uuid import UUID

from pydantic import BaseModel
from sqlmodel import Session

from blocks.engine import session
from blocks.instance_store import (
    BusyError,
    Instance,
    RefusedError,
    Stored,
    StoreError,
    UnknownOutcomeError,
    UnreachableError,
)
from blocks.settings import DicomDeliverySettings
from tasks.dicom.core import breaker, delivery
from tasks.dicom.core.destinations import Destination, Verification
from tasks.dicom.core.tables import DOMAIN, DeliveryState

# What one ledger transaction covers: a death leaves at most so much in doubt. One commit costs about as long as sending
# one instance of half a megabyte.
GROUP_INSTANCES = 8
# A slow destination's answers do not wait for a whole group.
GROUP_SECONDS = 1.0

_COUNTED = {
    DeliveryState.VERIFIED: "verified",
    DeliveryState.SENT: "sent",
    DeliveryState.RETRY: "retry",
    DeliveryState.UNKNOWN: "unknown",
    DeliveryState.DEAD: "dead",
    DeliveryState.CONFLICT: "conflict",
}


class DeliveryCounts(BaseModel):
    """What became of the deliveries of a batch."""

    verified: int = 0
    #: Acknowledged, to be verified later.
    sent: int = 0
    retry: int = 0
    unknown: int = 0
    dead: int = 0
    conflict: int = 0
    #: Not tried: the destination is paused, disabled, or its breaker open.
    deferred: int = 0
    #: Not tried: not due, or another worker has them.
    skipped: int = 0

    def __add__(self, other: "DeliveryCounts") -> "DeliveryCounts":
        """The counts of both."""
        return DeliveryCounts(**{name: count + getattr(other, name) for name, count in self.model_dump().items()})


class DestinationFailingError(Exception):
    """The breaker opened: nothing more of this batch is tried."""

    def __init__(self, until: datetime) -> None:
        super().__init__(f"the breaker is open until {until}")
        self.until = until


class Outcomes:
    """Takes the outcomes of one batch and writes them; `flush` at the end."""

    def __init__(
        self,
        destination: Destination,
        *,
        owner: str,
        told: DicomDeliverySettings,
        clock: Callable[[], datetime],
        uniform: Callable[[float, float], float],
    ) -> None:
        self.claims: dict[Instance, delivery.Claimed] = {}
        self.became: dict[UUID, DeliveryState] = {}
        #: The destination is being tried after failures: that it is not there is no fault of the instance.
        self.probing = False
        self._to = destination
        self._owner = owner
        self._told = told
        self._now = clock
        self._policy = delivery.Policy(
            backoff_base_seconds=told.backoff_base_seconds,
            backoff_cap_seconds=told.backoff_cap_seconds,
            maximum_attempts=destination.maximum_attempts or told.maximum_attempts,
            uniform=uniform,
        )
        self._waiting: list[Callable[[Session], None]] = []
        self._flushed = time.monotonic()

    def counts(self, *, wanted: int, deferred: int) -> DeliveryCounts:
        """What became of so many wanted deliveries, of which some were deferred."""
        counted = Counter(_COUNTED[state] for state in self.became.values())
        return DeliveryCounts(**counted, deferred=deferred, skipped=wanted - len(self.became) - deferred)

    def stored(self, instance: Instance, stored: Stored) -> bool:
        """It was acknowledged.

        Returns:
            Whether it is still to be verified.
        """
        claim, now, by_status = self.claims[instance], self._now(), self._to.verify is Verification.STATUS

        def write(opened: Session) -> None:
            if delivery.note_sent(opened, claim.id, owner=self._owner, now=now, status=stored.status, note=stored.note):
                self.became[claim.id] = DeliveryState.SENT
                if by_status:
                    delivery.note_verified(opened, claim.id, owner=self._owner, now=now, by=Verification.STATUS.value)
                    self.became[claim.id] = DeliveryState.VERIFIED
            breaker.note_success(opened, self._to.name, now=now)

        self._write_soon(write)
        return not by_status

    def verified(self, instance: Instance, by: Verification) -> None:
        """The destination has it."""
        claim, now = self.claims[instance], self._now()

        def write(opened: Session) -> None:
            if delivery.note_verified(opened, claim.id, owner=self._owner, now=now, by=by.value):
                self.became[claim.id] = DeliveryState.VERIFIED
            breaker.note_success(opened, self._to.name, now=now)

        self._write_soon(write)

    def not_stored(self, instance: Instance, error: StoreError) -> None:
        """Sending failed, though the destination was reached.

        Raises:
            DestinationFailingError: the breaker opened.
        """
        match error:
            case RefusedError():
                self.final(instance, DeliveryState.DEAD, str(error), error)
            case UnknownOutcomeError():
                self.failed(instance, error, DeliveryState.UNKNOWN)
                self._destination_failed(error)
            case BusyError():
                self.failed(instance, error, DeliveryState.RETRY)
                self._destination_failed(error)
            case _:
                self.failed(instance, error, DeliveryState.RETRY)

    def unreachable(self, batch: Iterable[Instance], error: UnreachableError, state: DeliveryState) -> None:
        """The destination was not reached; these are in `state` until the next try.

        Raises:
            DestinationFailingError: the breaker opened.
        """
        for instance in batch:
            self.failed(instance, error, state, counts=not self.probing)
        self._destination_failed(error)

    def failed(self, instance: Instance, error: StoreError, state: DeliveryState, *, counts: bool = True) -> None:
        """A try failed, and another may succeed."""
        claim, now = self.claims[instance], self._now()

        def write(opened: Session) -> None:
            became = delivery.note_failed(
                opened,
                claim.id,
                owner=self._owner,
                now=now,
                state=state,
                status=error.status,
                reason=str(error),
                policy=self._policy,
                counts=counts,
            )
            if became is not None:
                self.became[claim.id] = became

        self._write_soon(write)

    def final(self, instance: Instance, state: DeliveryState, reason: str, error: StoreError | None = None) -> None:
        """It can never succeed as it is."""
        claim, now, status = self.claims[instance], self._now(), error.status if error else None

        def write(opened: Session) -> None:
            if delivery.note_final(
                opened, claim.id, owner=self._owner, now=now, state=state, status=status, reason=reason
            ):
                self.became[claim.id] = state
            # It answered, if not kindly.
            breaker.note_success(opened, self._to.name, now=now)

        self._write_soon(write)

    def _destination_failed(self, error: StoreError) -> None:
        now = self._now()
        opened_until: list[datetime | None] = []
        self.write_next(
            lambda opened: opened_until.append(
                breaker.note_failure(
                    opened,
                    self._to.name,
                    now=now,
                    reason=str(error),
                    limit=self._told.breaker_failures,
                    open_for=timedelta(seconds=self._told.breaker_seconds),
                )
            )
        )
        self.flush()
        if opened_until[0] is not None:
            raise DestinationFailingError(opened_until[0])

    def write_next(self, write: Callable[[Session], None]) -> None:
        """Have something written with the next transaction."""
        self._waiting.append(write)

    def _write_soon(self, write: Callable[[Session], None]) -> None:
        self._waiting.append(write)
        if len(self._waiting) >= GROUP_INSTANCES or time.monotonic() - self._flushed > GROUP_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write down what waits, in one transaction."""
        if self._waiting:
            with session(DOMAIN) as opened:
                for write in self._waiting:
                    write(opened)
            self._waiting.clear()
        self._flushed = time.monotonic()
