"""Instances in another transfer syntax, for peers that refuse their own; and a digest that looks through encodings.

Decompressing is done frame by frame with GDCM (JPEG, JPEG-LS, JPEG 2000) and pydicom (RLE, deflated), without turning
colours: the photometric interpretation becomes what the decoder gives.
"""

import hashlib
import warnings
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pydicom import config, dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from blocks.instance_store import Instance, UndecodableError

UNCOMPRESSED = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
TRAILING_PADDING = 0xFFFCFFFC
# PS3.5 6.2: the values that byte ordering applies to, and the width of their words; array type codes.
_WORDS = {"OW": "H", "OF": "I", "OL": "I", "OD": "Q", "OV": "Q"}


def _is_of_the_system(error: Exception) -> bool:
    """Whether a disk failed; pydicom also raises OSError, without a number, for files that end too early."""
    return isinstance(error, OSError) and error.errno is not None


@contextmanager
def quiet() -> Iterator[None]:
    """Take values as they are: pydicom's complaints about them quote patients' names, and the receiver is to judge."""
    told = config.settings
    before = told.reading_validation_mode, told.writing_validation_mode
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told.reading_validation_mode = told.writing_validation_mode = config.IGNORE
        try:
            yield
        finally:
            told.reading_validation_mode, told.writing_validation_mode = before


def syntax_name(uid: str) -> str:
    """A transfer syntax for people: its name, or the UID where it has none."""
    return UID(uid).name


def _read(instance: Instance) -> Dataset:
    dataset = dcmread(instance.path, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = UID(instance.transfer_syntax_uid)
    return dataset


def transcode(instance: Instance, transfer_syntax_uid: str, target: Path) -> None:
    """Write an instance in an uncompressed little endian transfer syntax, UIDs unchanged. Deterministic.

    Args:
        instance: the instance; its file is only read.
        transfer_syntax_uid: Explicit or Implicit VR Little Endian.
        target: the file to write, with file meta.

    Raises:
        UndecodableError: the pixel data cannot be decoded, or the instance cannot be written in that syntax.
        OSError: the file cannot be read, or the target not written.
    """
    if transfer_syntax_uid not in UNCOMPRESSED:
        raise ValueError(f"{transfer_syntax_uid} is not an uncompressed little endian transfer syntax")
    source = UID(instance.transfer_syntax_uid)
    try:
        with quiet():
            _write_turned(instance, source, transfer_syntax_uid, target)
    except Exception as error:
        if _is_of_the_system(error):
            raise
        # Decoders fail in as many ways as there are broken files; each means that this instance cannot be turned.
        raise UndecodableError(
            f"cannot be turned from {syntax_name(source)} into {syntax_name(transfer_syntax_uid)}: "
            f"{type(error).__name__}"
        ) from error


def _write_turned(instance: Instance, source: UID, transfer_syntax_uid: str, target: Path) -> None:
    dataset = _read(instance)
    if source == ExplicitVRBigEndian:
        dataset = _little_endian(dataset)
    elif source.is_compressed and source.is_encapsulated and "PixelData" in dataset:
        _decompress(dataset, source)
    meta = dataset.file_meta
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.MediaStorageSOPClassUID = UID(instance.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(instance.sop_instance_uid)
    dataset.save_as(
        target,
        enforce_file_format=True,
        overwrite=True,
        implicit_vr=UID(transfer_syntax_uid).is_implicit_VR,
        little_endian=True,
    )


def _decompress(dataset: Dataset, syntax: UID) -> None:
    frames: list[bytes] = []
    image: dict[str, str | int] = {}
    for frame, described in get_decoder(syntax).iter_buffer(dataset):
        frames.append(bytes(frame))
        image = described
    data = b"".join(frames)
    dataset["PixelData"].is_undefined_length = False
    dataset.PixelData = data + b"\0" if len(data) % 2 else data
    # PS3.5 8.1.2, A.2: words for samples of more than one byte.
    dataset["PixelData"].VR = "OB" if dataset.BitsAllocated <= 8 else "OW"
    dataset.PhotometricInterpretation = image["photometric_interpretation"]
    if int(image["samples_per_pixel"]) > 1:
        dataset.PlanarConfiguration = image["planar_configuration"]
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in dataset:
            delattr(dataset, keyword)


def _little_endian(dataset: Dataset) -> Dataset:
    # Anew, because a data set that was read big endian refuses to be written otherwise.
    turned = Dataset()
    turned.file_meta = dataset.get("file_meta", FileMetaDataset())
    bits_allocated = dataset.get("BitsAllocated")
    for element in dataset:
        if element.VR == "SQ":
            element.value = [_little_endian(item) for item in element.value]
        elif element.VR in _WORDS and element.value:
            code = _WORDS[element.VR]
            if element.keyword == "PixelData" and bits_allocated in (32, 64):
                code = "I" if bits_allocated == 32 else "Q"
            words = array(code, element.value)
            words.byteswap()
            element.value = words.tobytes()
        turned.add(element)
    return turned


def file_sha256(path: Path, offset: int) -> str:
    """SHA-256 of a file from an offset (bytes) to its end, read in pieces.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        stream.seek(offset)
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def same_elements(first: Path, second: Path) -> bool:
    """Whether two files hold the same elements with the same values, however sequences and lengths are encoded.

    Peers that parse what they receive write sequences and group lengths back in their own way; the content is the same.
    Returns false where either cannot be parsed.
    """
    try:
        with quiet(), TemporaryDirectory(prefix="quintet-compare-") as folder:
            digests = {_canonical_sha256(path, Path(folder) / "canonical.dcm") for path in (first, second)}
    except Exception as error:
        if _is_of_the_system(error):
            raise
        return False
    return len(digests) == 1


def _canonical_sha256(path: Path, scratch: Path) -> str:
    dataset = dcmread(path, force=True)
    # PS3.10 7.2: padding after the data set means nothing, and receivers drop it.
    if TRAILING_PADDING in dataset:
        del dataset[TRAILING_PADDING]
    _plain_lengths(dataset)
    dataset.preamble, dataset.file_meta = None, FileMetaDataset()
    implicit, little = dataset.original_encoding
    dataset.save_as(scratch, implicit_vr=implicit, little_endian=little, overwrite=True, enforce_file_format=False)
    return file_sha256(scratch, 0)


def _plain_lengths(dataset: Dataset) -> None:
    dataset.is_undefined_length_sequence_item = False
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = False
            for item in element.value:
                _plain_lengths(item)
