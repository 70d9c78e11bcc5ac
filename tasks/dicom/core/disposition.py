"""What becomes of a received file: the decision table, as a function of facts, and when a dustbin file may be deleted.

The table; the first row that fits decides:

| the file | becomes |
|---|---|
| is disposed; or was kept, quarantined or restored and is not delivered since | what it is |
| is not evaluated, or has a delivery that is planned, under way or due again | waits |
| lies outside the dicom home | kept: it is not ours |
| every delivery is verified, and there is one | dustbin |
| has a dead or conflicting delivery, and `quarantine_on_partial_failure` | quarantine |
| the same, was modified, and `delete_on_partial_failure_if_modified` | dustbin |
| the same | kept |
| no rule matched | dustbin if `delete_unmatched_files`, else kept |
| was modified, goes nowhere, and `delete_on_no_destination` | dustbin |
| anything else | kept |

The former gateway asked for the matching rule before it asked for failures, and took "queued" for "delivered"; both
lost files. The dustbin is not deletion: `refusal` is asked before anything is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tasks.dicom.core.tables import DeliveryState, ReceiptState

#: Deliveries that wait for nobody but a person.
FINAL_DELIVERIES = frozenset({DeliveryState.VERIFIED, DeliveryState.DEAD, DeliveryState.CONFLICT})


class Action(StrEnum):
    """What to do with a file now."""

    #: Nothing; it is where it belongs.
    NOTHING = "nothing"
    #: Nothing yet; ask again when its deliveries have ended.
    WAIT = "wait"
    KEEP = "keep"
    DUSTBIN = "dustbin"
    QUARANTINE = "quarantine"


@dataclass(frozen=True)
class Decision:
    """An action and its reason, for people and for the provenance."""

    action: Action
    reason: str


@dataclass(frozen=True)
class ReceiptFacts:
    """What the decision needs to know of a received file."""

    state: ReceiptState
    #: Whether a rule matched.
    matched: bool
    #: Whether a rule changed the instance.
    modified: bool
    #: Destinations that the rules gave.
    destinations: frozenset[str] = frozenset()
    #: Whether it lies in the dicom home; others are never moved.
    ours: bool = True
    #: Whether a person took it back out of the dustbin.
    restored: bool = False


class DispositionPolicy(Protocol):
    """The settings that the decision needs (`settings().dicom.disposition`)."""

    @property
    def delete_unmatched_files(self) -> bool:
        """Whether files that no rule matched go to the dustbin."""

    @property
    def delete_on_no_destination(self) -> bool:
        """Whether files modified but sent nowhere go to the dustbin."""

    @property
    def quarantine_on_partial_failure(self) -> bool:
        """Whether files with a dead or conflicting delivery go to quarantine."""

    @property
    def delete_on_partial_failure_if_modified(self) -> bool:
        """Whether, without quarantine, modified files with a dead delivery go to the dustbin."""


def unfinished(destinations: frozenset[str], deliveries: Mapping[str, DeliveryState]) -> list[str]:
    """Destinations whose delivery is not planned yet, under way, or due again; sorted."""
    running = {name for name, state in deliveries.items() if state not in FINAL_DELIVERIES}
    return sorted(running | (destinations - deliveries.keys()))


def failed(deliveries: Mapping[str, DeliveryState]) -> list[str]:
    """Destinations whose delivery is dead or in conflict; sorted."""
    return sorted(name for name, state in deliveries.items() if state in (DeliveryState.DEAD, DeliveryState.CONFLICT))


def decide(facts: ReceiptFacts, deliveries: Mapping[str, DeliveryState], policy: DispositionPolicy) -> Decision:
    """Decide what becomes of a received file.

    Args:
        facts: of the file.
        deliveries: state by destination, of the destinations that the rules gave.
        policy: the settings.
    """
    delivered = bool(deliveries) and not unfinished(facts.destinations, deliveries) and not failed(deliveries)
    if facts.state is ReceiptState.DISPOSED:
        return Decision(Action.NOTHING, "already disposed")
    if facts.state in (ReceiptState.KEPT, ReceiptState.QUARANTINED) and (facts.restored or not delivered):
        return Decision(Action.NOTHING, f"already {facts.state.lower()}")
    if facts.state is ReceiptState.RECEIVED:
        return Decision(Action.WAIT, "not evaluated yet")
    if waiting := unfinished(facts.destinations, deliveries):
        return Decision(Action.WAIT, f"not delivered yet: {', '.join(waiting)}")
    if not facts.ours:
        return Decision(Action.KEEP, "processing complete; the file stays where it was read from")
    if delivered:
        return Decision(Action.DUSTBIN, "processing complete: every delivery is verified")
    if lost := failed(deliveries):
        return _partial_failure(facts, ", ".join(lost), policy)
    if not facts.matched:
        action = Action.DUSTBIN if policy.delete_unmatched_files else Action.KEEP
        return Decision(action, "no rule matched")
    if facts.modified and policy.delete_on_no_destination:
        return Decision(Action.DUSTBIN, "modified, and the rules give no destination")
    return Decision(Action.KEEP, "the rules give no destination")


def _partial_failure(facts: ReceiptFacts, where: str, policy: DispositionPolicy) -> Decision:
    reason = f"not delivered: {where}"
    if policy.quarantine_on_partial_failure:
        return Decision(Action.QUARANTINE, reason)
    if facts.modified and policy.delete_on_partial_failure_if_modified:
        return Decision(Action.DUSTBIN, reason)
    return Decision(Action.KEEP, reason)


def refusal(
    destinations: frozenset[str], deliveries: Mapping[str, DeliveryState], *, signed_off: bool, legal_hold: bool
) -> str | None:
    """Why a dustbin file may not be deleted, or None where it may.

    Args:
        destinations: that the rules gave.
        deliveries: state by destination, of every delivery that this file is or was needed for.
        signed_off: whether a person gave up on what is dead; never covers what is still under way.
        legal_hold: whether a person holds the file.
    """
    if legal_hold:
        return "legal hold"
    if waiting := unfinished(destinations, deliveries):
        return f"not delivered yet: {', '.join(waiting)}"
    if (lost := failed(deliveries)) and not signed_off:
        return f"not delivered: {', '.join(lost)}; replay, or sign off"
    return None
