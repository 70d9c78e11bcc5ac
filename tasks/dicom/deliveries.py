"""Sends outputs to their destinations, verifies that they arrived, and replays what died.

Needs the rules under `QUINTET_HOME/dicom/rules` for the destinations, the dicom ledger, and block documents for
destinations that name one. Callers hold the limit `dicom-deliveries` around `deliver_batch`.
"""

from datetime import timedelta
from pathlib import Path
from typing import cast
from uuid import UUID

from prefect.blocks.core import Block
from prefect.events import emit_event

from blocks.dimse import DimsePeer
from blocks.engine import session
from blocks.folder import Folder
from blocks.instance_store import InstanceStore
from blocks.settings import settings
from tasks.dicom.core import breaker, delivery, replay
from tasks.dicom.core.destinations import Destination
from tasks.dicom.core.rules import load_rules
from tasks.dicom.core.tables import DOMAIN, DestinationHealth
from tasks.dicom.delivery_batch import DeliveryBatch
from tasks.dicom.delivery_outcomes import DeliveryCounts
from tasks.foundation.core.columns import utc_now
from tasks.foundation.retries import DELIVERY

#: Replayed in one transaction; databases take so many parameters and no more.
REPLAY_PAGE = 1000


class UnknownDestinationError(Exception):
    """No destination of this name stands in the rules."""


def destination_named(name: str) -> Destination:
    """A destination of the rules.

    Raises:
        UnknownDestinationError: there is none of this name.
        RulesError: the rules are not valid.
    """
    known = load_rules(settings().domain_home(DOMAIN) / "rules").destinations
    if name not in known:
        raise UnknownDestinationError(
            f"no destination {name!r} in the rules; its deliveries wait. Known: {', '.join(sorted(known)) or 'none'}"
        )
    return known[name]


def store_of(destination: Destination) -> InstanceStore:
    """The client of a destination. A relative folder lies below `QUINTET_HOME`.

    Raises:
        ValueError: it names a block document that does not exist or cannot be used.
    """
    block: DimsePeer | Folder
    if destination.dimse is not None:
        address = destination.dimse
        block = DimsePeer(
            host=address.host,
            port=address.port,
            called_ae=address.called_ae,
            calling_ae=address.calling_ae,
            transfer_syntaxes=address.transfer_syntaxes.value,
            timeout_seconds=address.timeout_seconds,
        )
    elif destination.folder is not None:
        block = Folder(path=_below_home(destination.folder.path))
    else:
        # `Destination` lets only these two kinds of block through.
        block = cast(DimsePeer | Folder, Block.load(cast(str, destination.block)))
    return block.get_client()


def _below_home(path: Path) -> Path:
    return settings().root / path.expanduser()


@DELIVERY.task
def deliver_batch(destination: str, delivery_ids: list[UUID]) -> DeliveryCounts:
    """Send and verify a batch of deliveries to one destination; safe to run twice, also at once.

    Each outcome is in the ledger as soon as it is known. A destination that fails is an outcome, not an error.

    Args:
        destination: its name in the rules.
        delivery_ids: which; those not due, or held by another worker, are skipped.

    Returns:
        What became of them.

    Raises:
        UnknownDestinationError: the rules have no such destination; nothing was changed.
        RulesError: the rules are not valid; nothing was changed.
        LedgerError: the ledger cannot be used.
    """
    failing = _failing(destination)
    counts = deliver(destination_named(destination), delivery_ids)
    resource = {"prefect.resource.id": f"quintet.dicom.destination.{destination}"}
    if failing and not _failing(destination):
        # prefect.yaml: the sweep then delivers what waited, without waiting for the next tick.
        emit_event("quintet.dicom.destination.recovered", resource=resource)
    if counts.dead:
        emit_event("quintet.dicom.delivery.dead", resource=resource, payload={"dead": counts.dead})
    return counts


def _failing(destination: str) -> bool:
    with session(DOMAIN, read_only=True) as opened:
        health = opened.get(DestinationHealth, destination)
        return health is not None and health.open_until is not None


def deliver(destination: Destination, delivery_ids: list[UUID]) -> DeliveryCounts:
    """Like `deliver_batch`, to a destination that need not stand in the rules."""
    told = settings().dicom.delivery
    if not destination.enabled:
        until = utc_now() + timedelta(seconds=told.backoff_cap_seconds)
        with session(DOMAIN) as opened:
            delivery.defer(opened, delivery_ids, until=until)
        return DeliveryCounts(deferred=len(delivery_ids))
    batch = DeliveryBatch(destination, store_of(destination), home=settings().domain_home(DOMAIN), told=told)
    return batch.run(delivery_ids)


@DELIVERY.task
def replay_deliveries(delivery_ids: list[UUID], destination: str | None = None) -> list[UUID]:
    """Make dead deliveries due again, to the same destination or to another; their history stays.

    Args:
        delivery_ids: which; those that are neither dead nor in conflict are left alone.
        destination: another destination's name in the rules.

    Returns:
        The deliveries that are due now, for `deliver_batch`. The sweep delivers them too, unless their file is in
        quarantine.

    Raises:
        UnknownDestinationError: the rules have no such destination; nothing was changed.
    """
    if destination is not None:
        destination_named(destination)
    due: list[UUID] = []
    for start in range(0, len(delivery_ids), REPLAY_PAGE):
        page = delivery_ids[start : start + REPLAY_PAGE]
        with session(DOMAIN) as opened:
            due += replay.replay(opened, page, now=utc_now(), to=destination)
    return due


def pause_destination(destination: str) -> None:
    """Send nothing to a destination until `resume_destination`."""
    with session(DOMAIN) as opened:
        breaker.pause(opened, destination)


def resume_destination(destination: str) -> None:
    """Send to a destination again; what waited for it is due at once."""
    with session(DOMAIN) as opened:
        breaker.resume(opened, destination, now=utc_now())


def give_up_destination(destination: str) -> int:
    """Call all that waits for a destination dead, so that its files go on and it can be replayed elsewhere.

    Returns:
        How many deliveries were given up.
    """
    given_up = 0
    while True:
        with session(DOMAIN) as opened:
            count = replay.give_up(opened, destination, now=utc_now(), limit=REPLAY_PAGE)
        given_up += count
        if count < REPLAY_PAGE:
            return given_up
