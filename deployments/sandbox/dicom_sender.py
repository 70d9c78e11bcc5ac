"""A modality: sends files over real associations and keeps its own log of what was acknowledged.

`python -m deployments.sandbox.dicom_sender --port 11112 --log sent.jsonl FILE...` sends every file that DIMSE can
carry, in several associations, and prints one JSON line with counts. Like a real modality it sends an instance again,
in a new association, when no response came. The log, one JSON object a line, is this side's ground truth.
"""

import argparse
import hashlib
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.uid import UID, MediaStorageDirectoryStorage
from pynetdicom import AE, _config
from pynetdicom.presentation import build_context

#: Wait for the answer to one instance.
ANSWER_SECONDS = 120
#: PS3.8 9.3.2.2: context ids are the odd numbers of a byte.
MAXIMUM_CONTEXTS = 128
ATTEMPTS = 3


class Sendable(NamedTuple):
    """A file that DIMSE can carry."""

    path: Path
    sop_class_uid: str
    #: Of the data set, which is what an instance says of itself; some files say otherwise in their file meta.
    sop_instance_uid: str
    transfer_syntax_uid: str
    #: SHA-256 of the data set's bytes, file meta excluded.
    sha256: str


def examine(path: Path) -> Sendable | None:
    """What is needed to send the file, or None where DIMSE cannot carry it (no file meta, no identity, a DICOMDIR)."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            meta = read_partial(file, lambda tag, _vr, _length: tag.group > 2).file_meta
            # The reader stopped at the first element after group 2.
            digest = hashlib.sha256(file.read()).hexdigest()
            data_set = dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
        sop_class, instance, syntax = (
            str(meta.get(keyword, "") or "")
            for keyword in ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")
        )
    except (InvalidDicomError, EOFError, ValueError, KeyError):
        return None
    if not all(UID(uid).is_valid for uid in (sop_class, instance, syntax)) or sop_class == MediaStorageDirectoryStorage:
        return None
    return Sendable(path, sop_class, str(data_set.get("SOPInstanceUID") or instance), syntax, digest)


def send(address: tuple[str, int], called_ae: str, files: Sequence[Sendable]) -> Iterator[tuple[Sendable, int | None]]:
    """Send files over one association; gives each with the status of its response, None where none came."""
    entity = AE(ae_title="SANDBOX_CT")
    # On a machine at its limits an answer may take longer than pynetdicom's 30 s.
    entity.dimse_timeout = ANSWER_SECONDS
    pairs = sorted({(file.sop_class_uid, file.transfer_syntax_uid) for file in files})[:MAXIMUM_CONTEXTS]
    association = entity.associate(*address, contexts=[build_context(*pair) for pair in pairs], ae_title=called_ae)
    try:
        for file in files:
            status: Any = None
            if association.is_established:
                try:
                    status = association.send_c_store(file.path).get("Status")
                except (ValueError, RuntimeError) as error:
                    print(f"{file.path.name}: {error}", file=sys.stderr)  # noqa: T201 - a program for the terminal
            yield file, status
    finally:
        if association.is_established:
            association.release()


def main(arguments: Sequence[str] | None = None) -> int:
    """Send and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--called-ae", default="QUINTET")
    parser.add_argument("--associations", type=int, default=4)
    parser.add_argument("--log", type=Path, required=True, help="JSON lines: path, uid, sha256, status, association")
    parser.add_argument("files", type=Path, nargs="+")
    options = parser.parse_args(arguments)
    # The bytes on disk go out as they are.
    _config.STORE_SEND_CHUNKED_DATASET = True

    examined = {path: examine(path) for path in options.files}
    waiting = [file for file in examined.values() if file]
    acknowledged = 0
    with options.log.open("a") as log:
        for attempt in range(ATTEMPTS):
            unanswered: list[Sendable] = []
            for number in range(options.associations):
                batch = waiting[number :: options.associations]
                for file, status in send((options.host, options.port), options.called_ae, batch) if batch else ():
                    entry = file._asdict() | {"path": str(file.path), "status": status, "association": number}
                    log.write(json.dumps(entry | {"attempt": attempt + 1}) + "\n")
                    log.flush()
                    if status == 0:
                        acknowledged += 1
                    else:
                        unanswered.append(file)
            waiting = unanswered
            if not waiting:
                break
    counts = {
        "files": len(options.files),
        "sendable": sum(1 for file in examined.values() if file),
        "acknowledged": acknowledged,
        "unanswered": [file.path.name for file in waiting],
        "not_sendable": [str(path) for path, file in examined.items() if file is None],
    }
    print(json.dumps(counts))  # noqa: T201
    return 0 if not waiting else 1


if __name__ == "__main__":
    sys.exit(main())
