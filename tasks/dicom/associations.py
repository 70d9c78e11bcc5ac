"""Evaluates received files in batches: rules, staged copies and the deliveries that follow from them.

Needs the rules under `QUINTET_HOME/dicom/rules` and the dicom ledger.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from sqlmodel import col, func, select

from blocks.engine import session
from blocks.settings import settings
from tasks.dicom.core.header import UnreadableInstanceError
from tasks.dicom.core.morph import MorphError
from tasks.dicom.core.processing import Prepared, prepare, record, source_of
from tasks.dicom.core.quarantine import quarantine_receipt
from tasks.dicom.core.rules import ModificationError, Rules, load_rules
from tasks.dicom.core.spool import receipt_id_of
from tasks.dicom.core.tables import DOMAIN, Association, Receipt, ReceiptState, SourceType
from tasks.dicom.crosswalks import open_crosswalks
from tasks.dicom.submission import Submission, submit_files
from tasks.foundation.core.columns import utc_now
from tasks.foundation.lifecycle import logger
from tasks.foundation.retries import INGEST


class EvaluationCounts(BaseModel):
    """What became of a batch of files."""

    files: int = 0
    evaluated: int = 0
    matched: int = 0
    modified: int = 0
    deliveries: int = 0
    quarantined: int = 0


@INGEST.task
def process_dicom_association(
    paths: list[str],
    source_type: SourceType = SourceType.DIMSE_LISTENER,
    source_id: str = "",
    association_info: dict[str, Any] | None = None,
) -> EvaluationCounts:
    """Apply the rules to received files and note their deliveries; unusable files go to quarantine, the rest goes on.

    Args:
        paths: received files, relative to the dicom home as in the ledger; or files elsewhere on disk, which are copied
            into the spool first and left where they are.
        source_type: how files that are not in the ledger yet came in.
        source_id: which source that was.
        association_info: `calling_ae`, `called_ae` and `source_ip` of files that are not in the ledger yet.

    Returns:
        Counts; each file's fate is in the ledger.

    Raises:
        RulesError: the rules are not valid; nothing was evaluated.
        SubmissionError: a file elsewhere on disk could not be taken; the other files of the batch are done.
        OSError: a file could not be read or its copy not written; the other files of the batch are done.
        CrosswalkUnavailableError: a crosswalk does not answer now; files that need it stay, the others are done.
    """
    home = settings().domain_home(DOMAIN)
    rules = load_rules(home / "rules")
    with session(DOMAIN, read_only=True) as opened:
        known = set(opened.exec(select(Receipt.path).where(col(Receipt.path).in_(paths))).all())
        # A batch that runs again finds that some of its files have left the spool.
        received = {path: key for path in paths if (key := receipt_id_of(path)) is not None}
        moved = set(opened.exec(select(Receipt.id).where(col(Receipt.id).in_(received.values()))).all())
    unknown = [Path(path) for path in paths if path not in known and received.get(path) not in moved]
    taken = Submission()
    if unknown:
        taken = submit_files(unknown, source_type=source_type, source_id=source_id, association_info=association_info)
    counts = _evaluate([*known, *taken.paths], home, rules)
    taken.check()
    return counts


def _evaluate(paths: Sequence[str], home: Path, rules: Rules) -> EvaluationCounts:
    with session(DOMAIN, read_only=True) as opened:
        rows = opened.exec(
            select(Receipt, Association)
            .join(Association, col(Association.id) == col(Receipt.association_id))
            .where(col(Receipt.path).in_(paths), Receipt.state == ReceiptState.RECEIVED)
            .order_by(col(Receipt.received_at))
        ).all()
    counts = EvaluationCounts(files=len(rows))
    prepared: dict[UUID, Prepared] = {}
    refused: dict[UUID, str] = {}
    failures: list[OSError] = []
    now, first = utc_now(), _first_received([receipt.content_sha256 for receipt, _ in rows])
    with open_crosswalks(rules) as crosswalk:
        for receipt, association in rows:
            try:
                prepared[receipt.id] = prepare(
                    receipt,
                    home,
                    rules,
                    source_of(association),
                    now=now,
                    first_received_at=first[receipt.content_sha256],
                    crosswalk=crosswalk,
                )
            except UnreadableInstanceError as error:
                refused[receipt.id] = error.reason
            except (ModificationError, MorphError) as error:
                refused[receipt.id] = str(error)
            except FileNotFoundError:
                # Gone, or moved to quarantine by a run that was killed before it could say so: that tells them apart.
                refused[receipt.id] = "the file is missing from the spool"
            except OSError as error:
                # Not the file's fault (nor is a crosswalk that does not answer): it stays RECEIVED, to be tried again.
                logger(receipt=str(receipt.id)).error("cannot process the file now", error=type(error).__name__)
                failures.append(error)
    # In one order everywhere: the same instances may be on their way in another association.
    ordered = sorted(prepared.items(), key=lambda pair: pair[1].output_key)
    with session(DOMAIN) as opened:
        needless = [record(opened, key, item, home, version=rules.version, now=now) for key, item in ordered]
    for path in filter(None, needless):
        (home / path).unlink(missing_ok=True)
    for receipt_id, reason in refused.items():
        with session(DOMAIN) as opened:
            quarantine_receipt(opened, receipt_id, reason, home=home, now=now)
    if failures:
        raise failures[0]
    counts.evaluated = len(prepared)
    counts.matched = sum(bool(item.matched_rules) for item in prepared.values())
    counts.modified = sum(item.modified for item in prepared.values())
    counts.deliveries = sum(len(item.destinations) for item in prepared.values())
    counts.quarantined = len(refused)
    return counts


def _first_received(contents: Sequence[str]) -> dict[str, datetime]:
    with session(DOMAIN, read_only=True) as opened:
        rows = opened.exec(
            select(Receipt.content_sha256, func.min(Receipt.received_at))
            .where(col(Receipt.content_sha256).in_(contents))
            .group_by(Receipt.content_sha256)
        ).all()
    return dict(rows)
