"""The decision table, row by row; and what holds for every combination of facts."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.settings import DicomDispositionSettings
from tasks.dicom.core.disposition import (
    FINAL_DELIVERIES,
    Action,
    DispositionPolicy,
    ReceiptFacts,
    decide,
    refusal,
)
from tasks.dicom.core.tables import DeliveryState, ReceiptState

V, D, C, P = DeliveryState.VERIFIED, DeliveryState.DEAD, DeliveryState.CONFLICT, DeliveryState.PENDING
EVALUATED = ReceiptFacts(state=ReceiptState.EVALUATED, matched=True, modified=False)
BOTH = frozenset({"a", "b"})


@dataclass(frozen=True)
class Policy:
    delete_unmatched_files: bool = False
    delete_on_no_destination: bool = False
    quarantine_on_partial_failure: bool = True
    delete_on_partial_failure_if_modified: bool = False


ROWS: list[tuple[str, ReceiptFacts, dict[str, DeliveryState], Policy, Action]] = [
    ("disposed", replace(EVALUATED, state=ReceiptState.DISPOSED), {"a": V}, Policy(), Action.NOTHING),
    ("kept", replace(EVALUATED, state=ReceiptState.KEPT), {}, Policy(delete_unmatched_files=True), Action.NOTHING),
    ("kept, delivered since", replace(EVALUATED, state=ReceiptState.KEPT), {"a": V}, Policy(), Action.DUSTBIN),
    (
        "restored by a person",
        replace(EVALUATED, state=ReceiptState.KEPT, restored=True),
        {"a": V},
        Policy(),
        Action.NOTHING,
    ),
    ("quarantined", replace(EVALUATED, state=ReceiptState.QUARANTINED), {"a": D}, Policy(), Action.NOTHING),
    ("quarantined, replayed", replace(EVALUATED, state=ReceiptState.QUARANTINED), {"a": V}, Policy(), Action.DUSTBIN),
    ("not evaluated", replace(EVALUATED, state=ReceiptState.RECEIVED), {}, Policy(), Action.WAIT),
    ("one delivered, one under way", EVALUATED, {"a": V, "b": P}, Policy(), Action.WAIT),
    ("one dead, one under way", EVALUATED, {"a": D, "b": DeliveryState.UNKNOWN}, Policy(), Action.WAIT),
    ("sent is not verified", EVALUATED, {"a": DeliveryState.SENT}, Policy(), Action.WAIT),
    ("one not planned yet", replace(EVALUATED, destinations=BOTH), {"a": V}, Policy(), Action.WAIT),
    ("not ours", replace(EVALUATED, ours=False), {"a": V}, Policy(), Action.KEEP),
    ("not ours, failed", replace(EVALUATED, ours=False), {"a": D}, Policy(), Action.KEEP),
    ("delivered", replace(EVALUATED, destinations=BOTH), {"a": V, "b": V}, Policy(), Action.DUSTBIN),
    ("one dead", EVALUATED, {"a": V, "b": D}, Policy(), Action.QUARANTINE),
    ("one in conflict", EVALUATED, {"a": V, "b": C}, Policy(), Action.QUARANTINE),
    ("dead, no quarantine", EVALUATED, {"a": D}, Policy(quarantine_on_partial_failure=False), Action.KEEP),
    (
        "dead, no quarantine, deletion wanted but not modified",
        EVALUATED,
        {"a": D},
        Policy(quarantine_on_partial_failure=False, delete_on_partial_failure_if_modified=True),
        Action.KEEP,
    ),
    (
        "dead, no quarantine, deletion wanted",
        replace(EVALUATED, modified=True),
        {"a": D},
        Policy(quarantine_on_partial_failure=False, delete_on_partial_failure_if_modified=True),
        Action.DUSTBIN,
    ),
    (
        "quarantine goes before deletion",
        replace(EVALUATED, modified=True),
        {"a": D},
        Policy(delete_on_partial_failure_if_modified=True),
        Action.QUARANTINE,
    ),
    ("unmatched", replace(EVALUATED, matched=False), {}, Policy(), Action.KEEP),
    ("unmatched, wanted", replace(EVALUATED, matched=False), {}, Policy(delete_unmatched_files=True), Action.DUSTBIN),
    (
        "unmatched is not no destination",
        replace(EVALUATED, matched=False),
        {},
        Policy(delete_on_no_destination=True),
        Action.KEEP,
    ),
    ("no destination", replace(EVALUATED, modified=True), {}, Policy(), Action.KEEP),
    (
        "no destination, wanted",
        replace(EVALUATED, modified=True),
        {},
        Policy(delete_on_no_destination=True),
        Action.DUSTBIN,
    ),
    ("no destination, not modified", EVALUATED, {}, Policy(delete_on_no_destination=True), Action.KEEP),
]


@pytest.mark.parametrize(
    ("facts", "deliveries", "policy", "action"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS]
)
def test_the_table(facts: ReceiptFacts, deliveries: dict[str, DeliveryState], policy: Policy, action: Action) -> None:
    assert decide(facts, deliveries, policy).action is action


def test_the_settings_are_a_policy() -> None:
    policy: DispositionPolicy = DicomDispositionSettings()
    assert decide(EVALUATED, {"a": V}, policy).action is Action.DUSTBIN


names = st.sampled_from(["a", "b", "c"])
facts = st.builds(
    ReceiptFacts,
    state=st.sampled_from(ReceiptState),
    matched=st.booleans(),
    modified=st.booleans(),
    destinations=st.frozensets(names),
    ours=st.booleans(),
    restored=st.booleans(),
)
deliveries = st.dictionaries(names, st.sampled_from(DeliveryState))
policies = st.builds(Policy, st.booleans(), st.booleans(), st.booleans(), st.booleans())


@given(facts, deliveries, policies)
def test_nothing_moves_while_a_delivery_is_under_way(
    of: ReceiptFacts, states: dict[str, DeliveryState], policy: Policy
) -> None:
    under_way = any(state not in FINAL_DELIVERIES for state in states.values()) or of.destinations - states.keys()
    if under_way:
        assert decide(of, states, policy).action in (Action.WAIT, Action.NOTHING)


@given(facts, deliveries, policies)
def test_what_is_not_delivered_is_never_disposed_unless_a_setting_says_so(
    of: ReceiptFacts, states: dict[str, DeliveryState], policy: Policy
) -> None:
    if any(states.get(name) is not V for name in of.destinations | states.keys()):
        action = decide(of, states, replace(policy, delete_on_partial_failure_if_modified=False)).action
        assert action is not Action.DUSTBIN
        # Even where the setting lets it into the dustbin, it is not deleted from there.
        assert refusal(of.destinations, states, signed_off=False, legal_hold=False) is not None


@given(facts, deliveries, policies)
def test_every_decision_gives_its_reason(of: ReceiptFacts, states: dict[str, DeliveryState], policy: Policy) -> None:
    assert decide(of, states, policy).reason


@given(facts, deliveries, policies)
def test_what_is_not_ours_never_moves(of: ReceiptFacts, states: dict[str, DeliveryState], policy: Policy) -> None:
    assert decide(replace(of, ours=False), states, policy).action not in (Action.DUSTBIN, Action.QUARANTINE)


@given(facts, deliveries, policies)
def test_more_permission_never_disposes_of_less(
    of: ReceiptFacts, states: dict[str, DeliveryState], policy: Policy
) -> None:
    if decide(of, states, policy).action is Action.DUSTBIN:
        generous = replace(policy, delete_unmatched_files=True, delete_on_no_destination=True)
        assert decide(of, states, generous).action is Action.DUSTBIN


@given(st.frozensets(names), deliveries)
def test_a_hold_refuses_everything_and_a_signature_only_covers_what_has_ended(
    wanted: frozenset[str], states: dict[str, DeliveryState]
) -> None:
    assert refusal(wanted, states, signed_off=True, legal_hold=True) == "legal hold"
    ended = wanted <= states.keys() and all(state in FINAL_DELIVERIES for state in states.values())
    assert (refusal(wanted, states, signed_off=True, legal_hold=False) is None) == ended
