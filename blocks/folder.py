"""Folders that instances are delivered to: `<StudyInstanceUID>/<SOPInstanceUID>/<sha256>.dcm`.

A file appears under its name only when it is whole and on disk. The name carries the content, so that one UID with
two contents makes two files and a repeated delivery makes none.
"""

import errno
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl

from blocks.dimse_transcode import file_sha256
from blocks.instance_store import (
    BusyError,
    Check,
    Held,
    Instance,
    RefusedError,
    SourceError,
    Stored,
    UnreachableError,
)

# PS3.5 9.1: components of digits joined by dots, at most 64 characters. Leading zeros occur and do no harm.
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
NO_STUDY = "no-study"
# The disk or its quota is full: it may be emptied.
_FULL = {errno.ENOSPC, errno.EDQUOT}


def instance_path(root: Path, instance: Instance) -> Path:
    """Where an instance lies below a root.

    Raises:
        RefusedError: a UID or the hash is not one; as a name it might lead anywhere.
    """
    study = instance.study_instance_uid or NO_STUDY
    for what, uid in (("Study", study), ("SOP", instance.sop_instance_uid)):
        if uid != NO_STUDY and (len(uid) > 64 or not _UID.fullmatch(uid)):
            raise RefusedError(f"its {what} Instance UID is not a UID, so no file is named after it")
    if not _SHA256.fullmatch(instance.content_sha256):
        raise RefusedError("its content hash is not a SHA-256")
    return root / study / instance.sop_instance_uid / f"{instance.content_sha256}.dcm"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class FolderClient:
    """Writes instances below one folder and reads them back."""

    def __init__(self, root: Path) -> None:
        # Links in the root itself are the owner's wish; links below it are followed nowhere.
        self.root = root.resolve()

    def plan(self, batch: Sequence[Instance]) -> list[list[Instance]]:
        """A batch is one part."""
        return [list(batch)] if batch else []

    @contextmanager
    def open(self, part: Sequence[Instance]) -> Iterator["FolderClient"]:
        """Make sure that the folder is there.

        Raises:
            UnreachableError: it is not, and cannot be made, or cannot be written.
        """
        del part
        self._must_be_usable(os.W_OK | os.X_OK)
        yield self

    def _must_be_usable(self, mode: int) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UnreachableError(f"the folder cannot be made: {error.strerror}") from error
        if not os.access(self.root, mode):
            raise UnreachableError("the folder is not accessible")

    def send(self, instance: Instance) -> Stored:
        """Put one instance: durable, whole and under its final name when this returns.

        Raises:
            SourceError: the file is missing, or is not what its hash says.
            RefusedError: its UIDs are none.
            BusyError: the disk is full.
            UnreachableError: the folder cannot be written.
        """
        target = instance_path(self.root, instance)
        if self._held(instance) is Held.SAME:
            return Stored(note="was there already")
        try:
            # Opened before anything is made, so that a missing source leaves no empty folders.
            source = instance.path.open("rb")
        except OSError as error:
            raise SourceError(f"the file cannot be read: {error.strerror}") from error
        try:
            with source:
                self._make_folders(target.parent)
                self._put(instance, source, target)
        except OSError as error:
            if error.errno in _FULL:
                raise BusyError("the disk is full") from error
            raise UnreachableError(f"the folder cannot be written: {error.strerror}") from error
        return Stored()

    def _make_folders(self, folder: Path) -> None:
        missing = [path for path in (folder, folder.parent) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        if not folder.resolve().is_relative_to(self.root):
            raise RefusedError("its place below the folder is a link that leads out of it")
        for path in missing:
            _sync_folder(path.parent)

    def _put(self, instance: Instance, source: BinaryIO, target: Path) -> None:
        temporary = target.with_name(f".{uuid4().hex}.part")
        try:
            with temporary.open("xb") as written:
                digest = hashlib.sha256()
                written.write(source.read(instance.data_set_offset))
                while piece := source.read(1 << 20):
                    digest.update(piece)
                    written.write(piece)
                if digest.hexdigest() != instance.content_sha256:
                    raise SourceError("the file is not what its content hash says")
                written.flush()
                os.fsync(written.fileno())
            temporary.rename(target)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(target.parent)

    def check(self, batch: Sequence[Instance], by: Check) -> Iterator[tuple[Instance, Held]]:
        """Look for each instance; both ways read the content, for it costs a folder little.

        Raises:
            UnreachableError: the folder cannot be read.
        """
        del by
        self._must_be_usable(os.R_OK | os.X_OK)
        for instance in batch:
            try:
                yield instance, self._held(instance)
            except RefusedError:
                # What may not be written under its name is not there.
                yield instance, Held.ABSENT

    def holds(self, instance: Instance) -> bool:
        """Whether the folder has exactly this content; raises as `check` does."""
        return next(held is Held.SAME for _, held in self.check([instance], Check.READ_BACK))

    def _held(self, instance: Instance) -> Held:
        path = instance_path(self.root, instance)
        try:
            return Held.SAME if file_sha256(path, instance.data_set_offset) == instance.content_sha256 else Held.ABSENT
        except FileNotFoundError:
            return Held.ABSENT
        except OSError as error:
            raise UnreachableError(f"the folder cannot be read: {error.strerror}") from error


class Folder(Block):
    """A folder that instances are written to, one file per content.

    Save one when destinations on several machines name it differently, then refer to it in the rules folder as
    `block: folder/<name>`.

    Example:
        ```python
        from blocks.folder import Folder

        Folder(path="/srv/research").save("BLOCK_NAME")
        folder = Folder.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Folder"
    _block_type_slug = "folder"
    _documentation_url = HttpUrl("https://github.com/quintet/quintet/tree/main/docs")
    _description = "A folder that instances are written to, one file per content."

    path: Path = Field(description="The folder; made when absent.")

    def get_client(self) -> FolderClient:
        """A client for this folder."""
        return FolderClient(self.path.expanduser())
