"""Instances for tests: all of pydicom's files, and small ones made on the spot."""

from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

CT = "1.2.840.10008.5.1.4.1.1.2"
_DATA = Path(pydicom.__file__).parent / "data"
#: pydicom's files that no reader could take for an instance, with a part of the reason.
UNREADABLE = {
    "empty_charset_LEI.dcm": "no SOP Class UID",
    "meta_missing_tsyntax.dcm": "no SOP Class UID",
    "nested_priv_SQ.dcm": "no SOP Class UID",
    "no_meta.dcm": "not a DICOM file",
    "README.txt": "not a DICOM file",
    "zipMR.gz": "not a DICOM file",
    "test1.json": "not a DICOM file",
    "crayons.icc": "not a DICOM file",
    "rtplan.dump": "not a DICOM file",
}


def bundled_files() -> list[Path]:
    """Every data file of pydicom's wheel, DICOM or not, and nothing that would be downloaded."""
    return sorted(
        path
        for folder in ("test_files", "charset_files", "palettes")
        for path in (_DATA / folder).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    )


def bundled(name: str) -> Path:
    """One of pydicom's files."""
    return next(path for path in bundled_files() if path.name == name)


def make_instance(**elements: object) -> Dataset:
    """A data set of a CT image without pixels, with these keywords on top."""
    dataset = Dataset()
    dataset.SOPClassUID = CT
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.StudyInstanceUID = "1.2.3"
    dataset.SeriesInstanceUID = "1.2.3.1"
    dataset.Modality = "CT"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def write_instance(path: Path, dataset: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write a data set as a DICOM file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(dataset.SOPClassUID)
    meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    meta.TransferSyntaxUID = UID(transfer_syntax)
    dataset.file_meta = meta
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())
    return path
