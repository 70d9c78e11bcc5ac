"""Files that survive a power cut: every write and move is on the disk before the function returns.

All names come from here: a path in the ledger is relative to the dicom home, and none leads out of its folder.
"""

import errno
import filecmp
import hashlib
import os
import re
from pathlib import Path, PurePosixPath

#: Changed copies of received files, until they are delivered.
STAGING = "staging"
#: The folders of the dicom home that files move between.
FOLDERS = frozenset({"spool", STAGING, "dustbin", "quarantine"})
#: Suffix of files that are not whole yet.
PART = ".part"
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_CHUNK = 1024 * 1024


class OutsideHomeError(ValueError):
    """A path leads out of the folder it was meant for."""


class FileLostError(Exception):
    """A file that the ledger knows is nowhere: it is neither where it was nor where it was going."""


class NameTakenError(Exception):
    """Another file lies where one was going; neither is touched."""


def confined(home: Path, relative: str) -> Path:
    """The absolute path of a ledger path.

    The folder itself may be a link to another disk; below it nothing may lead out.

    Args:
        home: the dicom home.
        relative: POSIX path whose first part is one of `FOLDERS`.

    Raises:
        OutsideHomeError: the path is absolute, names another folder, or leads out of it.
    """
    parts = PurePosixPath(relative).parts
    if len(parts) < 2 or parts[0] not in FOLDERS or ".." in parts:
        raise OutsideHomeError(f"not a path of the dicom home: {relative!r}")
    path = home.joinpath(*parts)
    if not path.resolve().is_relative_to((home / parts[0]).resolve()):
        raise OutsideHomeError(f"the path leads out of {parts[0]}: {relative!r}")
    return path


def uid_component(uid: str | None) -> str:
    """A UID as one part of a path: itself where it is well-formed (PS3.5 9.1), else a name made of its hash.

    Args:
        uid: from an instance, so possibly missing, malformed or hostile.
    """
    if not uid:
        return "no-uid"
    if len(uid) <= 64 and _UID.fullmatch(uid):
        return uid
    return f"invalid-{hashlib.sha256(uid.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def fsync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, for this user only; each new name is on the disk."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(mode=0o700, exist_ok=True)
        fsync_folder(new.parent)


def write_durably(path: Path, content: bytes) -> None:
    """Write a small file whole or not at all, replacing an older one."""
    part = path.with_name(path.name + PART)
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    fsync_folder(path.parent)


def copy_durably(source: Path, target: Path) -> None:
    """Copy a file, read the copy back, and only then give it its name; overwrites nothing.

    Raises:
        NameTakenError: something lies at the target.
        OSError: the copy could not be written, or does not read back as it was written; nothing is left behind.
    """
    # A name of its own: two copies to one target must not write into each other.
    part = target.with_name(f".{target.name}.{os.getpid()}{PART}")
    try:
        with source.open("rb") as reading, part.open("wb") as writing:
            while chunk := reading.read(_CHUNK):
                writing.write(chunk)
            writing.flush()
            os.fsync(writing.fileno())
        # The page cache may hide a bad disk; dropping it makes the comparison read what was written.
        _forget_cached(part)
        if not filecmp.cmp(source, part, shallow=False):
            raise OSError(errno.EIO, "the copy does not read back as it was written", str(target))
        try:
            # A link, unlike a rename, never replaces a file that came there meanwhile.
            os.link(part, target)
        except FileExistsError as error:
            raise NameTakenError(f"a file lies at {target}") from error
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                raise
            if target.exists():
                raise NameTakenError(f"a file lies at {target}") from error
            part.rename(target)
    finally:
        part.unlink(missing_ok=True)
    fsync_folder(target.parent)


def _forget_cached(path: Path) -> None:
    if not hasattr(os, "posix_fadvise"):  # macOS
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def move_durably(source: Path, target: Path) -> None:
    """Move a file, across file systems too; running it again after a crash at any point ends the same.

    Raises:
        FileLostError: neither source nor target is there.
        NameTakenError: another file lies at the target.
    """
    make_folder(target.parent)
    begun = target.exists()
    if not source.exists():
        if not begun:
            raise FileLostError(f"{source.name} is neither in {source.parent.name} nor at its new place")
    elif begun:
        # Across file systems there is a moment with both; anything else there is not ours to replace.
        if not filecmp.cmp(source, target, shallow=False):
            raise NameTakenError(f"another file lies at {target.name}")
    else:
        try:
            source.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            copy_durably(source, target)
            begun = True
    if begun:
        for part in target.parent.glob(f".{target.name}.*{PART}"):
            # Of a run that died while it copied. One that is copying now finds that it is not needed.
            part.unlink(missing_ok=True)
    fsync_folder(target.parent)
    source.unlink(missing_ok=True)
    if source.parent.is_dir():
        fsync_folder(source.parent)
