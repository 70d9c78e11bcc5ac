"""C-STORE receive: our durable listener beside DCMTK's storescp, which syncs nothing, on the same machine and run.

    uv run python benchmarks/dicom_receive.py [--instances 500] [--rounds 3]

Both receive the same CT-like instances (512 x 512 x 16 bit, 525 KB) from DCMTK's storescu, over one association and
over four at once; the rounds of both alternate. Needs the Debian package dcmtk. Prints one JSON object. `storescp` runs
with TCP_NODELAY=1: without it Nagle's algorithm costs it 40 ms a response, and anything would look fast beside it.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

ROOT = Path(__file__).resolve().parents[1]
PEERS = ("storescp", "listener")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for tool in ("/usr/bin/storescp", "/usr/bin/storescu"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing: apt-get install dcmtk")
    with tempfile.TemporaryDirectory(prefix="quintet-benchmark-") as folder:
        scratch = Path(folder)
        instances = make_instances(scratch / "instances", options.instances)
        size = sum(each.stat().st_size for each in instances)
        rates: dict[str, list[float]] = {}
        usage: dict[str, dict[str, float]] = {}
        for number in range(options.rounds):
            for peer in PEERS:
                with (storescp if peer == "storescp" else listener)(scratch / f"{peer}{number}") as (port, process):
                    for associations in (1, 4):
                        before = sum(process.cpu_times()[:4])
                        seconds = send(port, instances, associations)
                        name = f"{peer}_x{associations}"
                        rates.setdefault(name, []).append(len(instances) / seconds)
                        spent = (sum(process.cpu_times()[:4]) - before) * 1000 / len(instances)
                        usage[name] = {
                            "cpu_ms_per_instance": round(spent, 2),
                            "rss_mb": round(process.memory_info().rss / 1e6, 1),
                        }
                shutil.rmtree(scratch / f"{peer}{number}", ignore_errors=True)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(
        json.dumps(
            {
                "instances": len(instances),
                "megabytes": round(size / 1e6, 1),
                "rounds": options.rounds,
                "instances_per_second": {name: round(value, 1) for name, value in medians.items()},
                "megabytes_per_second": {
                    name: round(value * size / len(instances) / 1e6, 1) for name, value in medians.items()
                },
                "last_round": usage,
                "ratio_to_storescp": {
                    f"x{count}": round(medians[f"listener_x{count}"] / medians[f"storescp_x{count}"], 2)
                    for count in (1, 4)
                },
            }
        )
    )


def make_instances(folder: Path, count: int) -> list[Path]:
    """CT-like instances with noise for pixels."""
    folder.mkdir()
    pixels = os.urandom(512 * 512 * 2)
    made = []
    for number in range(count):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{number:05}.dcm"
        dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        dataset.StudyInstanceUID = dataset.SeriesInstanceUID = "2.25.1"
        dataset.Modality, dataset.PatientID = "CT", "BENCHMARK"
        dataset.Rows = dataset.Columns = 512
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 15, 0, 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.PixelData = pixels
        dataset.save_as(path, enforce_file_format=True)
        made.append(path)
    return made


def send(port: int, instances: list[Path], associations: int) -> float:
    """Send with so many DCMTK senders at once; gives the seconds."""
    shares = [instances[number::associations] for number in range(associations)]
    start = time.perf_counter()
    senders = [
        subprocess.Popen(["/usr/bin/storescu", "-R", "--max-send-pdu", "131072", "127.0.0.1", str(port), *share])
        for share in shares
    ]
    if any(sender.wait() for sender in senders):
        sys.exit("a sender failed")
    return time.perf_counter() - start


@contextmanager
def storescp(folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """DCMTK's receiver at its best: bit-preserving, largest PDU, no Nagle; it syncs nothing."""
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["/usr/bin/storescp", "+B", "--fork", "-pdu", "131072", "-od", str(folder), str(port)]
    running = subprocess.Popen(command, env=os.environ | {"TCP_NODELAY": "1"})
    try:
        wait_for(port)
        yield port, psutil.Process(running.pid)
    finally:
        running.terminate()
        running.wait()


@contextmanager
def listener(folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Our listener with an empty ledger."""
    folder.mkdir()
    environment = os.environ | {"QUINTET_HOME": str(folder), "QUINTET_DICOM__RECEIVE__PORT": "0"}
    tables = (
        "from blocks.engine import engine; from tasks.dicom.core.tables import DicomTable;"
        "DicomTable.metadata.create_all(engine('dicom'))"
    )
    subprocess.run([sys.executable, "-c", tables], env=environment, cwd=ROOT, check=True)
    running = subprocess.Popen(
        [sys.executable, "-m", "deployments.services.dicom_listener", "--no-dispatch"],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = running.stdout.readline() if running.stdout else ""
        yield json.loads(line)["port"], psutil.Process(running.pid)
    finally:
        running.terminate()
        running.wait()


def wait_for(port: int) -> None:
    """Wait until something listens."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    sys.exit("the receiver did not start")


if __name__ == "__main__":
    main()
