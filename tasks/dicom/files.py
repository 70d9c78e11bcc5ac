"""One file: the same as a batch of one, under the name that callers of the former system know."""

from typing import Any

from tasks.dicom.associations import EvaluationCounts, process_dicom_association
from tasks.dicom.core.tables import SourceType
from tasks.foundation.retries import INGEST


@INGEST.task
def process_dicom_file(
    path: str,
    source_type: SourceType = SourceType.FILE_UPLOAD,
    source_id: str = "",
    association_info: dict[str, Any] | None = None,
) -> EvaluationCounts:
    """Apply the rules to one file and note its deliveries; see `process_dicom_association`.

    Args:
        path: a received file as in the ledger, or a file elsewhere on disk.
        source_type: how a file that is not in the ledger yet came in.
        source_id: which source that was.
        association_info: `calling_ae`, `called_ae` and `source_ip` of a file that is not in the ledger yet.

    Raises:
        RulesError: the rules are not valid.
        OSError: the file could not be read or its copy not written.
    """
    return process_dicom_association.fn([path], source_type, source_id, association_info)
