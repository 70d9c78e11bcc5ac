"""A file's whole way through the tasks, without Prefect: submitted, evaluated, delivered to a folder, disposed of."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pydicom
import pytest
from pydicom.data import get_testdata_file
from sqlmodel import select

from blocks.engine import session
from tasks.dicom.associations import process_dicom_association
from tasks.dicom.core.header import content_sha256
from tasks.dicom.core.rules import RulesError
from tasks.dicom.core.summary import standing, summarise
from tasks.dicom.core.tables import Delivery, DeliveryAttempt, DeliveryState, Output, Receipt, ReceiptState
from tasks.dicom.deliveries import deliver_batch
from tasks.dicom.disposal import dispose_files
from tasks.dicom.files import process_dicom_file
from tasks.dicom.quarantine import release_from_quarantine
from tasks.dicom.submission import Submission, SubmissionError, submit_files

RULES = """
destinations:
  - name: shelf
    folder: {path: shelf}
    verify: read_back
rulesets:
  - name: routing
    execution_mode: FIRST_MATCH
    rules:
      - name: ct
        match_criteria: [{tag: Modality, op: eq, value: CT}]
        tag_modifications: [{action: set, tag: InstitutionName, value: Here}]
        audit: {}
        destinations: [shelf]
      - name: mr
        match_criteria: [{tag: Modality, op: eq, value: MR}]
        destinations: [shelf]
      - name: fails
        match_criteria: [{tag: Modality, op: eq, value: OT}]
        tag_modifications: [{action: copy, source: PatientMotherBirthName, destination: PatientComments}]
        destinations: [shelf]
"""


def example(name: str) -> Path:
    found = get_testdata_file(name, download=False)
    assert found
    return Path(str(found))


@pytest.fixture
def rules(home: Path) -> Path:
    folder = home / "dicom" / "rules"
    folder.mkdir(parents=True)
    (folder / "rules.yaml").write_text(RULES)
    return folder


def receipts() -> list[Receipt]:
    with session("dicom", read_only=True) as opened:
        return list(opened.exec(select(Receipt)).all())


def work_off(association_id: UUID) -> None:
    """What the flow does, without waiting."""
    with session("dicom", read_only=True) as opened:
        left = standing(opened, association_id)
    for destination, deliveries in left.unsettled.items():
        deliver_batch.fn(destination, [key for key, _ in deliveries])
    with session("dicom", read_only=True) as opened:
        left = standing(opened, association_id)
    dispose_files.fn(left.disposable)


def test_files_go_all_the_way(ledger: str, rules: Path, home: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"not dicom at all" * 20)
    files = [example("CT_small.dcm"), example("MR_small.dcm"), broken]
    submission = submit_files(files)
    assert submission.association_id is not None and submission.refused == []
    counts = process_dicom_association.fn(submission.paths)
    assert (counts.files, counts.evaluated, counts.matched, counts.modified, counts.quarantined) == (3, 2, 2, 1, 1)
    work_off(submission.association_id)
    with session("dicom", read_only=True) as opened:
        summary = summarise(opened, submission.association_id)
        assert standing(opened, submission.association_id).done
    assert (summary.verified, summary.disposed, summary.quarantined) == (2, 2, 1)
    sent = {pydicom.dcmread(path).Modality: pydicom.dcmread(path) for path in (home / "shelf").rglob("*.dcm")}
    assert sent["CT"].InstitutionName == "Here"
    assert sent["CT"].PixelData == pydicom.dcmread(files[0]).PixelData
    assert sent["MR"] == pydicom.dcmread(files[1])
    refused = next(row for row in receipts() if row.state is ReceiptState.QUARANTINED)
    assert refused.reason and "not a DICOM file" in refused.reason
    assert (home / "dicom" / refused.path).read_bytes() == broken.read_bytes()
    assert list((home / "dicom" / "staging").iterdir()) == [], "staged copies go when they are verified"


def test_a_failing_change_stops_the_delivery(ledger: str, rules: Path, tmp_path: Path) -> None:
    data_set = pydicom.dcmread(example("CT_small.dcm"))
    data_set.Modality = "OT"
    data_set.save_as(tmp_path / "ot.dcm")
    counts = process_dicom_file.fn(str(tmp_path / "ot.dcm"))
    assert (counts.quarantined, counts.deliveries) == (1, 0)
    with session("dicom", read_only=True) as opened:
        assert opened.exec(select(Delivery)).all() == []
    (row,) = receipts()
    assert row.reason and "PatientMotherBirthName: is absent" in row.reason and "routing/fails" in row.reason


def test_the_same_instance_sent_again_is_delivered_once(ledger: str, rules: Path, home: Path) -> None:
    for _ in range(2):
        submission = submit_files([example("CT_small.dcm")])
        assert submission.association_id is not None
        process_dicom_association.fn(submission.paths)
        process_dicom_association.fn(submission.paths)
        work_off(submission.association_id)
    with session("dicom", read_only=True) as opened:
        (delivery,) = opened.exec(select(Delivery)).all()
        (output,) = opened.exec(select(Output)).all()
    assert (delivery.state, delivery.attempts) == (DeliveryState.VERIFIED, delivery.attempts)
    assert Counter(row.state for row in receipts()) == {ReceiptState.DISPOSED: 2}
    assert {row.output_id for row in receipts()} == {output.id}
    assert len(list((home / "shelf").rglob("*.dcm"))) == 1
    assert list((home / "dicom" / "staging").iterdir()) == []


def test_the_same_instances_in_two_associations_at_once(ledger: str, rules: Path, home: Path, tmp_path: Path) -> None:
    instance = pydicom.dcmread(example("MR_small.dcm"))
    files = [tmp_path / f"{number}.dcm" for number in range(20)]
    for number, file in enumerate(files):
        instance.SOPInstanceUID = f"1.2.3.{number}"
        instance.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(instance.SOPInstanceUID)
        instance.save_as(file)
    sent = [submit_files(files), submit_files(reversed(files))]

    def process(submission: Submission) -> None:
        assert submission.association_id is not None
        process_dicom_association.fn(submission.paths)
        work_off(submission.association_id)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(process, sent))
    for submission in sent:
        process(submission)
    assert Counter(row.state for row in receipts()) == {ReceiptState.DISPOSED: 40}
    assert len(list((home / "shelf").rglob("*.dcm"))) == 20


def test_one_bad_path_is_named_and_the_rest_goes_on(ledger: str, rules: Path, tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match=r"missing\.dcm: No such file"):
        process_dicom_association.fn([str(tmp_path / "missing.dcm"), str(example("MR_small.dcm"))])
    assert [row.state for row in receipts()] == [ReceiptState.EVALUATED]


def test_invalid_rules_change_nothing(ledger: str, rules: Path) -> None:
    (rules / "rules.yaml").write_text(
        "rulesets:\n  - name: x\n    rules:\n      - name: y\n        destinations: [nowhere]\n"
    )
    submission = submit_files([example("MR_small.dcm")])
    with pytest.raises(RulesError, match=r"rules\.yaml:5: .*nowhere"):
        process_dicom_association.fn(submission.paths)
    assert [row.state for row in receipts()] == [ReceiptState.RECEIVED]


def test_a_batch_that_runs_again_skips_what_it_moved_to_quarantine(ledger: str, rules: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.dcm").write_bytes(b"not dicom at all" * 20)
    submission = submit_files([tmp_path / "broken.dcm", example("MR_small.dcm")])
    assert process_dicom_association.fn(submission.paths).quarantined == 1
    assert process_dicom_association.fn(submission.paths).files == 0


def test_a_dead_delivery_that_may_have_arrived_is_looked_for_when_its_instance_comes_again(
    ledger: str, rules: Path
) -> None:
    process_dicom_association.fn(submit_files([example("MR_small.dcm")]).paths)
    with session("dicom") as opened:
        delivery = opened.exec(select(Delivery)).one()
        delivery.state, delivery.sent_at = DeliveryState.DEAD, delivery.created_at
        opened.add(delivery)
    process_dicom_association.fn(submit_files([example("MR_small.dcm")]).paths)
    with session("dicom", read_only=True) as opened:
        (delivery,) = opened.exec(select(Delivery)).all()
        (attempt,) = opened.exec(select(DeliveryAttempt)).all()
    assert (delivery.state, delivery.attempts) == (DeliveryState.UNKNOWN, 0)
    assert attempt.reason == "received again"


def test_a_file_released_under_other_rules_leaves_the_former_copy_alone(ledger: str, rules: Path, home: Path) -> None:
    submission = submit_files([example("CT_small.dcm")])
    process_dicom_association.fn(submission.paths)
    with session("dicom") as opened:
        delivery = opened.exec(select(Delivery)).one()
        delivery.state = DeliveryState.DEAD
        opened.add(delivery)
    (row,) = receipts()
    dispose_files.fn([row.id])
    (rules / "rules.yaml").write_text(RULES.replace("value: Here", "value: Elsewhere"))
    release_from_quarantine(row.id)
    process_dicom_association.fn([receipts()[0].path])
    with session("dicom", read_only=True) as opened:
        outputs = opened.exec(select(Output)).all()
    assert len(outputs) == 2
    for output in outputs:
        assert content_sha256(home / "dicom" / output.path) == output.content_sha256
