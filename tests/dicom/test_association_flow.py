"""The flow of one association, on a Prefect server: what fails holds nothing else up, and no work is forgotten."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from sqlalchemy.exc import OperationalError
from sqlmodel import col, select

from blocks.engine import engine, session
from blocks.settings import settings
from deployments.limits import LIMITS
from flows.dicom.associations import process_association
from flows.dicom.claims import Claim, claimed
from flows.dicom.files import process_file
from tasks.dicom.associations import process_dicom_association
from tasks.dicom.core import dispatch
from tasks.dicom.core.replay import replay
from tasks.dicom.core.tables import (
    Association,
    AssociationState,
    Delivery,
    DeliveryState,
    DicomTable,
    Receipt,
    ReceiptState,
)
from tasks.dicom.deliveries import UnknownDestinationError
from tasks.dicom.submission import SubmissionError, submit_files
from tasks.foundation.core.columns import utc_now
from tests.dicom.test_associations import RULES, example

# Connections to the Prefect server, which its own client leaves to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")

TWO_DESTINATIONS = RULES.replace("rulesets:", "  - name: gone\n    folder: {path: gone}\nrulesets:").replace(
    "value: MR}]\n        destinations: [shelf]", "value: MR}]\n        destinations: [gone]"
)


@pytest.fixture
def rules(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger with its tables, and rules; every file is a batch of its own."""
    monkeypatch.setenv("QUINTET_DICOM__DELIVERY__BATCH_SIZE", "1")
    settings.cache_clear()
    DicomTable.metadata.create_all(engine("dicom"))
    file = home / "dicom" / "rules" / "rules.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(TWO_DESTINATIONS)
    return file


@pytest.fixture
async def limits(prefect_api: str) -> None:
    async with get_client() as client:
        for limit in LIMITS:
            await client.upsert_global_concurrency_limit_by_name(limit.name, limit.limit)


def submitted(*names: str) -> tuple[UUID, list[str]]:
    submission = submit_files([example(name) for name in names])
    assert submission.association_id is not None
    return submission.association_id, submission.paths


def association(association_id: UUID) -> Association:
    with session("dicom", read_only=True) as opened:
        return opened.get_one(Association, association_id)


async def test_a_destination_that_left_the_rules_and_an_unreadable_file_hold_nothing_else_up(
    limits: None, rules: Path, home: Path
) -> None:
    association_id, paths = submitted("MR_small.dcm", "CT_small.dcm", "CT_small.dcm", "MR_small_RLE.dcm")
    await asyncio.to_thread(process_dicom_association.fn, [paths[0]])
    rules.write_text(RULES)
    unreadable = home / "dicom" / paths[1]
    unreadable.unlink()
    unreadable.mkdir()
    with pytest.raises(OSError, match="directory"):
        await process_association(association_id)
    with session("dicom", read_only=True) as opened:
        states = {row.path: row.state for row in opened.exec(select(Receipt).order_by(col(Receipt.received_at)))}
        delivered = {row.destination: row.state for row in opened.exec(select(Delivery))}
    assert Counter(states.values()) == {"EVALUATED": 1, "RECEIVED": 1, "DISPOSED": 2}
    assert (states[paths[0]], states[paths[1]]) == ("EVALUATED", "RECEIVED")
    assert delivered == {"gone": DeliveryState.PENDING, "shelf": DeliveryState.VERIFIED}
    # Tried again ever later, as any association whose run failed.
    assert association(association_id).state is AssociationState.READY

    unreadable.rmdir()
    unreadable.write_bytes(example("CT_small.dcm").read_bytes())
    with pytest.raises(UnknownDestinationError, match="no destination 'gone' in the rules"):
        await process_association(association_id)
    rules.write_text(TWO_DESTINATIONS)
    assert (await process_association(association_id)).disposed == 4
    assert association(association_id).state is AssociationState.DONE


async def test_a_link_leads_out_of_no_folder_that_files_may_come_from(
    rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed, secret = tmp_path / "allowed", tmp_path / "secret.dcm"
    allowed.mkdir()
    secret.write_bytes(example("MR_small.dcm").read_bytes())
    (allowed / "linked.dcm").symlink_to(secret)
    monkeypatch.setenv("QUINTET_DICOM__RECEIVE__SUBMIT_ROOTS", json.dumps([str(allowed)]))
    settings.cache_clear()
    for path in (secret, allowed / "linked.dcm", allowed):
        with pytest.raises(SubmissionError, match="not below one of the folders"):
            await process_file.fn([str(path)])
    with session("dicom", read_only=True) as opened:
        assert opened.exec(select(Receipt)).all() == []


def test_what_is_replayed_at_the_last_moment_is_not_forgotten(rules: Path) -> None:
    association_id, paths = submitted("MR_small.dcm")
    process_dicom_association.fn(paths)
    claim = Claim(association_id, "run")
    assert claim.take()
    with session("dicom") as opened:
        receipt, delivery = opened.exec(select(Receipt)).one(), opened.exec(select(Delivery)).one()
        receipt.state, delivery.state = ReceiptState.QUARANTINED, DeliveryState.DEAD
        opened.add_all([receipt, delivery])
    with session("dicom") as opened:
        replay(opened, [delivery.id], now=utc_now())
    assert not claim.finish()
    assert association(association_id).state is AssociationState.PROCESSING
    with session("dicom") as opened:
        delivery = opened.exec(select(Delivery)).one()
        delivery.state = DeliveryState.DEAD
        opened.add(delivery)
    assert claim.finish()
    assert association(association_id).state is AssociationState.DONE


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.02)


async def test_a_ledger_that_does_not_answer_for_a_moment_costs_no_claim(
    rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.dicom.claims.RENEWALS", 10_000)
    association_id, _ = submitted("MR_small.dcm")
    renew, asked = dispatch.renew, []

    def fail_once(*arguments: object, **named: object) -> bool:
        asked.append(arguments)
        if len(asked) == 1:
            raise OperationalError("UPDATE", {}, Exception("server closed the connection"))
        return renew(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(dispatch, "renew", fail_once)
    async with claimed(association_id, "run") as claim:
        assert claim is not None
        await asyncio.wait_for(until(lambda: len(asked) >= 3), 30)
        assert not claim.lost
    assert association(association_id).state is AssociationState.READY


async def test_a_ledger_that_stays_away_ends_the_claim(rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_DICOM__DELIVERY__LEASE_SECONDS", "0.2")
    settings.cache_clear()
    association_id, _ = submitted("MR_small.dcm")

    def fail(*_: object, **__: object) -> bool:
        raise OperationalError("UPDATE", {}, Exception("server closed the connection"))

    monkeypatch.setattr(dispatch, "renew", fail)
    async with claimed(association_id, "run") as claim:
        assert claim is not None
        await asyncio.wait_for(until(lambda: claim.lost), 30)
    assert association(association_id).state is AssociationState.READY
