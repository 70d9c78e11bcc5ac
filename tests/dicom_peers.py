"""DICOM instances to send and peers to send them to, for the tests of blocks and tasks."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom.transport import ThreadedAssociationServer

from blocks.instance_store import Instance
from deployments.sandbox.dicom_peer import Behaviour, DicomPeer
from deployments.sandbox.dicom_store import PeerStore
from tasks.dicom.core.header import content_sha256, data_set_offset, read_header

STUDY = "1.2.826.0.1.3680043.8.498.1"


def instance_of(path: Path) -> Instance:
    """A file as the ledger would describe it."""
    header = read_header(path)
    return Instance(
        path=path,
        sop_class_uid=header.sop_class_uid,
        sop_instance_uid=header.sop_instance_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        content_sha256=content_sha256(path),
        data_set_offset=data_set_offset(path),
        study_instance_uid=header.study_instance_uid,
    )


def bundled(name: str) -> Instance:
    """One of pydicom's real test files."""
    path = get_testdata_file(name, download=False)
    assert path is not None, f"pydicom has no {name}"
    return instance_of(Path(path))


def make_file(folder: Path, *, uid: str | None = None, size: int = 2048, fill: bytes = b"\x01") -> Path:
    """Write a small CT-like instance."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(uid) if uid else generate_uid()
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = STUDY
    dataset.SeriesInstanceUID = f"{STUDY}.1"
    dataset.Modality = "CT"
    dataset.add_new("PixelData", "OB", fill * size)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{generate_uid()}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


def make_instance(folder: Path, **options: Any) -> Instance:
    return instance_of(make_file(folder, **options))


class RunningPeer:
    """The sandbox peer inside this process."""

    def __init__(self, store: PeerStore, server: ThreadedAssociationServer, behaviour: Behaviour) -> None:
        self.store = store
        self.server = server
        self.behaviour = behaviour
        self.port = int(server.server_address[1])

    def contents(self) -> dict[tuple[str, str], int]:
        """(UID, content hash) to how often it arrived."""
        objects: Any = self.store.report()["objects"]
        return {(entry["sop_instance_uid"], entry["content_sha256"]): entry["arrivals"] for entry in objects}


@contextmanager
def running_peer(folder: Path, *, port: int = 0, **told: Any) -> Iterator[RunningPeer]:
    behaviour = Behaviour(**told)
    store = PeerStore(folder)
    peer = DicomPeer(store, behaviour)
    server = peer.start(port)
    try:
        yield RunningPeer(store, server, behaviour)
    finally:
        peer.stop(server)


@contextmanager
def peer_process(folder: Path, *options: str) -> Iterator[int]:
    """The sandbox peer as a process of its own; gives its port."""
    command = [sys.executable, "-m", "deployments.sandbox.dicom_peer", "--store", str(folder), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(json.loads(process.stdout.readline())["port"])
        finally:
            process.terminate()
            process.wait(10)


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def debian_program(path: str) -> str:
    """A program of a Debian package; without it the test is skipped, in CI it fails."""
    if shutil.which(path) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{path} is not installed")
        pytest.skip(f"{path} is not installed")
    return path


def wait_for_port(port: int, process: subprocess.Popen[Any]) -> None:
    """Wait until something listens.

    Raises:
        AssertionError: the process ended first.
    """
    while True:
        assert process.poll() is None, f"ended with {process.returncode}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return


@contextmanager
def debian_peer(command: list[str], port: int, log: Path) -> Iterator[None]:
    """An independent DICOM receiver as a process."""
    # Without it DCMTK waits 40 ms for a delayed acknowledgement with each response.
    environment = os.environ | {"TCP_NODELAY": "1"}
    with (
        log.open("wb") as written,
        subprocess.Popen(command, stdout=written, stderr=written, env=environment) as process,
    ):
        try:
            wait_for_port(port, process)
            yield
        finally:
            process.terminate()
            process.wait(20)
