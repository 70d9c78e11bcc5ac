"""Engines: transactions, the two databases, and what a damaged or unwritable one says."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import select

from blocks.engine import (
    LedgerCorruptError,
    LedgerOutdatedError,
    LedgerUnreadableError,
    check_integrity,
    session,
    sqlite_path,
)
from blocks.settings import settings
from tasks.dicom.core.tables import Association, AssociationState, Delivery, Receipt, SourceType


def test_rows_come_back_as_they_went_in(ledger: str) -> None:
    opened_at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    with session("dicom") as opened:
        association = Association(source_type=SourceType.DIMSE_LISTENER, opened_at=opened_at)
        opened.add(association)
        opened.flush()
        opened.add(Receipt(association_id=association.id, path="a", size=1, content_sha256="0" * 64))
    with session("dicom", read_only=True) as opened:
        found = opened.exec(select(Association)).one()
        receipt = opened.exec(select(Receipt)).one()
    assert (found.state, found.opened_at, found.opened_at.tzinfo) == (AssociationState.OPEN, opened_at, UTC)
    assert receipt.matched_rules == []


def test_an_error_rolls_back(ledger: str) -> None:
    with pytest.raises(RuntimeError), session("dicom") as opened:
        opened.add(Association(source_type=SourceType.UNKNOWN))
        opened.flush()
        raise RuntimeError
    with session("dicom", read_only=True) as opened:
        assert opened.exec(select(Association)).all() == []


def test_sqlite_commits_survive_a_power_cut(home: Path) -> None:
    with session("dicom", read_only=True) as opened:
        assert opened.connection().execute(text("PRAGMA synchronous")).scalar_one() == 2
        assert opened.connection().execute(text("PRAGMA journal_mode")).scalar_one() == "wal"


def test_a_damaged_file_is_named(home: Path) -> None:
    sqlite_path("dicom").write_bytes(b"this is not a database" * 100)
    with pytest.raises(LedgerCorruptError, match=r"dicom\.db is damaged .* move the file"):
        check_integrity("dicom")


@pytest.mark.parametrize(
    ("domain", "then"),
    [
        ("dicom", "adopted from the spool"),
        ("league", "league-recover-player"),
        ("rates", "learned anew"),
        ("x", "backup"),
    ],
)
def test_a_damaged_file_is_mended_in_the_way_of_its_domain(home: Path, domain: str, then: str) -> None:
    sqlite_path(domain).write_bytes(b"no database" * 1000)
    with pytest.raises(LedgerCorruptError, match=rf"{domain}\.db is damaged .*{then}"):
        check_integrity(domain)


def test_missing_tables_say_what_to_run(ledger: str) -> None:
    with session("dicom") as opened:
        opened.connection().execute(text("DROP TABLE dicom_delivery_attempt"))
        opened.connection().execute(text("DROP TABLE dicom_delivery"))
    with pytest.raises(LedgerOutdatedError, match="run `quintet apply`"), session("dicom") as opened:
        opened.exec(select(Delivery)).all()


def test_a_server_that_is_away_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:1/none")
    settings.cache_clear()
    with pytest.raises(LedgerUnreadableError, match="dicom database cannot be opened") as raised:
        check_integrity("dicom")
    assert "secret" not in str(raised.value)


def test_a_server_that_cannot_be_found_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_DATABASE_URL", "postgresql://reader:secret@name.invalid/dicom")
    settings.cache_clear()
    with pytest.raises(LedgerUnreadableError, match="correct QUINTET_DATABASE_URL") as raised:
        check_integrity("dicom")
    assert "secret" not in str(raised.value)
