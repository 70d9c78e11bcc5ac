"""`quintet dicom dustbin` and `quintet dicom quarantine` on a real ledger."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from deployments.commands import dicom_dustbin, dicom_quarantine
from deployments.commands.dicom_dustbin import receipt_id
from deployments.errors import ExpectedError
from tasks.dicom.core.tables import ReceiptState
from tasks.dicom.disposal import dispose_file
from tasks.dicom.dustbin import clean_dustbin
from tests.dicom.disposal.conftest import Clock
from tests.dicom.disposal.gateway import DEAD, NOW, VERIFIED, Gateway

runner = CliRunner(env={"COLUMNS": "400", "NO_COLOR": "1", "TERM": "dumb"})


def call(app: typer.Typer, *arguments: object) -> Result:
    result = runner.invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, ExpectedError | SystemExit):
        raise result.exception
    return result


@pytest.fixture
def binned(gateway: Gateway) -> str:
    key = gateway.receive(deliveries=VERIFIED, sop="1.2.3")
    dispose_file.fn(key)
    return str(key)


def test_the_list_shows_files_and_room(gateway: Gateway, binned: str) -> None:
    output = call(dicom_dustbin.app, "list").output
    assert binned[:8] in output
    assert "2026-04-03 05:06Z" in output
    assert "1 of 1 files shown; the dustbin takes 6 bytes" in output
    assert binned[:8] not in call(dicom_dustbin.app, "list", "--held").output


def test_a_hold_is_shown_and_ended(gateway: Gateway, binned: str) -> None:
    assert "on legal hold" in call(dicom_dustbin.app, "hold", binned, "--reason", "case 42").output
    assert "case 42" in call(dicom_dustbin.app, "list", "--held").output
    assert isinstance(call(dicom_dustbin.app, "restore", binned).exception, ExpectedError)
    assert "no longer on hold" in call(dicom_dustbin.app, "release", binned).output


def test_restore_by_the_first_characters(gateway: Gateway, binned: str) -> None:
    assert call(dicom_dustbin.app, "restore", binned[:13]).output == f"restored to spool/{binned}.dcm\n"
    error = call(dicom_dustbin.app, "restore", binned).exception
    assert str(error) == f"receipt {binned} was restored to spool/{binned}.dcm"


def test_a_copy_is_handed_out_once(gateway: Gateway, binned: str, tmp_path: Path) -> None:
    target = tmp_path / "copy.dcm"
    assert call(dicom_dustbin.app, "restore", binned, "--to", target).exit_code == 0
    assert target.read_bytes() == b"pixels"
    assert isinstance(call(dicom_dustbin.app, "restore", binned, "--to", target).exception, ExpectedError)


def test_cleaning_only_shows_unless_told(gateway: Gateway, clock: Clock, binned: str) -> None:
    clock.now = NOW.replace(month=6)
    output = call(dicom_dustbin.app, "clean").output
    assert "dry run" in output
    assert "marked" in output
    assert gateway.entry(receipt_id(binned)).marked_at is None
    call(dicom_dustbin.app, "clean", "--really")
    assert gateway.entry(receipt_id(binned)).marked_at == clock.now


def test_cleaning_fails_on_an_alarm(gateway: Gateway, binned: str) -> None:
    (gateway.home / gateway.receipt(receipt_id(binned)).path).unlink()
    result = call(dicom_dustbin.app, "clean")
    assert "the file is missing" in result.output
    assert isinstance(result.exception, ExpectedError)


def test_a_sign_off_names_somebody(gateway: Gateway, clock: Clock, binned: str) -> None:
    assert "signed off by Dr. Who" in call(dicom_dustbin.app, "sign-off", binned, "--by", "Dr. Who").output
    assert isinstance(call(dicom_dustbin.app, "sign-off", binned, "--by", " ").exception, ExpectedError)
    clock.now = NOW.replace(month=6)
    assert clean_dustbin.fn(dry_run=False).counts()["marked"] == 1


@pytest.mark.parametrize("text", ["", "abc", "nonsense", "../../etc", "%%%%", "ffffffff"])
def test_what_names_no_receipt_is_said_so(gateway: Gateway, binned: str, text: str) -> None:
    with pytest.raises(ExpectedError, match=r"is no receipt|no receipt begins"):
        receipt_id(text)


def test_quarantined_files_are_listed_and_released(gateway: Gateway) -> None:
    key = gateway.receive(deliveries=DEAD)
    dispose_file.fn(key)
    output = call(dicom_quarantine.app, "list").output
    assert str(key)[:8] in output
    assert "not delivered: viewer" in output
    association = gateway.receipt(key).association_id
    assert "the next sweep processes" in call(dicom_quarantine.app, "release", key).output
    assert gateway.receipt(key).state is ReceiptState.RECEIVED
    assert gateway.receipt(key).association_id != association
    assert isinstance(call(dicom_quarantine.app, "release", key).exception, ExpectedError)
