"""Deliveries to real peers and folders, through the task, with a real ledger."""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlmodel import col, select, update

from blocks.engine import session
from blocks.folder import Folder
from blocks.settings import settings
from tasks.dicom.core.destinations import Destination, DimseAddress, FolderAddress, Verification
from tasks.dicom.core.tables import (
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    DestinationHealth,
    Output,
)
from tasks.dicom.deliveries import (
    UnknownDestinationError,
    deliver,
    deliver_batch,
    pause_destination,
    replay_deliveries,
    resume_destination,
)
from tasks.dicom.delivery_batch import DeliveryBatch
from tasks.dicom.delivery_outcomes import DeliveryCounts
from tasks.foundation.core.columns import utc_now
from tests.dicom_peers import (
    RunningPeer,
    bundled,
    free_port,
    instance_of,
    make_file,
    running_peer,
)

pytestmark = pytest.mark.usefixtures("ledger")

Outcome = tuple[DeliveryState, str | None]


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between tries; what is waited for is tested with the ledger alone."""
    monkeypatch.setenv("QUINTET_DICOM__DELIVERY__BACKOFF_BASE_SECONDS", "0.000001")
    monkeypatch.setenv("QUINTET_DICOM__DELIVERY__BACKOFF_CAP_SECONDS", "0.00001")
    settings.cache_clear()


def add(paths: Iterable[Path], destination: str = "archive") -> list[UUID]:
    """Outputs and deliveries for files, as evaluation leaves them."""
    ids = []
    now = utc_now()
    with session("dicom") as opened:
        for number, path in enumerate(paths):
            instance = instance_of(path)
            output = Output(
                path=str(path),
                content_sha256=instance.content_sha256,
                sop_class_uid=instance.sop_class_uid,
                sop_instance_uid=instance.sop_instance_uid,
                study_instance_uid=instance.study_instance_uid,
                transfer_syntax_uid=instance.transfer_syntax_uid,
                size=path.stat().st_size,
            )
            opened.add(output)
            opened.flush()
            wanted = Delivery(
                output_id=output.id,
                destination=destination,
                sop_instance_uid=output.sop_instance_uid,
                content_sha256=output.content_sha256,
                created_at=now + timedelta(microseconds=number),
            )
            opened.add(wanted)
            ids.append(wanted.id)
    return ids


def spool(home: Path, count: int, **options: Any) -> list[Path]:
    return [make_file(home / "dicom" / "spool", **options) for _ in range(count)]


def archive(port: int, **fields: Any) -> Destination:
    address = DimseAddress(host="127.0.0.1", port=port, called_ae="SANDBOX", timeout_seconds=5)
    return Destination(name="archive", dimse=address, **fields)


def rows(ids: list[UUID]) -> list[Delivery]:
    with session("dicom", read_only=True) as opened:
        found = {row.id: row for row in opened.exec(select(Delivery).where(col(Delivery.id).in_(ids)))}
    return [found[each] for each in ids]


def states(ids: list[UUID]) -> list[DeliveryState]:
    return [row.state for row in rows(ids)]


def attempts(delivery_id: UUID) -> list[DeliveryAttempt]:
    with session("dicom", read_only=True) as opened:
        wanted = select(DeliveryAttempt).where(DeliveryAttempt.delivery_id == delivery_id)
        return list(opened.exec(wanted.order_by(col(DeliveryAttempt.at))))


def arrivals_of(peer: RunningPeer) -> list[int]:
    return list(peer.contents().values())


@pytest.mark.parametrize("verify", list(Verification))
def test_a_batch_is_sent_once_and_verified(home: Path, tmp_path: Path, verify: Verification) -> None:
    ids = add([*spool(home, 20), bundled("JPEG2000.dcm").path, bundled("MR_small_bigendian.dcm").path])
    with running_peer(tmp_path / "peer") as peer:
        to = archive(peer.port, verify=verify)
        assert deliver(to, ids) == DeliveryCounts(verified=22)
        assert deliver(to, ids) == DeliveryCounts(skipped=22)
        assert arrivals_of(peer) == [1] * 22
        assert set(peer.contents()) == {(row.sop_instance_uid, row.content_sha256) for row in rows(ids)}
    assert {(row.state, row.verified_by, row.lease_owner) for row in rows(ids)} == {
        (DeliveryState.VERIFIED, verify.value, None)
    }


@pytest.mark.parametrize("verify", list(Verification))
def test_a_folder_gets_each_content_once(home: Path, tmp_path: Path, verify: Verification) -> None:
    uid = "1.2.826.0.1.3680043.8.498.7"
    paths = [*spool(home, 3), *spool(home, 1, uid=uid, fill=b"\x03"), *spool(home, 1, uid=uid, fill=b"\x04")]
    ids = add(paths)
    to = Destination(name="archive", folder=FolderAddress(path=tmp_path / "out"), verify=verify)
    assert deliver(to, ids) == DeliveryCounts(verified=5)
    client = Folder(path=tmp_path / "out").get_client()
    assert all(client.holds(instance_of(path)) for path in paths)
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 5


def test_the_task_finds_its_destination_in_the_rules(home: Path, tmp_path: Path) -> None:
    rules = home / "dicom" / "rules"
    rules.mkdir(parents=True)
    (rules / "destinations.yaml").write_text(
        f"destinations:\n  - name: archive\n    folder: {{path: {tmp_path / 'out'}}}\n"
    )
    ids = add(spool(home, 2))
    assert deliver_batch.fn("archive", ids) == DeliveryCounts(verified=2)
    with pytest.raises(UnknownDestinationError, match="Known: archive"):
        deliver_batch.fn("elsewhere", ids)


@pytest.mark.parametrize("fault", ["drop_first", "mute_first"])
def test_a_lost_response_is_verified_and_not_sent_again(home: Path, tmp_path: Path, fault: str) -> None:
    ids = add(spool(home, 4))
    with running_peer(tmp_path / "peer", **{fault: 1}) as peer:
        to = archive(peer.port)
        to = to.model_copy(update={"dimse": to.dimse and to.dimse.model_copy(update={"timeout_seconds": 3})})
        assert deliver(to, ids) == DeliveryCounts(verified=3, unknown=1)
        assert deliver(to, ids) == DeliveryCounts(verified=1, skipped=3)
        assert arrivals_of(peer) == [1] * 4
    (doubtful,) = [row for row in rows(ids) if row.verified_by != "status"]
    assert doubtful.verified_by == "read_back"
    assert [each.state for each in attempts(doubtful.id)] == [DeliveryState.UNKNOWN, DeliveryState.VERIFIED]


def test_what_is_in_doubt_and_absent_is_sent(home: Path, tmp_path: Path) -> None:
    (only,) = ids = add(spool(home, 1))
    with session("dicom") as opened:
        opened.exec(update(Delivery).where(col(Delivery.id) == only).values(state=DeliveryState.UNKNOWN))
    with running_peer(tmp_path / "peer") as peer:
        assert deliver(archive(peer.port), ids) == DeliveryCounts(verified=1)
        assert arrivals_of(peer) == [1]


def test_a_uid_that_is_there_with_other_content_settles_no_doubt(home: Path, tmp_path: Path) -> None:
    uid = "1.2.826.0.1.3680043.8.498.9"
    first, second = add([*spool(home, 1, uid=uid, fill=b"\x01"), *spool(home, 1, uid=uid, fill=b"\x02")])
    # This peer gives nothing back: by C-FIND alone the second would pass for the first.
    with running_peer(tmp_path / "peer", get=False) as peer:
        assert deliver(archive(peer.port), [first]).verified == 1
        with session("dicom") as opened:
            opened.exec(update(Delivery).where(col(Delivery.id) == second).values(state=DeliveryState.UNKNOWN))
        assert deliver(archive(peer.port), [second]).verified == 1
        assert arrivals_of(peer) == [1, 1]


def test_a_refused_instance_is_dead_and_the_others_go_on(home: Path, tmp_path: Path) -> None:
    paths = spool(home, 5)
    ids = add(paths)
    poison = instance_of(paths[1]).sop_instance_uid
    with running_peer(tmp_path / "peer", fail_uids=[poison], fail_status=0xC000) as peer:
        assert deliver(archive(peer.port), ids) == DeliveryCounts(verified=4, dead=1)
    (last,) = attempts(ids[1])
    assert (last.state, last.status) == (DeliveryState.DEAD, 0xC000)
    assert paths[1].exists()


def test_an_instance_that_ends_every_association_does_not_stop_the_others(home: Path, tmp_path: Path) -> None:
    ids = add(spool(home, 6))
    with running_peer(tmp_path / "peer", drop_first=2) as peer:
        assert deliver(archive(peer.port), ids) == DeliveryCounts(verified=4, unknown=2)
        assert arrivals_of(peer) == [1] * 6


def test_a_refusal_for_now_is_retried_until_it_is_dead(home: Path, tmp_path: Path) -> None:
    paths = spool(home, 1)
    ids = add(paths)
    uid = instance_of(paths[0]).sop_instance_uid
    with running_peer(tmp_path / "peer", fail_uids=[uid], fail_status=0xA700) as peer:
        to = archive(peer.port, maximum_attempts=3)
        outcomes = [deliver(to, ids) for _ in range(4)]
    assert outcomes == [
        DeliveryCounts(retry=1),
        DeliveryCounts(retry=1),
        DeliveryCounts(dead=1),
        DeliveryCounts(skipped=1),
    ]
    assert paths[0].exists()


def test_a_destination_that_is_down_opens_its_breaker_and_recovers(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUINTET_DICOM__DELIVERY__BREAKER_FAILURES", "2")
    settings.cache_clear()
    ids, port = add(spool(home, 3)), free_port()
    to = archive(port)
    assert deliver(to, ids) == DeliveryCounts(retry=3)
    assert deliver(to, ids) == DeliveryCounts(retry=3)
    assert deliver(to, ids) == DeliveryCounts(deferred=3)
    assert [len(attempts(each)) for each in ids] == [2, 2, 2]

    # The wait is over, and it is still down: one delivery finds that out, at no cost to itself.
    end_waiting()
    assert deliver(to, ids) == DeliveryCounts(retry=1, deferred=2)
    assert sorted(len(attempts(each)) for each in ids) == [2, 2, 3]
    assert [row.attempts for row in rows(ids)] == [2, 2, 2]

    with running_peer(tmp_path / "peer", port=port) as peer:
        end_waiting()
        assert deliver(to, ids) == DeliveryCounts(verified=3)
        assert arrivals_of(peer) == [1, 1, 1]
    with session("dicom", read_only=True) as opened:
        health = opened.exec(select(DestinationHealth)).one()
    assert (health.failures, health.open_until) == (0, None)


def end_waiting() -> None:
    """As if the time until the next try had passed."""
    past = utc_now() - timedelta(seconds=1)
    with session("dicom") as opened:
        opened.exec(update(Delivery).values(due_at=past))
        opened.exec(update(DestinationHealth).values(open_until=past))


def test_a_peer_without_room_stops_the_batch(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_DICOM__DELIVERY__BREAKER_FAILURES", "2")
    settings.cache_clear()
    ids = add(spool(home, 20))
    with running_peer(tmp_path / "peer", fail_first=2) as peer:
        assert deliver(archive(peer.port), ids) == DeliveryCounts(retry=2, deferred=18)
        assert DeliveryState.SENDING not in states(ids)
        assert [row.attempts for row in rows(ids)] == [1, 1] + [0] * 18
        end_waiting()
        assert deliver(archive(peer.port), ids) == DeliveryCounts(verified=20)
        assert arrivals_of(peer) == [1] * 20


def test_a_paused_destination_gets_nothing(home: Path, tmp_path: Path) -> None:
    ids = add(spool(home, 2))
    with running_peer(tmp_path / "peer") as peer:
        pause_destination("archive")
        assert deliver(archive(peer.port), ids) == DeliveryCounts(deferred=2)
        assert arrivals_of(peer) == []
        resume_destination("archive")
        assert deliver(archive(peer.port), ids) == DeliveryCounts(verified=2)
        assert deliver(archive(peer.port, enabled=False), ids) == DeliveryCounts(deferred=2)


def test_other_content_under_its_uid_is_a_conflict(home: Path, tmp_path: Path) -> None:
    uid = "1.2.826.0.1.3680043.8.498.8"
    ids = add([*spool(home, 1, uid=uid, fill=b"\x01"), *spool(home, 1, uid=uid, fill=b"\x02")])
    with running_peer(tmp_path / "peer", keep="first") as peer:
        to = archive(peer.port, verify=Verification.READ_BACK)
        assert deliver(to, ids) == DeliveryCounts(verified=1, conflict=1)
    assert states(ids) == [DeliveryState.VERIFIED, DeliveryState.CONFLICT]


@pytest.mark.parametrize(("same", "outcome"), [(True, "verified"), (False, "conflict")])
def test_a_duplicate_is_a_success_only_with_the_same_content(
    home: Path, tmp_path: Path, same: bool, outcome: str
) -> None:
    uid = "1.2.826.0.1.3680043.8.498.6"
    there, ours = (
        make_file(home / "there", uid=uid),
        make_file(home / "ours", uid=uid, fill=b"\x01" if same else b"\x02"),
    )
    with running_peer(tmp_path / "peer") as peer:
        before = archive(peer.port).model_copy(update={"name": "before"})
        if same:
            there = ours
        deliver(before, add([there], "before"))
        with session("dicom") as opened:
            opened.exec(update(Output).values(sop_instance_uid="moved away"))
        ids = add([ours])
        peer.behaviour.fail_first, peer.behaviour.fail_status = 1, 0x0111
        assert deliver(archive(peer.port), ids) == DeliveryCounts(**{outcome: 1})
        assert len(peer.contents()) == 1


def test_an_acknowledged_instance_that_is_not_found_is_sent_again(home: Path, tmp_path: Path) -> None:
    (path,) = spool(home, 1)
    ids = add([path])
    with running_peer(tmp_path / "peer") as peer:
        # Says that it stored it, and did not.
        peer.behaviour.fail_first, peer.behaviour.fail_status = 1, 0x0000
        to = archive(peer.port, verify=Verification.C_FIND)
        assert deliver(to, ids) == DeliveryCounts(unknown=1)
        assert deliver(to, ids) == DeliveryCounts(verified=1)
        assert arrivals_of(peer) == [1]


def test_a_peer_that_cannot_be_asked_is_not_taken_at_its_word(home: Path, tmp_path: Path) -> None:
    ids = add(spool(home, 1))
    with running_peer(tmp_path / "peer", find=False, get=False) as peer:
        to = archive(peer.port, verify=Verification.C_FIND, maximum_attempts=2)
        assert [deliver(to, ids), deliver(to, ids)] == [DeliveryCounts(sent=1), DeliveryCounts(dead=1)]
        assert arrivals_of(peer) == [1]
    assert "does not offer" in (rows(ids)[0].reason or "")


def test_a_missing_file_is_tried_again_and_then_dead(home: Path, tmp_path: Path) -> None:
    lost, there = spool(home, 2)
    ids = add([lost, there])
    lost.unlink()
    with running_peer(tmp_path / "peer") as peer:
        to = archive(peer.port, maximum_attempts=2)
        assert deliver(to, ids) == DeliveryCounts(verified=1, retry=1)
        assert deliver(to, ids) == DeliveryCounts(dead=1, skipped=1)
    assert "cannot be read" in (rows(ids)[0].reason or "")


def test_the_dead_are_replayed_with_their_history(home: Path, tmp_path: Path) -> None:
    rules = home / "dicom" / "rules"
    rules.mkdir(parents=True)
    (rules / "destinations.yaml").write_text(
        f"destinations:\n  - name: other\n    folder: {{path: {tmp_path / 'other'}}}\n"
    )
    paths = spool(home, 2)
    ids = add(paths)
    with running_peer(tmp_path / "peer", fail_first=2, fail_status=0xC000) as peer:
        assert deliver(archive(peer.port), ids) == DeliveryCounts(dead=2)
        assert replay_deliveries.fn(ids[:1]) == ids[:1]
        assert deliver(archive(peer.port), ids) == DeliveryCounts(verified=1, skipped=1)
        assert arrivals_of(peer) == [1]
    assert [each.state for each in attempts(ids[0])] == [
        DeliveryState.DEAD,
        DeliveryState.PENDING,
        DeliveryState.SENT,
        DeliveryState.VERIFIED,
    ]
    elsewhere = replay_deliveries.fn(ids[1:], "other")
    assert deliver_batch.fn("other", elsewhere) == DeliveryCounts(verified=1)
    assert states(ids) == [DeliveryState.VERIFIED, DeliveryState.DEAD]
    with pytest.raises(UnknownDestinationError):
        replay_deliveries.fn(ids[1:], "nowhere")


def test_a_programming_error_propagates_and_leaves_no_claim(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = add(spool(home, 3))

    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError

    with running_peer(tmp_path / "peer") as peer:
        with monkeypatch.context() as patched:
            patched.setattr(DeliveryBatch, "_send_over", broken)
            with pytest.raises(ZeroDivisionError):
                deliver(archive(peer.port), ids)
        assert {row.lease_owner for row in rows(ids)} == {None}
        assert deliver(archive(peer.port), ids) == DeliveryCounts(verified=3)
