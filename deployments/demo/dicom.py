"""The gateway's demo: real instances over real associations to a real peer and a folder, everything counted.

pydicom's bundled test files are sent in several associations by a sender of its own process; what DIMSE cannot carry
is submitted as files. Rules route all of it, mark MR instances, and keep directories (DICOMDIR) out of the archive.
Truth is the sender's own log, the peer's own store and the folder, never the gateway's ledger.
"""

import json
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom.data
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from sqlmodel import col, func, select

from blocks.engine import session
from blocks.settings import settings
from deployments.demo.processes import run, running
from deployments.demo.result import DemoResult, Report
from deployments.up import Stack
from tasks.dicom.core.header import UnreadableInstanceError, content_sha256
from tasks.dicom.core.summary import SETTLED
from tasks.dicom.core.tables import (
    DOMAIN,
    Association,
    AssociationState,
    Delivery,
    DeliveryState,
    Receipt,
    ReceiptState,
)
from tasks.dicom.submission import submit_files

ASSOCIATIONS = 4
#: All of it takes some 20 s on two cores; a machine that needs this long is stuck.
PATIENCE_SECONDS = 300

RULES = """\
# The demo's rules. `quintet dicom explain FILE` says what they make of a file.
destinations:
  - name: archive
    dimse: {{host: 127.0.0.1, port: {port}, called_ae: SANDBOX}}
    verify: read_back
  - name: shelf
    folder: {{path: {shelf}}}
    verify: read_back

rulesets:
  - name: routing
    execution_mode: FIRST_MATCH
    rules:
      - name: directories
        match_criteria: [{{tag: DirectoryRecordSequence, op: exists}}]
        destinations: [shelf]
      - name: mark-mr
        match_criteria: [{{tag: Modality, op: eq, value: MR}}]
        tag_modifications: [{{action: set, tag: InstitutionName, value: Quintet Demo}}]
        audit: {{modifying_system: QUINTET}}
        destinations: [archive, shelf]
      - name: everything-else
        destinations: [archive, shelf]
"""


@dataclass
class Truth:
    """What must be at the destinations, by SOP Instance UID: how many different contents."""

    archive: Counter[str] = field(default_factory=Counter)
    shelf: Counter[str] = field(default_factory=Counter)
    #: Files that no gateway can deliver: their names.
    broken: set[str] = field(default_factory=set)


def test_files() -> list[Path]:
    """Pydicom's bundled files: instances in twelve transfer syntaxes, and what only looks like one."""
    texts = {".py", ".pyc", ".pyi", ".json", ".md", ".txt"}
    root = Path(pydicom.data.__file__).parent
    return sorted(path for path in root.rglob("*") if path.is_file() and path.suffix not in texts)


@contextmanager
def sandbox(scratch: Path) -> Iterator[dict[str, Any]]:
    """The sandbox peer as a process of its own, and rules in the home that send to it and to a folder.

    Args:
        scratch: holds the peer's store, the folder destination and the logs.

    Returns:
        What the peer says of itself, with its store's folder.
    """
    store = scratch / "peer"
    with running(
        "deployments.sandbox.dicom_peer", "--port", "0", "--store", str(store), log=scratch / "peer.log"
    ) as peer:
        rules = settings().domain_home(DOMAIN) / "rules"
        rules.mkdir(parents=True, exist_ok=True)
        (rules / "demo.yaml").write_text(RULES.format(port=peer["port"], shelf=scratch / "shelf"))
        yield peer | {"store": str(store)}


def run_demo(scratch: Path, peer: dict[str, Any], stack: Stack, report: Report) -> DemoResult:
    """Send, submit, wait and count.

    Args:
        scratch: for logs and the folder destination.
        peer: what the sandbox peer said of itself.
        stack: what runs.
        report: told the step, how far it is, and of how much.
    """
    began = time.monotonic()
    files = test_files()
    report("send", 0, len(files))
    log = scratch / "sent.jsonl"
    sent = run(
        "deployments.sandbox.dicom_sender",
        *("--host", stack.listener[0], "--port", str(stack.listener[1]), "--associations", str(ASSOCIATIONS)),
        *("--log", str(log)),
        *(str(path) for path in files),
        log=scratch / "sender.log",
        allowed=(0, 1),
    )
    submission = submit_files([Path(path) for path in sent["not_sendable"]], source_id="demo")
    problems = [f"the gateway did not take {item.path}: {item.reason}" for item in submission.refused]
    problems += [f"the gateway did not acknowledge {name}" for name in sent["unanswered"]]
    everything = sent["acknowledged"] + len(sent["not_sendable"])
    if not _settled(everything, report):
        problems.append(f"not everything was processed within {PATIENCE_SECONDS} s")
    truth = _truth(log, sent["not_sendable"])
    at_peer = run("deployments.sandbox.dicom_peer", "--store", peer["store"], "--report", log=scratch / "peer.log")
    archive = Counter(entry["sop_instance_uid"] for entry in at_peer["objects"] if entry["held"])
    shelf = _on_shelf(scratch / "shelf")
    counts = _ledger_counts()
    broken = truth.broken
    if counts["quarantined"] != len(broken):
        problems.append(f"{counts['quarantined']} files are in quarantine, {len(broken)} are broken: {sorted(broken)}")
    lost = (truth.archive - archive).total() + (truth.shelf - shelf).total()
    extra = (archive - truth.archive).total() + (shelf - truth.shelf).total()
    return DemoResult(
        domain=DOMAIN,
        lost=lost + everything - counts["received"],
        duplicates=at_peer["duplicates"] + extra,
        seconds=time.monotonic() - began,
        ui=f"{stack.ui_url}/artifacts/key/dicom-association",
        counts={"sent": everything, "associations": ASSOCIATIONS, **counts},
        problems=problems,
    )


def _settled(files: int, report: Report) -> bool:
    """Wait until every file is where it belongs."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with session(DOMAIN, read_only=True) as opened:
            done = opened.exec(
                select(func.count())
                .select_from(Receipt)
                .where(col(Receipt.state).not_in([ReceiptState.RECEIVED, ReceiptState.EVALUATED]))
            ).one()
            open_ones = opened.exec(
                select(func.count()).select_from(Association).where(Association.state != AssociationState.DONE)
            ).one()
        report("deliver and dispose", done, files)
        if done >= files and not open_ones:
            return True
        time.sleep(0.2)
    return False


def _ledger_counts() -> dict[str, Any]:
    with session(DOMAIN, read_only=True) as opened:
        receipts = opened.exec(select(Receipt)).all()
        deliveries = {row.id: row for row in opened.exec(select(Delivery)).all()}
    by_output: dict[Any, list[Delivery]] = {}
    for delivery in deliveries.values():
        by_output.setdefault(delivery.output_id, []).append(delivery)
    # Instance x destination: an instance received twice was delivered for both.
    effects = [item for receipt in receipts for item in by_output.get(receipt.output_id, []) if receipt.output_id]
    return {
        "received": len(receipts),
        "delivered": sum(item.sent_at is not None for item in effects),
        "verified": sum(item.state is DeliveryState.VERIFIED for item in effects),
        "disposed": sum(receipt.state is ReceiptState.DISPOSED for receipt in receipts),
        "quarantined": sum(receipt.state is ReceiptState.QUARANTINED for receipt in receipts),
        "unsettled": sum(item.state not in SETTLED for item in deliveries.values()),
    }


def _truth(log: Path, submitted: Iterable[str]) -> Truth:
    """What the sender's log and an independent reading of the submitted files say must have arrived."""
    truth = Truth()
    contents: dict[tuple[str, str], bool] = {}
    for line in log.read_text().splitlines():
        entry = json.loads(line)
        if entry["status"] == 0:
            contents[entry["sop_instance_uid"], entry["sha256"]] = False
    for name in submitted:
        path = Path(name)
        identity = _identity(path)
        if identity is None:
            truth.broken.add(path.name)
        else:
            contents[identity[0], _digest(path)] = identity[1]
    for (uid, _), is_directory in contents.items():
        truth.shelf[uid] += 1
        if not is_directory:
            truth.archive[uid] += 1
    return truth


def _identity(path: Path) -> tuple[str, bool] | None:
    """SOP Instance UID, and whether it is a directory; None for what is no instance. Read by pydicom alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data_set = dcmread(path, force=True, stop_before_pixels=True)
        except (InvalidDicomError, EOFError, ValueError, KeyError, NotImplementedError):
            return None
        meta = data_set.file_meta
        uid = data_set.get("SOPInstanceUID") or meta.get("MediaStorageSOPInstanceUID")
        sop_class = data_set.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID")
    return (str(uid), "DirectoryRecordSequence" in data_set) if uid and sop_class else None


def _digest(path: Path) -> str:
    try:
        return content_sha256(path)
    except UnreadableInstanceError:
        return path.name


def _on_shelf(folder: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for path in folder.rglob("*.dcm"):
        identity = _identity(path)
        found[identity[0] if identity else path.name] += 1
    return found
