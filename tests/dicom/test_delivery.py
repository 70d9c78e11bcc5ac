"""The ledger's side of deliveries: claims, outcomes, the breaker and replay, on SQLite and PostgreSQL."""

import threading
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlmodel import Session, col, select

from blocks.engine import session
from tasks.dicom.core import breaker, delivery, replay
from tasks.dicom.core.tables import (
    Association,
    AssociationState,
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    DestinationHealth,
    Output,
    Receipt,
    ReceiptState,
    SourceType,
)
from tasks.foundation.core.backoff import full_jitter

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEASE = timedelta(seconds=60)
POLICY = delivery.Policy(
    backoff_base_seconds=10, backoff_cap_seconds=100, maximum_attempts=3, uniform=lambda _low, high: high
)

pytestmark = pytest.mark.usefixtures("ledger")


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def add_deliveries(count: int, *, destination: str = "archive", uid: str = "1.2.3") -> list[UUID]:
    """An association whose files have one delivery each."""
    with session("dicom") as opened:
        association = Association(source_type=SourceType.DIMSE_LISTENER, state=AssociationState.DONE)
        opened.add(association)
        opened.flush()
        ids = []
        for number in range(count):
            sha = f"{uid}-{number}".encode().hex().ljust(64, "0")
            output = Output(
                path=f"spool/{uid}-{number}.dcm",
                content_sha256=sha,
                sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                sop_instance_uid=f"{uid}.{number}",
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                size=1,
            )
            opened.add(output)
            opened.flush()
            opened.add(
                Receipt(
                    association_id=association.id,
                    path=output.path,
                    size=1,
                    content_sha256=sha,
                    state=ReceiptState.EVALUATED,
                    output_id=output.id,
                    destinations=[destination],
                )
            )
            wanted = Delivery(
                output_id=output.id,
                destination=destination,
                sop_instance_uid=output.sop_instance_uid,
                content_sha256=sha,
                due_at=NOW,
                created_at=later(number - 1000),
            )
            opened.add(wanted)
            ids.append(wanted.id)
        return ids


def claim(ids: list[UUID], owner: str, *, now: datetime = NOW, limit: int | None = None) -> list[delivery.Claimed]:
    with session("dicom") as opened:
        return delivery.claim(opened, ids, destination="archive", owner=owner, now=now, lease=LEASE, limit=limit)


def row(delivery_id: UUID) -> Delivery:
    with session("dicom", read_only=True) as opened:
        return opened.exec(select(Delivery).where(Delivery.id == delivery_id)).one()


def history(delivery_id: UUID) -> list[DeliveryState]:
    with session("dicom", read_only=True) as opened:
        attempts = select(DeliveryAttempt).where(DeliveryAttempt.delivery_id == delivery_id)
        return [each.state for each in opened.exec(attempts.order_by(col(DeliveryAttempt.at)))]


def fail(opened: Session, delivery_id: UUID, owner: str, now: datetime, *, counts: bool = True) -> DeliveryState | None:
    return delivery.note_failed(
        opened,
        delivery_id,
        owner=owner,
        now=now,
        state=DeliveryState.RETRY,
        status=0xA700,
        reason="out of resources",
        policy=POLICY,
        counts=counts,
    )


def test_a_claim_keeps_others_out_until_it_ends() -> None:
    ids = add_deliveries(3)
    assert [each.id for each in claim(ids, "first")] == ids
    assert claim(ids, "second") == []
    assert claim(ids, "second", now=later(59)) == []
    assert [each.id for each in claim(ids, "second", now=later(61))] == ids


def test_a_renewed_claim_keeps_them_out_longer() -> None:
    ids = add_deliveries(2)
    claim(ids, "first")
    with session("dicom") as opened:
        assert delivery.renew(opened, owner="first", now=later(50), lease=LEASE) == 2
    assert claim(ids, "second", now=later(100)) == []


def test_workers_that_claim_at_once_never_share_a_delivery() -> None:
    ids = add_deliveries(40)
    taken: dict[str, list[UUID]] = {}
    together = threading.Barrier(4)

    def work(owner: str) -> None:
        together.wait()
        taken[owner] = [each.id for each in claim(ids, owner, limit=25)]

    workers = [threading.Thread(target=work, args=(f"worker-{number}",)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    everything = [each for some in taken.values() for each in some]
    assert len(everything) == len(set(everything))
    assert set(everything) <= set(ids)
    for owner, some in taken.items():
        assert {row(each).lease_owner for each in some} <= {owner}


def test_who_died_while_sending_leaves_it_unknown() -> None:
    sent, waiting = add_deliveries(2)
    claim([sent, waiting], "dead")
    with session("dicom") as opened:
        assert delivery.mark_sending(opened, [sent], owner="dead") == {sent}
    states = {each.id: each.state for each in claim([sent, waiting], "next", now=later(61))}
    assert states == {sent: DeliveryState.UNKNOWN, waiting: DeliveryState.PENDING}
    assert history(sent) == [DeliveryState.UNKNOWN]


def test_a_worker_that_was_too_slow_changes_nothing() -> None:
    (only,) = add_deliveries(1)
    claim([only], "slow")
    claim([only], "next", now=later(61))
    with session("dicom") as opened:
        assert delivery.mark_sending(opened, [only], owner="slow") == set()
        assert not delivery.note_sent(opened, only, owner="slow", now=NOW, status=0, note=None)
        assert not delivery.note_verified(opened, only, owner="slow", now=NOW, by="status")
        assert fail(opened, only, "slow", NOW) is None
        delivery.give_back(opened, owner="slow", now=NOW)
    assert (row(only).state, row(only).lease_owner) == (DeliveryState.PENDING, "next")


def test_failures_wait_ever_longer_and_end_dead() -> None:
    (only,) = add_deliveries(1)
    due = []
    now = NOW
    for expected in (DeliveryState.RETRY, DeliveryState.RETRY, DeliveryState.DEAD):
        assert claim([only], "worker", now=now)
        with session("dicom") as opened:
            assert fail(opened, only, "worker", now) is expected
        due.append((row(only).due_at - now).total_seconds())
        assert claim([only], "worker", now=row(only).due_at - timedelta(seconds=1)) == []
        now = row(only).due_at
    assert due == [10, 20, 40]
    assert claim([only], "worker", now=now + timedelta(days=1)) == []
    assert history(only) == [DeliveryState.RETRY, DeliveryState.RETRY, DeliveryState.DEAD]
    assert "given up after 3 attempts" in (row(only).reason or "")


def test_a_failed_probe_is_no_attempt() -> None:
    (only,) = add_deliveries(1)
    for number in range(5):
        now = later(1000 * number)
        claim([only], "worker", now=now)
        with session("dicom") as opened:
            assert fail(opened, only, "worker", now, counts=False) is DeliveryState.RETRY
    assert row(only).attempts == 0
    assert len(history(only)) == 5


def test_verified_is_final() -> None:
    (only,) = add_deliveries(1)
    claim([only], "worker")
    with session("dicom") as opened:
        assert delivery.note_sent(opened, only, owner="worker", now=NOW, status=0, note=None)
        assert delivery.note_verified(opened, only, owner="worker", now=later(1), by="c_find")
    done = row(only)
    assert (done.state, done.verified_by, done.sent_at, done.lease_owner) == (
        DeliveryState.VERIFIED,
        "c_find",
        NOW,
        None,
    )
    assert claim([only], "worker", now=later(10_000)) == []


def test_what_is_given_back_is_free_and_what_was_in_flight_is_unknown() -> None:
    flying, waiting = add_deliveries(2)
    claim([flying, waiting], "worker")
    with session("dicom") as opened:
        delivery.mark_sending(opened, [flying], owner="worker")
        assert delivery.give_back(opened, owner="worker", now=NOW, due_at=later(30)) == 2
    assert (row(flying).state, row(waiting).state) == (DeliveryState.UNKNOWN, DeliveryState.PENDING)
    assert claim([flying, waiting], "next", now=later(29)) == []
    assert len(claim([flying, waiting], "next", now=later(30))) == 2


def test_due_deliveries_are_those_of_the_association_and_the_destination() -> None:
    ours = add_deliveries(2, uid="1.1")
    others = add_deliveries(1, uid="1.2", destination="other")
    with session("dicom", read_only=True) as opened:
        association_id = opened.exec(
            select(Receipt.association_id)
            .join(Delivery, col(Delivery.output_id) == Receipt.output_id)
            .where(Delivery.id == ours[0])
        ).one()
        due = delivery.due_deliveries(opened, now=NOW, association_id=association_id)
        assert {each.id for each in due} == set(ours)
        assert [each.id for each in delivery.due_deliveries(opened, now=NOW, destination="other")] == others
        assert delivery.due_deliveries(opened, now=later(-1)) == []


# Breaker


def note_failure(now: datetime) -> datetime | None:
    with session("dicom") as opened:
        return breaker.note_failure(
            opened, "archive", now=now, reason="no answer", limit=3, open_for=timedelta(seconds=60)
        )


def passage(now: datetime) -> breaker.Passage:
    with session("dicom") as opened:
        return breaker.gate(opened, "archive", now=now).passage


def test_the_breaker_opens_lets_one_probe_through_and_closes() -> None:
    assert passage(NOW) is breaker.Passage.CLOSED
    assert [note_failure(NOW), note_failure(NOW), note_failure(NOW)] == [None, None, later(60)]
    assert passage(later(59)) is breaker.Passage.OPEN
    assert passage(later(60)) is breaker.Passage.PROBE
    with session("dicom") as opened:
        breaker.take_probe(opened, "archive", until=later(120))
    # Only one; and when its worker dies, another may after a while.
    assert passage(later(61)) is breaker.Passage.OPEN
    assert passage(later(120)) is breaker.Passage.PROBE
    # The probe fails: open at once, with no further failures needed.
    assert note_failure(later(121)) == later(181)
    assert passage(later(180)) is breaker.Passage.OPEN
    with session("dicom") as opened:
        breaker.note_success(opened, "archive", now=later(190))
    assert passage(later(190)) is breaker.Passage.CLOSED
    assert note_failure(later(191)) is None


def test_success_starts_the_count_anew() -> None:
    note_failure(NOW)
    note_failure(NOW)
    with session("dicom") as opened:
        breaker.note_success(opened, "archive", now=NOW)
    assert [note_failure(NOW), note_failure(NOW)] == [None, None]


def test_a_paused_destination_gets_nothing_until_resumed() -> None:
    ids = add_deliveries(2)
    with session("dicom") as opened:
        breaker.pause(opened, "archive")
        delivery.defer(opened, ids, until=later(600))
    assert passage(later(10_000)) is breaker.Passage.PAUSED
    with session("dicom") as opened:
        breaker.resume(opened, "archive", now=later(5))
    assert passage(later(5)) is breaker.Passage.CLOSED
    assert len(claim(ids, "worker", now=later(5))) == 2


def test_the_first_to_ask_about_a_destination_may_be_several() -> None:
    together = threading.Barrier(4)
    answers = []

    def ask() -> None:
        together.wait()
        answers.append(passage(NOW))

    workers = [threading.Thread(target=ask) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert answers == [breaker.Passage.CLOSED] * 4
    with session("dicom", read_only=True) as opened:
        assert len(opened.exec(select(DestinationHealth)).all()) == 1


# Replay


def kill(delivery_id: UUID, *, doubtful: bool = False) -> None:
    claim([delivery_id], "worker")
    with session("dicom") as opened:
        if doubtful:
            delivery.note_sent(opened, delivery_id, owner="worker", now=NOW, status=0, note=None)
        delivery.note_final(
            opened, delivery_id, owner="worker", now=NOW, state=DeliveryState.DEAD, status=0xC000, reason="refused"
        )


def test_a_dead_delivery_is_replayed_with_its_history() -> None:
    (only,) = add_deliveries(1)
    kill(only)
    with session("dicom") as opened:
        assert [each.id for each in replay.dead_deliveries(opened)] == [only]
        assert replay.replay(opened, [only], now=later(5)) == [only]
    revived = row(only)
    assert (revived.state, revived.attempts, revived.due_at) == (DeliveryState.PENDING, 0, later(5))
    assert history(only) == [DeliveryState.DEAD, DeliveryState.PENDING]
    with session("dicom", read_only=True) as opened:
        association = opened.exec(select(Association)).one()
    assert (association.state, association.due_at) == (AssociationState.WAITING, later(5))


def test_what_may_have_arrived_is_looked_for_when_replayed() -> None:
    (only,) = add_deliveries(1)
    kill(only, doubtful=True)
    with session("dicom") as opened:
        replay.replay(opened, [only], now=later(5))
    assert row(only).state is DeliveryState.UNKNOWN


def test_a_replay_elsewhere_leaves_the_dead_one_and_is_made_once() -> None:
    (only,) = add_deliveries(1)
    kill(only)
    with session("dicom") as opened:
        (first,) = replay.replay(opened, [only], now=later(5), to="other")
    with session("dicom") as opened:
        assert replay.replay(opened, [only], now=later(6), to="other") == [first]
    assert row(only).state is DeliveryState.DEAD
    assert (row(first).destination, row(first).state) == ("other", DeliveryState.PENDING)
    with session("dicom", read_only=True) as opened:
        assert opened.exec(select(Receipt)).one().destinations == ["archive", "other"]


def test_only_the_dead_are_replayed() -> None:
    (only,) = add_deliveries(1)
    with session("dicom") as opened:
        assert replay.replay(opened, [only], now=later(5)) == []
    assert history(only) == []


def test_jitter_is_full_and_capped() -> None:
    def highest(_low: float, high: float) -> float:
        return high

    def lowest(low: float, _high: float) -> float:
        return low

    bounds = [
        full_jitter(attempt, base_seconds=5, cap_seconds=600, uniform=highest).total_seconds()
        for attempt in (1, 2, 3, 8, 9, 100_000)
    ]
    assert bounds == [5, 10, 20, 600, 600, 600]
    assert full_jitter(4, base_seconds=5, cap_seconds=600, uniform=lowest) == timedelta(0)
    with pytest.raises(ValueError, match="1 or more"):
        full_jitter(0, base_seconds=5, cap_seconds=600, uniform=highest)
