import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import evt

from blocks.dimse import DimseClient, DimsePeer
from blocks.dimse_transcode import same_elements, transcode
from blocks.instance_store import (
    BusyError,
    CannotTellError,
    Check,
    ContextRefusedError,
    DuplicateError,
    Held,
    Instance,
    RefusedError,
    RejectedError,
    SourceError,
    Stored,
    StoreError,
    UndecodableError,
    UnknownOutcomeError,
    UnreachableError,
)
from tests.dicom_peers import RunningPeer, bundled, free_port, make_instance, peer_process, running_peer

# In twelve transfer syntaxes, uncompressed and compressed, big endian, deflated.
REAL = [
    "CT_small.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "image_dfl.dcm",
    "JPEG2000.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_RLE.dcm",
    "JPGExtended.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
]


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    """Every association's threads are gone when a test ends."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in set(threading.enumerate()) - before if thread.is_alive()]
    for thread in left:
        thread.join(10)
    assert not [thread for thread in left if thread.is_alive()]


def client(port: int, **fields: Any) -> DimseClient:
    return DimsePeer(
        **({"host": "127.0.0.1", "port": port, "called_ae": "SANDBOX", "timeout_seconds": 10} | fields)
    ).get_client()


def send(to: DimseClient, batch: list[Instance]) -> list[Stored | StoreError]:
    outcomes: list[Stored | StoreError] = []
    for part in to.plan(batch):
        with to.open(part) as sender:
            for instance in part:
                try:
                    outcomes.append(sender.send(instance))
                except StoreError as error:
                    outcomes.append(error)
    return outcomes


def accepted_associations(peer: RunningPeer) -> list[object]:
    seen: list[object] = []
    peer.server.bind(evt.EVT_ACCEPTED, lambda event: seen.append(event.assoc))
    return seen


def test_a_batch_in_many_syntaxes_arrives_byte_for_byte_over_one_association(tmp_path: Path) -> None:
    batch = [bundled(name) for name in REAL]
    with running_peer(tmp_path) as peer:
        associations = accepted_associations(peer)
        assert send(client(peer.port), batch) == [Stored(0)] * len(batch)
        assert len(associations) == 1
        assert peer.contents() == {(each.sop_instance_uid, each.content_sha256): 1 for each in batch}


def test_a_data_set_larger_than_many_pdus_arrives_whole(tmp_path: Path) -> None:
    large = make_instance(tmp_path / "spool", size=20_000_000)
    with running_peer(tmp_path / "peer") as peer:
        assert send(client(peer.port), [large]) == [Stored(0)]
        assert peer.contents() == {(large.sop_instance_uid, large.content_sha256): 1}


def test_a_file_without_file_meta_is_sent_whole(tmp_path: Path) -> None:
    instance = make_instance(tmp_path)
    bare = tmp_path / "bare"
    bare.write_bytes(instance.path.read_bytes()[instance.data_set_offset :])
    with running_peer(tmp_path / "peer") as peer:
        assert send(client(peer.port), [replace(instance, path=bare, data_set_offset=0)]) == [Stored(0)]
        assert peer.contents() == {(instance.sop_instance_uid, instance.content_sha256): 1}


def test_more_kinds_than_an_association_has_contexts_are_split(tmp_path: Path) -> None:
    template = make_instance(tmp_path)
    batch = [replace(template, sop_class_uid=f"1.2.840.10008.5.1.4.1.1.{number}") for number in range(1, 201)]
    parts = client(1).plan(batch)
    assert [instance for part in parts for instance in part] == batch
    # Two contexts for each kind: its own syntax, and what it may be turned into.
    assert [len(part) for part in parts] == [64, 64, 64, 8]


def test_echo_says_whether_there_is_a_peer(tmp_path: Path) -> None:
    with running_peer(tmp_path) as peer:
        client(peer.port).echo()
    with pytest.raises(UnreachableError, match="does not answer"):
        client(free_port()).echo()


def test_a_peer_that_wants_another_ae_title_rejects(tmp_path: Path) -> None:
    with running_peer(tmp_path, require_called_ae=True) as peer:
        with pytest.raises(RejectedError, match="permanently: Called AE title not recognised"):
            client(peer.port, called_ae="OTHER").echo()
        client(peer.port).echo()


def test_a_busy_peer_rejects_for_now(tmp_path: Path) -> None:
    with running_peer(tmp_path, reject_associations=1) as peer:
        with pytest.raises(RejectedError, match="for now"):
            client(peer.port).echo()
        client(peer.port).echo()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (0xA700, BusyError),
        (0xA7FF, BusyError),
        (0x0124, BusyError),
        (0xFE12, BusyError),
        (0xA900, RefusedError),
        (0xC000, RefusedError),
        (0xCFFF, RefusedError),
        (0x0122, RefusedError),
        (0x0111, DuplicateError),
    ],
)
def test_a_refusal_means_what_its_status_says(tmp_path: Path, status: int, error: type[StoreError]) -> None:
    batch = [make_instance(tmp_path / "spool") for _ in range(2)]
    with running_peer(tmp_path / "peer", fail_first=1, fail_status=status) as peer:
        refused, stored = send(client(peer.port), batch)
    assert type(refused) is error
    assert refused.status == status
    # One refused instance does not end the association.
    assert stored == Stored(0)


@pytest.mark.parametrize(("status", "note"), [(0xB000, "coerced"), (0xB006, "discarded"), (0xB007, "SOP class")])
def test_a_warning_is_stored_with_a_note(tmp_path: Path, status: int, note: str) -> None:
    with running_peer(tmp_path / "peer", fail_first=1, fail_status=status) as peer:
        (stored,) = send(client(peer.port), [make_instance(tmp_path / "spool")])
    assert isinstance(stored, Stored)
    assert stored.status == status
    assert note in (stored.note or "")


@pytest.mark.parametrize("fault", ["drop_first", "mute_first"])
def test_a_lost_response_is_unknown(tmp_path: Path, fault: str) -> None:
    first, second = (make_instance(tmp_path / "spool") for _ in range(2))
    with running_peer(tmp_path / "peer", **{fault: 1}) as peer:
        unknown, unsent = send(client(peer.port, timeout_seconds=3), [first, second])
        assert isinstance(unknown, UnknownOutcomeError)
        # Nothing of the second was sent, so it is safe to send it.
        assert isinstance(unsent, UnreachableError)
        assert list(peer.contents()) == [(first.sop_instance_uid, first.content_sha256)]


def test_a_peer_that_stops_reading_is_left(tmp_path: Path) -> None:
    large = make_instance(tmp_path / "spool", size=30_000_000)
    released = threading.Event()
    received = []

    def stop_reading(event: evt.Event) -> None:
        received.append(event)
        if len(received) > 20:
            released.wait(30)

    with running_peer(tmp_path / "peer") as peer:
        peer.server.bind(evt.EVT_DATA_RECV, stop_reading)
        (outcome,) = send(client(peer.port, timeout_seconds=3), [large])
        released.set()
        assert isinstance(outcome, UnknownOutcomeError)
        assert peer.contents() == {}


def test_a_missing_file_costs_one_instance(tmp_path: Path) -> None:
    missing, there = (make_instance(tmp_path / "spool") for _ in range(2))
    missing.path.unlink()
    with running_peer(tmp_path / "peer") as peer:
        failed, stored = send(client(peer.port), [missing, there])
    assert isinstance(failed, SourceError)
    assert stored == Stored(0)


# Transfer syntaxes that the peer does not take


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_bigendian.dcm",
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small.dcm",
    ],
)
def test_what_is_turned_has_the_same_pixels(tmp_path: Path, name: str) -> None:
    expected = dcmread(bundled("MR_small.dcm").path).PixelData
    transcode(bundled(name), ImplicitVRLittleEndian, tmp_path / "turned.dcm")
    turned = dcmread(tmp_path / "turned.dcm")
    assert turned.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert turned.PixelData == expected


@pytest.mark.parametrize(
    ("big", "little"),
    [("rtdose_expb.dcm", "rtdose.dcm"), ("liver_expb_1frame.dcm", "liver_1frame.dcm")],
)
def test_big_endian_words_are_swapped_by_their_width(tmp_path: Path, big: str, little: str) -> None:
    transcode(bundled(big), ImplicitVRLittleEndian, tmp_path / "turned.dcm")
    assert dcmread(tmp_path / "turned.dcm").PixelData == dcmread(bundled(little).path).PixelData


def test_a_peer_with_one_syntax_gets_that(tmp_path: Path) -> None:
    jpeg = bundled("JPEG2000.dcm")
    with running_peer(tmp_path, only_syntaxes=[str(ImplicitVRLittleEndian)]) as peer:
        to = client(peer.port)
        (stored,) = send(to, [jpeg])
        assert isinstance(stored, Stored)
        assert "sent as Implicit VR Little Endian" in (stored.note or "")
        (held,) = peer.store.find(sop_instance_uid=jpeg.sop_instance_uid)
        assert held.transfer_syntax_uid == ImplicitVRLittleEndian
        assert to.get(jpeg) is Held.SAME


def test_as_is_sends_nothing_else(tmp_path: Path) -> None:
    jpeg, plain = bundled("JPEG2000.dcm"), make_instance(tmp_path / "spool")
    with running_peer(tmp_path / "peer", only_syntaxes=["1.2.840.10008.1.2.1"]) as peer:
        refused, stored = send(client(peer.port, transfer_syntaxes="as_is"), [jpeg, plain])
        assert isinstance(refused, ContextRefusedError)
        assert "JPEG 2000" in str(refused)
        assert stored == Stored(0)


def test_what_cannot_be_decompressed_is_named(tmp_path: Path) -> None:
    with running_peer(tmp_path, only_syntaxes=["1.2.840.10008.1.2"]) as peer:
        (outcome,) = send(client(peer.port), [bundled("JPGExtended.dcm")])
    assert isinstance(outcome, UndecodableError)
    assert "JPEG Extended" in str(outcome)


def test_a_refused_sop_class_is_for_good(tmp_path: Path) -> None:
    instance, other = make_instance(tmp_path / "spool"), bundled("MR_small.dcm")
    with running_peer(tmp_path / "peer", refused_classes=[instance.sop_class_uid]) as peer:
        refused, stored = send(client(peer.port), [instance, other])
    assert isinstance(refused, ContextRefusedError)
    assert stored == Stored(0)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_bigendian.dcm", "rtplan.dcm", "reportsi.dcm"])
def test_content_is_the_same_however_it_is_written(tmp_path: Path, name: str) -> None:
    original = bundled(name).path
    dataset = dcmread(original)
    # As receivers write what they parsed: no preamble, no padding, other sequence lengths.
    dataset.preamble = b"\0" * 128
    dataset.pop(0xFFFCFFFC, None)
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = not element.is_undefined_length
    dataset.save_as(tmp_path / "rewritten.dcm")
    assert same_elements(original, tmp_path / "rewritten.dcm")
    dataset.SeriesDescription = "changed"
    dataset.save_as(tmp_path / "changed.dcm")
    assert not same_elements(original, tmp_path / "changed.dcm")
    (tmp_path / "broken.dcm").write_bytes(original.read_bytes()[:-400])
    assert not same_elements(original, tmp_path / "broken.dcm")


# Looking up


def test_a_peer_says_what_it_holds(tmp_path: Path) -> None:
    first = make_instance(tmp_path / "spool")
    second = make_instance(tmp_path / "spool", uid=first.sop_instance_uid, fill=b"\x02")
    absent = make_instance(tmp_path / "spool")
    with running_peer(tmp_path / "peer", keep="first") as peer:
        to = client(peer.port)
        assert send(to, [first, second]) == [Stored(0)] * 2
        batch = [first, second, absent]
        assert [held for _, held in to.check(batch, Check.FIND)] == [Held.PRESENT, Held.PRESENT, Held.ABSENT]
        assert [held for _, held in to.check(batch, Check.READ_BACK)] == [Held.SAME, Held.OTHER, Held.ABSENT]
        assert [to.holds(instance) for instance in batch] == [True, False, False]


def test_real_instances_read_back_the_same(tmp_path: Path) -> None:
    batch = [bundled(name) for name in REAL]
    with running_peer(tmp_path) as peer:
        to = client(peer.port)
        send(to, batch)
        assert [held for _, held in to.check(batch, Check.READ_BACK)] == [Held.SAME] * len(batch)


def test_a_peer_that_cannot_be_asked_says_so(tmp_path: Path) -> None:
    instance = make_instance(tmp_path / "spool")
    with running_peer(tmp_path / "peer", find=False, get=False) as peer:
        to = client(peer.port)
        with pytest.raises(CannotTellError):
            to.find(instance)
        with pytest.raises(CannotTellError):
            to.get(instance)
        assert to.holds(instance) is None


# The block, and the peer's own process


def test_the_block_keeps_its_key_secret() -> None:
    block = DimsePeer(host="pacs", port=104, tls=True, tls_certificate="certificate", tls_key="the key")
    assert "the key" not in repr(block)
    with pytest.raises(ValueError, match="TLS settings"):
        block.get_client()
    with pytest.raises(ValueError, match="together"):
        DimsePeer(host="pacs", port=104, tls=True, tls_key="the key").get_client()


def test_the_peers_process_tells_its_port_and_reports(tmp_path: Path) -> None:
    import json
    import subprocess
    import sys

    instance = make_instance(tmp_path / "spool")
    store = tmp_path / "peer"
    with peer_process(store, "--ae", "OTHER", "--require-called-ae") as port:
        to = client(port, called_ae="OTHER")
        assert send(to, [instance, instance]) == [Stored(0)] * 2
    command = [sys.executable, "-m", "deployments.sandbox.dicom_peer", "--store", str(store), "--report"]
    told = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert (told["arrivals"], told["distinct"], told["duplicates"]) == (2, 1, 1)
    assert told["objects"][0]["content_sha256"] == instance.content_sha256
