"""Modalities that do not give up: DCMTK's `storescu`, started again with what it has no acknowledgement for.

Truth is `storescu`'s own log: an instance counts as acknowledged when the log says so, and in no other way.
"""

import random
import re
import subprocess
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from tasks.dicom.core.header import content_sha256

STORESCU = "/usr/bin/storescu"
#: Of instances in one association, the least and the most.
ASSOCIATION_SIZES = (4, 16)
_ROOT = "1.2.826.0.1.3680043.8.498"
_SENDING = re.compile(r"Sending file: (?P<path>.+)$", re.MULTILINE)
_ACKNOWLEDGED = re.compile(r"Received Store Response \(Success\)")


@dataclass(frozen=True)
class Instance:
    """A file to send, and what the receiver must hold of it."""

    path: Path
    sop_instance_uid: str
    content_sha256: str

    @property
    def key(self) -> tuple[str, str]:
        """What makes it one instance and no other."""
        return self.sop_instance_uid, self.content_sha256


def make_instances(folder: Path, count: int, seed: int) -> list[Instance]:
    """Small CT instances (4 to 30 KB) with pixels of their own; the same for the same seed."""
    folder.mkdir(parents=True)
    chance = random.Random(seed)
    return [_make_instance(folder, f"{_ROOT}.{seed}", number, chance) for number in range(count)]


def _make_instance(folder: Path, root: str, number: int, chance: random.Random) -> Instance:
    uid = f"{root}.3.{number + 1}"
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(uid)
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = UID(uid)
    dataset.Modality = "CT"
    dataset.StudyInstanceUID = UID(f"{root}.1.{number % 7 + 1}")
    dataset.SeriesInstanceUID = UID(f"{root}.2.{number % 7 + 1}")
    dataset.InstanceNumber = number + 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.Rows, dataset.Columns = chance.randrange(32, 236), 128
    dataset.add_new("PixelData", "OB", chance.randbytes(dataset.Rows * dataset.Columns))
    path = folder / f"{number:04}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return Instance(path, uid, content_sha256(path))


def acknowledged_in(log: str) -> set[Path]:
    """The files that a log of `storescu --verbose` says were answered with success."""
    starts = [*_SENDING.finditer(log)]
    ends = [*(match.start() for match in starts), len(log)][1:]
    return {
        Path(match["path"].strip())
        for match, end in zip(starts, ends, strict=False)
        if _ACKNOWLEDGED.search(log, match.end(), end)
    }


@dataclass
class StoreSender:
    """One modality; `start` it and `join` it.

    Attributes:
        name: its AE title.
        address: whom it sends to.
        instances: what it sends.
        logs: folder of `storescu`'s logs, one for each association.
        seed: of the sizes of its associations.
        acknowledged: what it has an acknowledgement for.
        associations: how often it started `storescu`.
        refused: answers other than success that it got.
        unanswered: how often an instance had to wait for another association.
    """

    name: str
    address: tuple[str, int]
    instances: Sequence[Instance]
    logs: Path
    seed: int
    acknowledged: dict[Path, Instance] = field(default_factory=dict)
    associations: int = 0
    refused: list[str] = field(default_factory=list)
    unanswered: int = 0

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._chance = random.Random(self.seed)
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    @property
    def sending(self) -> bool:
        """Whether it still has something to send."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Give up, whatever is left, and wait for the end of it."""
        self._stopping.set()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        self._thread.join()

    def _run(self) -> None:
        waiting = list(self.instances)
        while waiting and not self._stopping.is_set():
            taken = self._associate(waiting[: self._chance.randint(*ASSOCIATION_SIZES)])
            waiting = [instance for instance in waiting if instance.path not in self.acknowledged]
            if not taken:
                # Nobody there: as a modality does, it waits a moment.
                self._stopping.wait(0.3)

    def _associate(self, batch: Iterable[Instance]) -> int:
        self.associations += 1
        log = self.logs / f"{self.name}-{self.associations:03}.log"
        by_path = {instance.path: instance for instance in batch}
        host, port = self.address
        # It halts at the first answer that is not success, as modalities do.
        command = [STORESCU, "--verbose", "--timeout", "10", "--acse-timeout", "30", "--dimse-timeout", "60"]
        command += ["--aetitle", self.name, "--call", "QUINTET", host, str(port), *map(str, by_path)]
        with log.open("wb") as written:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=written, stderr=written)
            self._process.wait()
        said = log.read_text()
        taken = acknowledged_in(said)
        self.acknowledged |= {path: by_path[path] for path in taken}
        self.refused += re.findall(r"Received Store Response \((?!Success).*\)", said)
        self.unanswered += len(by_path) - len(taken)
        return len(taken)
