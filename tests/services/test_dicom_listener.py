"""The listener over real associations: what it takes, what it says, what it leaves behind."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import UID, JPEGBaseline8Bit
from pynetdicom import AE

from deployments.services.dicom_listener.contexts import is_storage
from deployments.services.dicom_listener.listener import Listener, ListenerError
from tasks.dicom.core.tables import AssociationState, SourceType
from tests.services.dicom_gateway import Gateway, associations, begin, ended, eventually, receipts
from tests.services.dicom_sender import (
    CT,
    EXPLICIT,
    IMPLICIT,
    VERIFICATION,
    AbortedError,
    RejectedError,
    Sender,
    data_set_of,
)

Start = Callable[..., Gateway]
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
PRIVATE = "1.3.6.1.4.1.99999.1.2"


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    running: list[Gateway] = []

    def starting(**config: Any) -> Gateway:
        running.append(Gateway(**config))
        return running[-1]

    yield starting
    for each in running:
        each.listener.stop(2)


@pytest.fixture
def gateway(start: Start) -> Gateway:
    return start()


def sample(name: str) -> Path:
    return Path(str(get_testdata_file(name, download=False)))


def test_what_is_acknowledged_is_in_the_spool_and_in_the_ledger(gateway: Gateway) -> None:
    data = data_set_of(sample("CT_small.dcm"))
    with Sender(gateway.address, calling="MODALITY1") as sender:
        assert sender.store(data, uid="1.2.3.4") == 0x0000
        (receipt,), (association,) = receipts(), associations()
        assert association.state is AssociationState.OPEN
        sender.release()
    assert ended() == ["released"]
    assert association.source_type is SourceType.DIMSE_LISTENER
    assert (association.calling_ae, association.called_ae, association.source_ip) == (
        "MODALITY1",
        "QUINTET",
        "127.0.0.1",
    )
    assert receipt.content_sha256 == hashlib.sha256(data).hexdigest()
    assert (receipt.sop_class_uid, receipt.sop_instance_uid, receipt.transfer_syntax_uid) == (CT, "1.2.3.4", EXPLICIT)
    assert receipt.study_instance_uid == "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"
    assert receipt.modality == "CT"
    stored = pydicom.dcmread(gateway.home / receipt.path)
    assert stored.file_meta.TransferSyntaxUID == EXPLICIT
    assert stored.file_meta.SourceApplicationEntityTitle == "MODALITY1"
    assert stored.PatientID == pydicom.dcmread(sample("CT_small.dcm")).PatientID


@pytest.mark.parametrize(
    "name",
    [
        "MR_small.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_RLE.dcm",
        "MR_small_implicit.dcm",
        "image_dfl.dcm",
        "SC_rgb_jpeg_dcmtk.dcm",
        "JPEG2000.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "rtplan.dcm",
        "test-SR.dcm",
    ],
)
def test_every_syntax_is_taken_byte_for_byte(gateway: Gateway, name: str) -> None:
    meta = pydicom.dcmread(sample(name), stop_before_pixels=True).file_meta
    sop_class, syntax = str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
    data = data_set_of(sample(name))
    with Sender(gateway.address, [(sop_class, [syntax])]) as sender:
        assert sender.accepted == {1: syntax}
        assert sender.store(data, uid=str(meta.MediaStorageSOPInstanceUID), sop_class=sop_class) == 0x0000
        sender.release()
    (receipt,) = receipts()
    assert data_set_of(gateway.home / receipt.path) == data
    assert receipt.transfer_syntax_uid == syntax
    assert receipt.study_instance_uid == str(pydicom.dcmread(sample(name)).StudyInstanceUID)


def test_storage_of_anything_is_accepted_and_other_services_are_not(gateway: Gateway) -> None:
    unknown = "1.2.840.10008.5.1.4.1.1.999.7"
    proposed = [(CT, [EXPLICIT]), (PRIVATE, [IMPLICIT]), (unknown, [EXPLICIT]), (FIND, [EXPLICIT]), (CT, ["1.2.3.9"])]
    with Sender(gateway.address, [*proposed, (VERIFICATION, [IMPLICIT])]) as sender:
        assert sorted(sender.accepted) == [1, 3, 5, 11]
        assert sender.store(b"", sop_class=PRIVATE, context=3) == 0x0000
        assert sender.store(b"no data set", sop_class=unknown, context=5) == 0x0000
        sender.release()
    assert [row.sop_class_uid for row in receipts()] == [PRIVATE, unknown]


@pytest.mark.parametrize(
    ("uid", "storage"),
    [
        ("1.2.840.10008.5.1.4.1.1.2.2", True),
        ("1.2.840.10008.5.1.4.1.1.5", True),
        ("1.2.840.10008.5.1.4.39.1", True),  # colour palettes
        ("1.2.840.10008.5.1.4.39.2", False),  # and the query for them
        ("1.2.840.10008.1.20.1", False),
        ("1.2.840.10008.1.20.2", False),
        ("1.2.840.10008.5.1.4.31", False),
    ],
)
def test_what_counts_as_storage(uid: str, storage: bool) -> None:
    assert is_storage(UID(uid)) is storage


def test_the_senders_first_known_syntax_is_taken(gateway: Gateway) -> None:
    with Sender(gateway.address, [(CT, ["1.2.3.9", str(JPEGBaseline8Bit), EXPLICIT])]) as sender:
        assert sender.accepted == {1: str(JPEGBaseline8Bit)}
        sender.release()


def test_pynetdicom_talks_to_it(gateway: Gateway) -> None:
    entity = AE("SCU")
    entity.add_requested_context(CT)
    entity.add_requested_context(VERIFICATION)
    association = entity.associate(*gateway.address)
    assert association.is_established
    assert association.send_c_echo().Status == 0x0000
    assert association.send_c_store(pydicom.dcmread(sample("CT_small.dcm"))).Status == 0x0000
    association.release()
    assert association.is_released
    assert ended() == ["released"]


def test_an_echo_leaves_no_batch(gateway: Gateway) -> None:
    entity = AE("SCU")
    entity.add_requested_context(VERIFICATION)
    association = entity.associate(*gateway.address)
    assert association.send_c_echo().Status == 0x0000
    association.release()
    eventually(lambda: not gateway.listener.connections)
    assert associations() == []


@pytest.mark.parametrize("how", ["abort", "vanish", "vanish within a data set"])
def test_an_association_that_breaks_keeps_what_was_acknowledged(gateway: Gateway, how: str) -> None:
    with Sender(gateway.address) as sender:
        assert sender.store(b"first", uid="1.1") == 0x0000
        if how != "abort":
            sender.command(uid="1.2")
            if how == "vanish within a data set":
                sender.data(b"half", last=False)
        else:
            sender.abort()
    assert ended() == ["aborted"]
    eventually(lambda: not gateway.listener.connections)
    (receipt,) = receipts()
    assert gateway.spooled() == [f"{receipt.id}.dcm"]


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ({"uid": "1.2.x"}, 0xC000),
        ({"uid": "1." * 32 + "11"}, 0xC000),
        ({"uid": "../../etc/passwd"}, 0xC000),
        ({"uid": None}, 0xC000),
        ({"sop_class": None}, 0xC000),
        ({"message_id": False}, 0xC000),
        ({"sop_class": "1.2.840.10008.5.1.4.1.1.4"}, 0xA900),
        ({"sop_class": VERIFICATION, "context": 3}, 0x0122),
    ],
)
def test_a_bad_command_is_answered_and_the_association_goes_on(
    gateway: Gateway, command: dict[str, Any], status: int
) -> None:
    with Sender(gateway.address, [(CT, [EXPLICIT]), (VERIFICATION, [IMPLICIT])]) as sender:
        sender.command(**command)
        sender.data(b"data", context=command.get("context", 1))
        assert sender.status() == status
        assert sender.store(b"good") == 0x0000
        sender.release()
    assert len(receipts()) == 1
    assert len(gateway.spooled()) == 1


def test_a_request_without_a_data_set_is_not_understood(gateway: Gateway) -> None:
    with Sender(gateway.address) as sender:
        sender.command(data_set=False)
        assert sender.status() == 0xC000
        assert sender.store(b"good") == 0x0000
        sender.release()


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x04\0\0\0\0\x06\xff\xff\xff\xff\x01\x00",
        b"\x04\0\0\0\0\x03abc",
        b"\x04\0\xff\xff\xff\xff",
        b"\x04\0\0\0\0\x08\0\0\0\x04\x01\x03ab",
        b"\x04\0\0\0\0\x08\0\0\0\x04\x63\x00ab",
    ],
)
def test_garbage_ends_its_own_association_only(gateway: Gateway, garbage: bytes) -> None:
    with Sender(gateway.address) as bystander:
        with Sender(gateway.address) as sender:
            assert sender.store(b"first", uid="1.1") == 0x0000
            sender.raw(garbage)
            with pytest.raises(AbortedError):
                sender.status()
        assert bystander.store(b"second", uid="1.2") == 0x0000
        bystander.release()
    assert sorted(map(str, ended())) == ["aborted", "released"]
    assert len(gateway.spooled()) == 2


def test_a_connection_that_says_nothing_is_forgotten_at_once(gateway: Gateway) -> None:
    import socket

    for _ in range(5):
        socket.create_connection(gateway.address).close()
    eventually(lambda: not gateway.listener.connections)


def test_a_peer_that_stalls_within_a_pdu_is_dropped(start: Start) -> None:
    gateway = start(dimse_timeout_seconds=0.3)
    with Sender(gateway.address) as sender:
        assert sender.store(b"first") == 0x0000
        sender.command()
        sender.raw(b"\x04\0\0\0\x10\0")
        assert ended() == ["aborted"]
        eventually(lambda: not gateway.listener.connections)
    assert len(gateway.spooled()) == 1


def test_a_peer_that_stalls_within_a_message_is_dropped(start: Start) -> None:
    gateway = start(dimse_timeout_seconds=0.3)
    with Sender(gateway.address) as sender:
        assert sender.store(b"first") == 0x0000
        sender.command()
        assert ended() == ["aborted"]
        eventually(lambda: not gateway.listener.connections)


def test_a_quiet_association_becomes_a_batch_and_what_follows_another(start: Start) -> None:
    gateway = start(quiet_seconds=0.2)
    with Sender(gateway.address) as sender:
        assert sender.store(b"first") == 0x0000
        assert ended() == ["quiet"]
        assert sender.store(b"second") == 0x0000
        sender.release()
    assert ended()[0] == "quiet"
    assert len(associations()) == 2
    assert {row.association_id for row in receipts()} == {row.id for row in associations()}


def rejected(gateway: Gateway, **options: Any) -> tuple[int, int, int]:
    with pytest.raises(RejectedError) as caught, Sender(gateway.address, **options):
        pass
    return caught.value.why


def test_allow_lists_reject_with_their_reasons(start: Start) -> None:
    by_title = start(allowed_calling_aes=["MODALITY1"], require_called_ae=True)
    assert rejected(by_title, calling="STRANGER") == (1, 1, 3)
    assert rejected(by_title, calling="MODALITY1", called="OTHER") == (1, 1, 7)
    with Sender(by_title.address, calling="MODALITY1") as sender:
        sender.release()


def test_networks_reject_and_allow(start: Start) -> None:
    assert rejected(start(allowed_networks=["192.0.2.0/24"])) == (1, 1, 1)
    with Sender(start(allowed_networks=["192.0.2.0/24", "127.0.0.0/8"]).address) as sender:
        sender.release()


def test_more_associations_than_allowed_are_rejected_until_one_ends(start: Start) -> None:
    gateway = start(maximum_associations=1)
    with Sender(gateway.address) as first:
        assert rejected(gateway) == (2, 3, 2)
        first.release()
    eventually(lambda: not gateway.listener.connections)
    with Sender(gateway.address) as sender:
        assert sender.store(b"data") == 0x0000
        sender.release()


def test_a_taken_port_is_a_clear_error(gateway: Gateway) -> None:
    from blocks.settings import DicomReceiveSettings

    second = Listener(DicomReceiveSettings(port=gateway.address[1]), gateway.home, begin)
    with pytest.raises(ListenerError, match=f"cannot listen on 127.0.0.1:{gateway.address[1]}"):
        second.start()
