"""Small files that say which flow run is whose process, so that a killed run is found when its worker is dead too.

Each run of a pool has one file, first `<flow run id>.submitted` (written before the run is taken), then
`<flow run id>.started` (written by the run's own process). Taking back a `.submitted` file is atomic: either the new
process removes it and runs, or a worker that found its author dead removes it and the process ends at once.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID

from deployments.processes import ProcessIdentity


@dataclass(frozen=True)
class RunRecord:
    """What is known of a run.

    Attributes:
        flow_run_id: the flow run.
        worker: the worker that took it.
        child: the process that runs it; None before it started.
    """

    flow_run_id: UUID
    worker: ProcessIdentity
    child: ProcessIdentity | None

    @property
    def orphaned(self) -> bool:
        """Whether both the worker and the run's process are gone, on this machine."""
        return self.worker.here and not self.worker.alive() and not (self.child is not None and self.child.alive())


class RunRecords:
    """The records of one pool in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: When runs whose process had ended were first looked at, by `time.monotonic`.
        self.looked_at: dict[UUID, float] = {}

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            OSError: the folder cannot be made or written.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def submit(self, flow_run_id: UUID, worker: ProcessIdentity) -> None:
        """Note that `worker` takes the run."""
        self.remove(flow_run_id)
        self._write(flow_run_id, "submitted", RunRecord(flow_run_id, worker, None))

    def start(self, flow_run_id: UUID, worker: ProcessIdentity) -> bool:
        """Note that this process runs it.

        Returns:
            False when the run was taken back: this process must not run it.
        """
        self._write(flow_run_id, "started", RunRecord(flow_run_id, worker, ProcessIdentity.own()))
        if self.take_back(flow_run_id):
            return True
        self._path(flow_run_id, "started").unlink(missing_ok=True)
        return False

    def take_back(self, flow_run_id: UUID) -> bool:
        """Remove the run's `.submitted` file; True for exactly one caller."""
        try:
            self._path(flow_run_id, "submitted").unlink()
        except FileNotFoundError:
            return False
        return True

    def read(self, flow_run_id: UUID) -> RunRecord | None:
        """The run's record, the started one before the submitted one."""
        return self._read(self._path(flow_run_id, "started")) or self._read(self._path(flow_run_id, "submitted"))

    def remove(self, flow_run_id: UUID) -> None:
        """Forget the run: its end is known to the API."""
        self.looked_at.pop(flow_run_id, None)
        for kind in ("submitted", "started"):
            self._path(flow_run_id, kind).unlink(missing_ok=True)

    def __iter__(self) -> Iterator[RunRecord]:
        for flow_run_id in sorted({path.stem for path in self.folder.glob("*-*.s*ted")}):
            record = self.read(UUID(flow_run_id))
            if record is not None:
                yield record

    def _path(self, flow_run_id: UUID, kind: str) -> Path:
        return self.folder / f"{flow_run_id}.{kind}"

    def _write(self, flow_run_id: UUID, kind: str, record: RunRecord) -> None:
        path = self._path(flow_run_id, kind)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        content = {"worker": asdict(record.worker), "child": None if record.child is None else asdict(record.child)}
        temporary.write_text(json.dumps(content))
        temporary.replace(path)

    @staticmethod
    def _read(path: Path) -> RunRecord | None:
        try:
            content = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        child = content["child"]
        return RunRecord(
            UUID(path.stem), ProcessIdentity(**content["worker"]), None if child is None else ProcessIdentity(**child)
        )
