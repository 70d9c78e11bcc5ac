"""Migrations: they build what the models declare, on both databases, once, however many run them at a time."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy
from sqlalchemy import text
from sqlmodel import Session, select

from blocks.engine import LedgerCorruptError, dispose_engines, engine, session, sqlite_path
from blocks.settings import settings
from deployments.errors import MigrationError
from deployments.migrations import DOMAINS, current, differences, head, migrate, migrate_all, pending, revisions
from tasks.dicom.core.tables import Association, Receipt, SourceType


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def empty_database(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty home, or an empty PostgreSQL database; gives the dialect's name."""
    if request.param == "sqlite":
        yield "sqlite"
        return
    server = sqlalchemy.make_url(request.getfixturevalue("postgres_url")).set(drivername="postgresql+psycopg")
    name = f"test_{uuid4().hex}"
    admin = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    monkeypatch.setenv("QUINTET_DATABASE_URL", server.set(database=name).render_as_string(hide_password=False))
    settings.cache_clear()
    yield "postgresql"
    for domain in DOMAINS:
        engine(domain).dispose()
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.mark.parametrize("domain", DOMAINS)
def test_migrated_schema_is_the_models(domain: str, empty_database: str) -> None:
    assert current(domain) is None
    assert migrate(domain) == (None, head(domain))
    assert differences(domain) == []
    assert current(domain) == head(domain)


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_revision_leads_to_the_head(domain: str, empty_database: str) -> None:
    for revision in revisions(domain):
        assert migrate(domain, revision)[1] == revision
    assert migrate(domain) == (head(domain), head(domain))
    assert differences(domain) == []


def test_a_second_run_has_nothing_to_say(empty_database: str) -> None:
    created = [f"created database {domain} (empty -> {head(domain)})" for domain in DOMAINS]
    assert [str(change) for change in pending()] == created
    assert [str(change) for change in migrate_all()] == created
    assert migrate_all() == pending() == []
    assert [found for domain in DOMAINS for found in differences(domain)] == []


def test_rows_survive_and_references_hold_after_it(empty_database: str) -> None:
    migrate("dicom")
    with session("dicom") as opened:
        opened.add(Association(source_type=SourceType.UNKNOWN))
    migrate("dicom")
    with session("dicom", read_only=True) as opened:
        assert len(opened.exec(select(Association)).all()) == 1
    with pytest.raises(sqlalchemy.exc.IntegrityError), Session(engine("dicom")) as opened:
        opened.add(Receipt(association_id=uuid4(), path="a", size=1, content_sha256="0" * 64))
        opened.commit()


def test_two_processes_at_once_migrate_once(empty_database: str) -> None:
    script = "from deployments.migrations import migrate; print(migrate('dicom')[0])"
    running = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = sorted(process.communicate(timeout=60)[0].strip() for process in running)
    assert [process.returncode for process in running] == [0, 0]
    assert answers == [head("dicom"), "None"]
    assert differences("dicom") == []


def test_a_newer_database_is_refused_and_left_alone(empty_database: str) -> None:
    migrate("dicom")
    with session("dicom") as opened:
        opened.connection().execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(MigrationError, match="revision 9999, which this version of quintet does not know"):
        migrate("dicom")
    assert current("dicom") == "9999"


def test_a_migration_that_breaks_references_is_rolled_back(home: Path) -> None:
    migrate("dicom")
    raw = engine("dicom").raw_connection()
    raw.driver_connection.execute("PRAGMA foreign_keys=OFF")  # type: ignore[union-attr]
    raw.driver_connection.execute(  # type: ignore[union-attr]
        "INSERT INTO dicom_delivery_attempt (id, delivery_id, at, state) VALUES ('a', 'nowhere', '2026-01-01', 'SENT')"
    )
    raw.close()
    dispose_engines()
    with pytest.raises(MigrationError, match="refer to rows that do not exist"):
        migrate("dicom")


def test_a_damaged_file_is_named(home: Path) -> None:
    sqlite_path("dicom").write_bytes(b"this is not a database" * 100)
    with pytest.raises(LedgerCorruptError, match=r"dicom\.db is damaged"):
        migrate("dicom")
