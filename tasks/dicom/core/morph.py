"""Writes a changed instance without touching what did not change, in flat memory.

The new file has a new file meta group and the changed elements; every other byte of the data set (pixel data above all,
encapsulated or native, and whatever follows it) is copied as it is. A deflated data set is inflated and deflated again
on the way. The file appears under its name only when it is whole and on disk.
"""

import hashlib
import os
import zlib
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID, MediaStorageDirectoryStorage

from tasks.dicom.core.byte_source import CHUNK, ByteSource, InflatedSource, InflateError, PlainSource
from tasks.dicom.core.header import PREAMBLE, PREFIX, Header, is_uid
from tasks.dicom.core.pydicom_modes import pydicom_quiet
from tasks.dicom.core.reencoding import MorphError, changed_elements

__all__ = ["MorphError", "Written", "write_morphed"]


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written."""

    path: Path
    #: Of the data set as stored, as `header.content_sha256` gives it.
    content_sha256: str
    size: int
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str | None
    transfer_syntax_uid: str
    #: Whether the data set differs from the source's.
    modified: bool


def write_morphed(header: Header, dataset: Dataset, target: Path) -> Written:
    """Write an instance as a DICOM file: the source's bytes, but for what a data set changes.

    Args:
        header: what `read_header` gave for the source; the source must not have changed since.
        dataset: the header's data set or a changed copy of it, as `rules.evaluate` gives. Without changes the data set
            is copied byte for byte and only the file meta is written anew, which makes a whole file of an adopted one.
        target: the file to write; replaced when it exists. Its folder must exist.

    Raises:
        MorphError: it cannot be written as it should be; nothing is left behind.
        OSError: the disk is full, or a file cannot be read or written; nothing is left behind.
    """
    if header.sop_class_uid == MediaStorageDirectoryStorage:
        raise MorphError("a DICOMDIR holds positions of its own bytes and cannot be written anew")
    with pydicom_quiet():
        changed = changed_elements(header, dataset)
        meta = _file_meta(header, dataset)
        start = bytes(PREAMBLE) + PREFIX + _encoded_meta(meta)
        study = str(dataset.get("StudyInstanceUID") or "")
    if header.truncated and any(data and tag > header.elements[-1].tag for tag, data in changed.items()):
        raise MorphError("the source ends inside its last element, so nothing can be added after it")
    digest = hashlib.sha256()
    size = len(start)
    temporary = target.with_name(f".{uuid4().hex}.part")
    try:
        with header.path.open("rb") as source, temporary.open("xb") as file:
            if os.fstat(source.fileno()).st_size != header.size:
                raise MorphError("the source changed since it was read")
            file.write(start)
            for chunk in _data_set(source, header, changed):
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        _sync_folder(target.parent)
    except InflateError as error:
        temporary.unlink(missing_ok=True)
        raise MorphError(str(error)) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return Written(
        path=target,
        content_sha256=digest.hexdigest(),
        size=size,
        sop_class_uid=str(meta.MediaStorageSOPClassUID),
        sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
        study_instance_uid=study if is_uid(study) else None,
        transfer_syntax_uid=header.transfer_syntax_uid,
        modified=bool(changed),
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _file_meta(header: Header, dataset: Dataset) -> FileMetaDataset:
    """The file meta of the source, consistent with the data set (PS3.10, 7.1)."""
    meta = deepcopy(header.file_meta)
    for keyword, former in (("SOPClassUID", header.sop_class_uid), ("SOPInstanceUID", header.sop_instance_uid)):
        # A file may have had its identity in the file meta alone.
        uid = str(dataset.get(keyword) or former)
        if not is_uid(uid):
            raise MorphError(f"the {keyword} is no UID")
        setattr(meta, f"MediaStorage{keyword}", UID(uid))
    return meta


def _encoded_meta(meta: FileMetaDataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = False
    buffer.is_little_endian = True
    write_file_meta_info(buffer, meta, enforce_standard=True)
    return buffer.getvalue()


def _data_set(file: BinaryIO, header: Header, changed: dict[int, bytes | None]) -> Iterator[bytes]:
    """The bytes of the new data set, in chunks.

    They are read and written rather than handed over in the kernel: the hash needs to see them anyway.
    """
    if not changed:
        yield from _copied(PlainSource(file, header.data_set_offset, header.size), header.size)
    elif header.deflated:
        yield from _deflated(_pieces(InflatedSource(file, header.data_set_offset), header, changed))
    else:
        yield from _pieces(PlainSource(file, header.data_set_offset, header.size), header, changed)


def _pieces(source: ByteSource, header: Header, changed: dict[int, bytes | None]) -> Iterator[bytes]:
    """Unchanged stretches of the source and changed elements, in the order of tags."""
    # The length of a group that changed is wrong now, and retired (PS3.5, 7.2).
    stale = {tag & 0xFFFF0000 for tag in changed}
    waiting = sorted((tag, data) for tag, data in changed.items() if data is not None)
    copied_to = source.position
    for element in header.elements:
        drop = element.tag in changed or element.tag in stale
        if not drop and not (waiting and waiting[0][0] < element.tag):
            continue
        # Everything up to here is unchanged, and belongs before what comes now.
        yield from _copied(source, element.start - copied_to)
        while waiting and waiting[0][0] <= element.tag:
            yield waiting.pop(0)[1]
        copied_to = element.start
        if drop:
            source.skip(element.end - element.start)
            copied_to = element.end
    yield from _copied(source, header.elements_end - copied_to)
    for _, data in waiting:
        yield data
    # Bytes after the last element, to the end.
    yield from _copied(source, None)


def _copied(source: ByteSource, count: int | None) -> Iterator[bytes]:
    while count is None or count > 0:
        chunk = source.read(CHUNK if count is None else min(CHUNK, count))
        if not chunk:
            return
        if count is not None:
            count -= len(chunk)
        yield chunk


def _deflated(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces as one deflated stream of even length (PS3.5, A.5)."""
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    length = 0
    for piece in pieces:
        out = deflate.compress(piece)
        length += len(out)
        if out:
            yield out
    out = deflate.flush()
    yield out + b"\0" * ((length + len(out)) % 2)
