"""A DICOM archive to deliver to: `python -m deployments.sandbox.dicom_peer --port 0 --store DIR`.

Answers C-ECHO, C-STORE, C-FIND (Study Root, IMAGE level) and C-GET over real associations on 127.0.0.1, in a process
of its own with a store of its own. It acknowledges only what it has on disk, keeps every arrival, and can be told to
misbehave. Its first line of output is JSON with `host`, `port` and `ae`. `--report` prints what the store holds.
"""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import (
    AllStoragePresentationContexts,
    NonPatientObjectPresentationContexts,
    build_context,
)
from pynetdicom.transport import ThreadedAssociationServer

from blocks.dimse_association import MAXIMUM_PDU, no_delay, send_data_set
from blocks.dimse_transcode import quiet
from deployments.sandbox.dicom_store import Keep, PeerStore, StoredObject, sha256_of

VERIFICATION = "1.2.840.10008.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
UNCOMPRESSED = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
#: All transfer syntaxes of pydicom's test files, and those that its decoders know.
TRANSFER_SYNTAXES = [
    *UNCOMPRESSED,
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5",
    *(
        f"1.2.840.10008.1.2.4.{number}"
        for number in (50, 51, 57, 70, 80, 81, 90, 91, 92, 93, 100, 102, 103, 201, 202, 203)
    ),
]


@dataclass
class Behaviour:
    """What the peer is told to do; the defaults are those of a good one."""

    ae: str = "SANDBOX"
    require_called_ae: bool = False
    #: The only transfer syntaxes it takes; empty takes all.
    only_syntaxes: list[str] = field(default_factory=list)
    refused_classes: list[str] = field(default_factory=list)
    keep: Keep = "both"
    find: bool = True
    get: bool = True
    #: Associations rejected (transient, local limit exceeded) before it behaves.
    reject_associations: int = 0
    #: C-STOREs answered with `fail_status`, not stored, before it behaves.
    fail_first: int = 0
    fail_status: int = 0xA700
    #: UIDs always answered with `fail_status`.
    fail_uids: list[str] = field(default_factory=list)
    #: C-STOREs stored and then answered with an abort, before it behaves.
    drop_first: int = 0
    #: The same with silence instead of an abort.
    mute_first: int = 0
    #: Seconds before each C-STORE is answered.
    delay: float = 0.0


class DicomPeer:
    """The peer, for use in a process of its own or in a test's."""

    def __init__(self, store: PeerStore, behaviour: Behaviour) -> None:
        self.store = store
        self.behaviour = behaviour
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def start(self, port: int = 0) -> ThreadedAssociationServer:
        """Listen on 127.0.0.1; `server_address[1]` of what is returned is the port."""
        told = self.behaviour
        entity = AE(ae_title=told.ae)
        entity.require_called_aet = told.require_called_ae
        entity.maximum_associations = 100
        entity.maximum_pdu_size = MAXIMUM_PDU
        entity.network_timeout = None
        syntaxes = told.only_syntaxes or TRANSFER_SYNTAXES
        contexts = [build_context(VERIFICATION, UNCOMPRESSED)]
        for offered, model in ((told.find, STUDY_ROOT_FIND), (told.get, STUDY_ROOT_GET)):
            if offered:
                contexts.append(build_context(model, UNCOMPRESSED))
        for storage in (*AllStoragePresentationContexts, *NonPatientObjectPresentationContexts):
            if storage.abstract_syntax not in told.refused_classes:
                context = build_context(str(storage.abstract_syntax), syntaxes)
                # It may send them as well, in answer to C-GET.
                context.scu_role = context.scp_role = True
                contexts.append(context)
        server = entity.start_server(
            ("127.0.0.1", port),
            block=False,
            contexts=contexts,
            evt_handlers=[
                (evt.EVT_CONN_OPEN, no_delay),
                (evt.EVT_REQUESTED, self._requested),
                (evt.EVT_C_ECHO, lambda _event: 0x0000),
                (evt.EVT_C_STORE, self._c_store),
                (evt.EVT_C_FIND, self._c_find),
                (evt.EVT_C_GET, self._c_get),
            ],
        )
        return cast(ThreadedAssociationServer, server)

    def stop(self, server: ThreadedAssociationServer) -> None:
        """End all associations and stop listening."""
        self._stopping.set()
        server.shutdown()
        server.server_close()

    def _takes(self, fault: str) -> bool:
        """Whether a counted fault is still to be shown; counts it down."""
        with self._lock:
            left = int(getattr(self.behaviour, fault))
            setattr(self.behaviour, fault, max(left - 1, 0))
        return left > 0

    def _requested(self, event: evt.Event) -> None:
        if self._takes("reject_associations"):
            # PS3.8 Table 9-21: transient, by the presentation service, local limit exceeded.
            event.assoc.acse.send_reject(0x02, 0x03, 0x02)
            event.assoc.is_rejected = True
            event.assoc.kill()

    def _c_store(self, event: evt.Event) -> int:
        request: Any = event.request
        if self.behaviour.delay:
            self._stopping.wait(self.behaviour.delay)
        uid = str(request.AffectedSOPInstanceUID)
        if uid in self.behaviour.fail_uids or self._takes("fail_first"):
            return self.behaviour.fail_status
        data = request.DataSet.getvalue()
        with quiet():
            header = dcmread(
                BytesIO(_file_meta(str(event.context.transfer_syntax)) + data),
                force=True,
                stop_before_pixels=True,
                specific_tags=["StudyInstanceUID", "SeriesInstanceUID"],
            )
            study, series = header.get("StudyInstanceUID"), header.get("SeriesInstanceUID")
        held = StoredObject(
            sop_instance_uid=uid,
            content_sha256=sha256_of(data),
            sop_class_uid=str(request.AffectedSOPClassUID),
            transfer_syntax_uid=str(event.context.transfer_syntax),
            study_instance_uid=study or None,
            series_instance_uid=series or None,
        )
        self.store.add(held, data, calling_ae=event.assoc.requestor.ae_title, keep=self.behaviour.keep)
        if self._takes("drop_first"):
            event.assoc.abort(block=False)
        if self._takes("mute_first"):
            while event.assoc.dul.is_alive() and not self._stopping.wait(0.05):
                pass
        return 0x0000

    def _matches(self, event: evt.Event) -> list[StoredObject]:
        columns = {
            "SOPInstanceUID": "sop_instance_uid",
            "StudyInstanceUID": "study_instance_uid",
            "SeriesInstanceUID": "series_instance_uid",
        }
        wanted = {
            column: str(event.identifier[keyword].value)
            for keyword, column in columns.items()
            if event.identifier.get(keyword)
        }
        return self.store.find(**wanted)

    def _c_find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        if event.identifier.get("QueryRetrieveLevel") != "IMAGE":
            yield 0xA900, None
            return
        for held in self._matches(event):
            answer = Dataset()
            answer.QueryRetrieveLevel = "IMAGE"
            answer.SOPInstanceUID = held.sop_instance_uid
            answer.SOPClassUID = held.sop_class_uid
            if held.study_instance_uid:
                answer.StudyInstanceUID = held.study_instance_uid
            yield 0xFF00, answer

    def _c_get(self, event: evt.Event) -> Iterator[Any]:
        matches = self._matches(event)
        # pynetdicom would decode and encode again; what is given back has to be what was stored.
        event.assoc.send_c_store = _Return(event, self.store)  # type: ignore[assignment, method-assign]
        yield len(matches)
        for held in matches:
            yield 0xFF00, _Handle(held)


class _Handle(Dataset):
    """Passes for a data set on its way through pynetdicom; `_Return` sends the stored one in its place."""

    def __init__(self, held: StoredObject) -> None:
        super().__init__()
        self.held = held
        self.SOPInstanceUID = held.sop_instance_uid


class _Return:
    """Stands in for `send_c_store` during a C-GET and sends the stored bytes."""

    def __init__(self, event: evt.Event, store: PeerStore) -> None:
        self._association = event.assoc
        self._store = store

    def __call__(self, dataset: _Handle, msg_id: int = 1, **_options: object) -> Dataset:
        status, held = Dataset(), dataset.held
        context = next(
            (
                context
                for context in self._association.accepted_contexts
                if context.abstract_syntax == held.sop_class_uid
                and context.transfer_syntax[0] == held.transfer_syntax_uid
                and context.context_id is not None
            ),
            None,
        )
        if context is None or context.context_id is None:
            status.Status = 0xA900
            return status
        status.Status = send_data_set(
            self._association,
            context.context_id,
            sop_class_uid=held.sop_class_uid,
            sop_instance_uid=held.sop_instance_uid,
            path=self._store.path(held.content_sha256),
            offset=0,
            message_id=msg_id,
            timeout_seconds=30,
        ).Status
        return status


def _file_meta(transfer_syntax_uid: str) -> bytes:
    """The least file meta that makes pydicom read a data set in its transfer syntax."""
    value = transfer_syntax_uid.encode() + b"\0" * (len(transfer_syntax_uid) % 2)
    element = b"\x02\x00\x10\x00UI" + len(value).to_bytes(2, "little") + value
    length = b"\x02\x00\x00\x00UL\x04\x00" + len(element).to_bytes(4, "little")
    return b"\0" * 128 + b"DICM" + length + element


def report(folder: Path) -> dict[str, object]:
    """What arrived at the peer whose store this is; see `PeerStore.report`."""
    return PeerStore(folder).report()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A DICOM archive for the demo and the tests, and its faults.")
    parser.add_argument("--store", type=Path, required=True, help="folder of its store")
    parser.add_argument("--report", action="store_true", help="print what the store holds as JSON, and end")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--ae", default="SANDBOX", help="its AE title")
    parser.add_argument("--require-called-ae", action="store_true", help="reject who calls another AE title")
    parser.add_argument("--only-syntax", dest="only_syntaxes", action="append", default=[], metavar="UID")
    parser.add_argument("--refuse-class", dest="refused_classes", action="append", default=[], metavar="UID")
    parser.add_argument("--keep", choices=["both", "first", "last"], default="both", help="of one UID's contents")
    parser.add_argument("--no-find", dest="find", action="store_false", help="offer no C-FIND")
    parser.add_argument("--no-get", dest="get", action="store_false", help="offer no C-GET")
    parser.add_argument("--reject-associations", type=int, default=0, metavar="N", help="reject the first N")
    parser.add_argument("--fail-first", type=int, default=0, metavar="N", help="refuse the first N instances")
    parser.add_argument("--fail-status", type=lambda text: int(text, 16), default=0xA700, metavar="HEX")
    parser.add_argument("--fail-uid", dest="fail_uids", action="append", default=[], metavar="UID")
    parser.add_argument("--drop-first", type=int, default=0, metavar="N", help="store the first N, then abort")
    parser.add_argument("--mute-first", type=int, default=0, metavar="N", help="store the first N, never answer")
    parser.add_argument("--delay", type=float, default=0.0, metavar="SECONDS", help="before each answer")
    return parser.parse_args()


def main() -> None:
    """Run the peer until SIGTERM or SIGINT."""
    told = vars(_arguments())
    folder, port, only_report = told.pop("store"), told.pop("port"), told.pop("report")
    if only_report:
        sys.stdout.write(json.dumps(report(folder)) + "\n")
        return
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    peer = DicomPeer(PeerStore(folder), Behaviour(**told))
    server = peer.start(port)
    answer = {"host": "127.0.0.1", "port": server.server_address[1], "ae": peer.behaviour.ae}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    stop.wait()
    peer.stop(server)


if __name__ == "__main__":
    main()
