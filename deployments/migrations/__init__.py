"""Database migrations: one line of versions per domain, kept in the domain's own SQLite file or PostgreSQL schema.

`quintet apply` and `quintet up` run them. Two processes may do so at once: the second waits for the first and finds
nothing to do. A migration is one transaction on both databases, so a killed one leaves the old schema.

To write one, change the domain's `tables.py` and run `uv run python -m deployments.migrations dicom "what changes"`.
"""

import sqlite3
from importlib import import_module
from pathlib import Path
from typing import cast

from alembic.autogenerate import compare_metadata
from alembic.command import revision as write_revision
from alembic.command import upgrade
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, MetaData, inspect, text

from blocks.engine import engine, ledger_errors, session
from deployments.change import Change
from deployments.errors import MigrationError

#: Domain -> the class whose metadata holds its tables.
DOMAINS = {
    "dicom": "tasks.dicom.core.tables:DicomTable",
    "league": "tasks.league.core.tables:LeagueTable",
    "traders": "tasks.traders.core.schema:TradersTable",
    "rates": "blocks.rate_tables:RateTable",
}

_HERE = Path(__file__).parent


def metadata(domain: str) -> MetaData:
    """The tables of a domain as its models declare them."""
    module, name = DOMAINS[domain].split(":")
    return cast(MetaData, getattr(import_module(module), name).metadata)


def _config(domain: str, connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.set_main_option("version_locations", str(_HERE / domain / "versions").replace("%", "%%"))
    # The default splits the locations at spaces, and a path may hold one.
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    config.attributes["metadata"] = metadata(domain)
    return config


def head(domain: str) -> str:
    """The newest revision that this version of quintet knows."""
    found = ScriptDirectory.from_config(_config(domain)).get_current_head()
    if found is None:
        raise MigrationError(f"no migration of {domain} is packaged; quintet is not installed whole")
    return found


def revisions(domain: str) -> list[str]:
    """All revisions of a domain, oldest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config(domain)).walk_revisions()][::-1]


def current(domain: str) -> str | None:
    """The revision that the domain's database is at; None where it has none yet."""
    with session(domain, read_only=True) as opened:
        connection = opened.connection()
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def migrate(domain: str, to: str = "head") -> tuple[str | None, str]:
    """Bring a domain's database to a revision; waits for another process that is doing so.

    Args:
        domain: whose database.
        to: the revision; the newest by default.

    Returns:
        The revisions before and after; equal where there was nothing to do.

    Raises:
        MigrationError: the database is newer than this version of quintet, or holds rows that break a reference.
        LedgerError: the database cannot be used.
    """
    with ledger_errors(domain), engine(domain).connect() as connection:
        sqlite = connection.dialect.name == "sqlite"
        if sqlite:
            # Changing a table on SQLite means copying it and dropping the old one, which must not cascade. Inside a
            # transaction the pragma is ignored, so it goes past SQLAlchemy, which would begin one.
            _pragma(connection, "foreign_keys=OFF")
        try:
            with connection.begin():
                return _upgrade(connection, domain, to)
        finally:
            if sqlite:
                _pragma(connection, "foreign_keys=ON")


def _upgrade(connection: Connection, domain: str, to: str) -> tuple[str | None, str]:
    if connection.dialect.name == "postgresql":
        # SQLite's BEGIN IMMEDIATE is its lock.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"quintet.migrate.{domain}"})
        connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{domain}"'))
    before = MigrationContext.configure(connection).get_current_revision()
    try:
        upgrade(_config(domain, connection), to)
    except CommandError as error:
        raise MigrationError(
            f"the {domain} database is at revision {before}, which this version of quintet does not know: it was made "
            "by a newer one. Install that version, or restore a backup."
        ) from error
    after = MigrationContext.configure(connection).get_current_revision()
    if connection.dialect.name == "sqlite" and connection.execute(text("PRAGMA foreign_key_check")).first() is not None:
        raise MigrationError(f"rows of the {domain} database refer to rows that do not exist; nothing was migrated")
    return before, cast(str, after)


def _pragma(connection: Connection, words: str) -> None:
    cast(sqlite3.Connection, connection.connection.driver_connection).execute(f"PRAGMA {words}").close()


def migrate_all() -> list[Change]:
    """Bring every domain's database to the newest revision."""
    changes = []
    for domain in DOMAINS:
        before, after = migrate(domain)
        if before != after:
            changes.append(_change(domain, before))
    return changes


def pending() -> list[Change]:
    """What `migrate_all` would do."""
    found = {domain: current(domain) for domain in DOMAINS}
    return [_change(domain, revision) for domain, revision in found.items() if revision != head(domain)]


def _change(domain: str, before: str | None) -> Change:
    return Change(
        "created" if before is None else "changed", "database", domain, f"{before or 'empty'} -> {head(domain)}"
    )


def differences(domain: str) -> list[object]:
    """What stands between the database and the models; empty where the migrations tell the whole truth."""
    with session(domain, read_only=True) as opened:
        return list(compare_metadata(MigrationContext.configure(opened.connection()), metadata(domain)))


def new_revision(domain: str, message: str) -> Path:
    """Write the migration from the database's state to the models' (for developers)."""
    with engine(domain).begin() as connection:
        written = write_revision(
            _config(domain, connection),
            message=message,
            autogenerate=True,
            version_path=str(_HERE / domain / "versions"),
            rev_id=f"{len(revisions(domain)) + 1:04d}",
        )
    return Path(cast(Script, written).path)
