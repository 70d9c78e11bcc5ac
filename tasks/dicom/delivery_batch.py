"""One batch of deliveries to one destination: claimed, sent, verified, and written down as the answers come.

Three rounds. What may have arrived before is looked for. What is not there is sent, over one association for each part
of the batch. What was acknowledged is verified as its destination demands. A failure of the destination is no error of
the batch: it is the outcome of the deliveries, and counts in the destination's circuit breaker. Anything else
propagates, with the claims given back.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

from blocks.engine import session
from blocks.instance_store import (
    CannotTellError,
    Check,
    DuplicateError,
    Held,
    Instance,
    InstanceStore,
    Sender,
    SourceError,
    StoreError,
    UnknownOutcomeError,
    UnreachableError,
)
from blocks.settings import DicomDeliverySettings
from tasks.dicom.core import breaker, delivery
from tasks.dicom.core.destinations import Destination, Verification
from tasks.dicom.core.header import UnreadableInstanceError, data_set_offset
from tasks.dicom.core.tables import DOMAIN, DeliveryState
from tasks.dicom.delivery_outcomes import GROUP_INSTANCES, DeliveryCounts, DestinationFailingError, Outcomes
from tasks.dicom.lease_keeper import LeaseKeeper
from tasks.foundation.core.columns import utc_now

# What one ledger transaction covers: a death leaves at most so much in doubt. One commit costs about as long as sending
# one instance of half a megabyte.
GROUP_BYTES = 4 * 1024**2


class DeliveryBatch:
    """Delivers a batch; use `run` once."""

    def __init__(
        self,
        destination: Destination,
        store: InstanceStore,
        *,
        home: Path,
        told: DicomDeliverySettings,
        clock: Callable[[], datetime] = utc_now,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._to = destination
        self._store = store
        self._home = home
        self._told = told
        self._now = clock
        self._lease = timedelta(seconds=told.lease_seconds)
        self._owner = uuid4().hex
        self._deferred = 0
        self._outcomes = Outcomes(destination, owner=self._owner, told=told, clock=clock, uniform=uniform)

    def run(self, delivery_ids: Iterable[UUID]) -> DeliveryCounts:
        """Deliver what is due of these.

        Returns:
            What became of them.

        Raises:
            LedgerError: the ledger cannot be used.
        """
        wanted = list(dict.fromkeys(delivery_ids))
        rest = wanted
        while rest and (claimed := self._claim(rest)):
            taken = {claim.id for claim in claimed}
            rest = [each for each in rest if each not in taken]
            self._work(claimed)
        return self._outcomes.counts(wanted=len(wanted), deferred=self._deferred)

    def _claim(self, delivery_ids: Sequence[UUID]) -> list[delivery.Claimed]:
        now = self._now()
        with session(DOMAIN) as opened:
            gate = breaker.gate(opened, self._to.name, now=now)
            if gate.passage in (breaker.Passage.OPEN, breaker.Passage.PAUSED):
                until = gate.until or now + timedelta(seconds=self._told.backoff_cap_seconds)
                delivery.defer(opened, delivery_ids, until=until)
                self._deferred = len(delivery_ids)
                return []
            self._outcomes.probing = probing = gate.passage is breaker.Passage.PROBE
            claimed = delivery.claim(
                opened,
                delivery_ids,
                destination=self._to.name,
                owner=self._owner,
                now=now,
                lease=self._lease,
                limit=1 if probing else None,
            )
            if probing and claimed:
                breaker.take_probe(opened, self._to.name, until=now + self._lease)
            return claimed

    def _work(self, claimed: Sequence[delivery.Claimed]) -> None:
        closed_until: datetime | None = None
        with LeaseKeeper(self._owner, self._lease, self._now):
            try:
                to_send, to_verify = self._look(self._instances(claimed))
                acknowledged = self._send(to_send)
                if self._to.verify is not Verification.STATUS:
                    self._verify([*to_verify, *acknowledged], Check(self._to.verify.value))
            except DestinationFailingError as failing:
                closed_until = failing.until
            finally:
                # Also after an error: what is known by now is written down, and the rest is free for others.
                self._outcomes.flush()
                with session(DOMAIN) as opened:
                    delivery.give_back(opened, owner=self._owner, now=self._now(), due_at=closed_until)
                undone = [claim.id for claim in claimed if claim.id not in self._outcomes.became]
                self._deferred += len(undone) if closed_until else 0

    def _instances(self, claimed: Sequence[delivery.Claimed]) -> list[tuple[Instance, DeliveryState]]:
        found = []
        for claim in claimed:
            path = self._home / claim.path
            offset, trouble = 0, None
            try:
                offset = data_set_offset(path)
            except OSError as error:
                trouble = SourceError(f"the file cannot be read: {error.strerror}")
            except UnreadableInstanceError as error:
                trouble = SourceError(error.reason)
            instance = Instance(
                path=path,
                sop_class_uid=claim.sop_class_uid,
                sop_instance_uid=claim.sop_instance_uid,
                transfer_syntax_uid=claim.transfer_syntax_uid,
                content_sha256=claim.content_sha256,
                data_set_offset=offset,
                study_instance_uid=claim.study_instance_uid,
            )
            self._outcomes.claims[instance] = claim
            if trouble is not None and claim.state is not DeliveryState.SENT:
                doubtful = claim.state is DeliveryState.UNKNOWN
                self._outcomes.failed(instance, trouble, claim.state if doubtful else DeliveryState.RETRY)
            else:
                found.append((instance, claim.state))
        return found

    # First round: what may be there already

    def _look(self, found: Sequence[tuple[Instance, DeliveryState]]) -> tuple[list[Instance], list[Instance]]:
        """Which to send, and which only to verify."""
        to_send = [instance for instance, state in found if state in (DeliveryState.PENDING, DeliveryState.RETRY)]
        to_verify = [instance for instance, state in found if state is DeliveryState.SENT]
        doubtful = [instance for instance, state in found if state is DeliveryState.UNKNOWN]
        if self._to.verify is Verification.STATUS:
            for instance in to_verify:
                self._outcomes.verified(instance, Verification.STATUS)
            to_verify = []
        return [*self._settle_doubts(doubtful), *to_send], to_verify

    def _settle_doubts(self, doubtful: Sequence[Instance]) -> list[Instance]:
        """Those that have to be sent, again or for the first time."""
        left = list(doubtful)
        absent: list[Instance] = []
        for by in (Check.READ_BACK, Check.FIND):
            if not left:
                break
            try:
                for instance, held in self._store.check(tuple(left), by):
                    if held is Held.UNTOLD:
                        continue
                    left.remove(instance)
                    if held is Held.SAME or (held is Held.PRESENT and self._uid_is_enough(instance)):
                        self._outcomes.verified(instance, Verification(by.value))
                    else:
                        absent.append(instance)
            except CannotTellError:
                # Ask in the other way; whoever answers neither gets it again.
                continue
            except UnreachableError as error:
                self._outcomes.unreachable(left, error, DeliveryState.UNKNOWN)
                left = []
        return absent + left

    def _uid_is_enough(self, instance: Instance) -> bool:
        """Whether the UID's being there means that this content is."""
        if self._to.verify is Verification.READ_BACK:
            return False
        with session(DOMAIN, read_only=True) as opened:
            return not delivery.has_other_content(opened, self._outcomes.claims[instance], destination=self._to.name)

    # Second round: send

    def _send(self, batch: Sequence[Instance]) -> list[Instance]:
        """Those that were acknowledged and are to be verified."""
        acknowledged: list[Instance] = []
        duplicates: list[tuple[Instance, DuplicateError]] = []
        for part in self._store.plan(batch):
            rest = deque(part)
            while rest:
                before = len(rest)
                try:
                    with self._store.open(tuple(rest)) as sender:
                        self._send_over(sender, rest, acknowledged, duplicates)
                except UnreachableError as error:
                    if len(rest) == before:
                        self._outcomes.unreachable(rest, error, DeliveryState.RETRY)
                        rest.clear()
        for instance, duplicate in duplicates:
            self._settle_duplicate(instance, duplicate)
        return acknowledged

    def _send_over(
        self,
        sender: Sender,
        rest: deque[Instance],
        acknowledged: list[Instance],
        duplicates: list[tuple[Instance, DuplicateError]],
    ) -> None:
        """Send until all is sent or the association is lost; what was not transmitted stays in `rest`."""
        marked: set[Instance] = set()
        try:
            while rest:
                if rest[0] not in marked:
                    marked = self._mark_group(rest)
                    continue
                instance = rest[0]
                try:
                    stored = sender.send(instance)
                except UnreachableError:
                    raise
                except StoreError as error:
                    rest.popleft()
                    if isinstance(error, DuplicateError):
                        duplicates.append((instance, error))
                    else:
                        self._outcomes.not_stored(instance, error)
                    if isinstance(error, UnknownOutcomeError):
                        return
                else:
                    rest.popleft()
                    if self._outcomes.stored(instance, stored):
                        acknowledged.append(instance)
        finally:
            unsent = [self._outcomes.claims[instance].id for instance in rest if instance in marked]
            if unsent:
                self._outcomes.write_next(lambda opened: delivery.mark_unsent(opened, unsent, owner=self._owner))
                self._outcomes.flush()

    def _mark_group(self, rest: deque[Instance]) -> set[Instance]:
        """Mark the next few as SENDING, in one transaction with what is still to be written; drop what is not ours."""
        group: list[Instance] = []
        size = 0
        for instance in rest:
            group.append(instance)
            size += instance.path.stat().st_size if instance.path.exists() else 0
            if len(group) >= GROUP_INSTANCES or size >= GROUP_BYTES:
                break
        ids = {self._outcomes.claims[instance].id for instance in group}
        ours: set[UUID] = set()
        self._outcomes.write_next(lambda opened: ours.update(delivery.mark_sending(opened, ids, owner=self._owner)))
        self._outcomes.flush()
        for instance in group:
            if self._outcomes.claims[instance].id not in ours:
                rest.remove(instance)
        return {instance for instance in group if self._outcomes.claims[instance].id in ours}

    def _settle_duplicate(self, instance: Instance, duplicate: DuplicateError) -> None:
        try:
            held = next(held for _, held in self._store.check([instance], Check.READ_BACK))
        except UnreachableError as error:
            self._outcomes.unreachable([instance], error, DeliveryState.UNKNOWN)
        except CannotTellError as error:
            self._outcomes.final(
                instance, DeliveryState.CONFLICT, f"{duplicate}; its content cannot be compared: {error}", error
            )
        else:
            if held is Held.SAME:
                self._outcomes.verified(instance, Verification.READ_BACK)
            elif held is Held.UNTOLD:
                reason = f"{duplicate}; its content was not given back"
                self._outcomes.final(instance, DeliveryState.CONFLICT, reason, duplicate)
            else:
                self._outcomes.final(instance, DeliveryState.CONFLICT, f"{duplicate}, with other content", duplicate)

    # Third round: verify

    def _verify(self, batch: Sequence[Instance], by: Check) -> None:
        left = list(batch)
        if not left:
            return
        try:
            for instance, held in self._store.check(tuple(left), by):
                left.remove(instance)
                if held in (Held.SAME, Held.PRESENT):
                    self._outcomes.verified(instance, Verification(by.value))
                elif held is Held.OTHER:
                    reason = "the destination holds other content under this SOP Instance UID"
                    self._outcomes.final(instance, DeliveryState.CONFLICT, reason)
                elif held is Held.UNTOLD:
                    error = StoreError("it was acknowledged, and the destination could not give it back")
                    self._outcomes.failed(instance, error, DeliveryState.SENT)
                else:
                    error = StoreError("it was acknowledged, and the destination does not find it")
                    self._outcomes.failed(instance, error, DeliveryState.UNKNOWN)
        except CannotTellError as error:
            for instance in left:
                self._outcomes.failed(instance, error, DeliveryState.SENT)
        except UnreachableError as error:
            self._outcomes.unreachable(left, error, DeliveryState.SENT)
