"""SQLAlchemy engines: one per domain, SQLite by default, PostgreSQL by URL. Knows no Prefect.

On SQLite every domain has a file of its own, so that a burst in one never delays a durable commit in another. On
PostgreSQL every domain has a schema of its own, put first on the search path.

Errors::

    LedgerError
    ├── LedgerUnreadableError   the file cannot be opened or written (path, permissions, no such server)
    ├── LedgerOutdatedError     it lacks tables or columns: migrations have not been run
    └── LedgerCorruptError      the file is not a database, or fails its own check
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlmodel import Session

from blocks.settings import Settings, settings

# Longer than any transaction of ours takes on a slow disk; a writer that waits this long is stuck, not queued.
BUSY_TIMEOUT_MS = 30_000

# Nothing that must outlast a power cut hangs on a commit in these; all others write to the disk itself.
_QUICK_DOMAINS = frozenset({"rates"})

_WITH_BACKUP = "restore your backup, and start again."
#: What is to be done where a domain's file is damaged, once it was moved aside.
_AFTER_DAMAGE = {
    "dicom": "restore your backup, and start again: received files are adopted from the spool.",
    "league": "restore your backup, or run `quintet apply` for an empty one, and start again: league-recover-player "
    "fetches what is missing.",
    "traders": "restore your backup, or run `quintet apply` for an empty one, and start again: traders are discovered "
    "anew, and their positions and histories fetched.",
    "rates": "run `quintet apply`, and start again: the limits are learned anew.",
}


class LedgerError(Exception):
    """A domain's database cannot be used."""


class LedgerUnreadableError(LedgerError):
    """The database cannot be reached, opened or written."""


class LedgerOutdatedError(LedgerError):
    """The database lacks tables or columns that this version of quintet needs."""


class LedgerCorruptError(LedgerError):
    """The file is not a database, or is damaged."""


def sqlite_path(domain: str, from_settings: Settings | None = None) -> Path:
    """Where the SQLite file of a domain lies."""
    return (from_settings or settings()).domain_home(domain) / f"{domain}.db"


def database_url(domain: str, from_settings: Settings | None = None) -> str:
    """The SQLAlchemy URL of a domain's database, with the psycopg driver where it is PostgreSQL."""
    chosen = from_settings or settings()
    if chosen.database_url is None:
        return f"sqlite:///{sqlite_path(domain, chosen)}"
    url = make_url(chosen.database_url.get_secret_value())
    return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def _sqlite_connect(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own BEGIN is late and deferred; ours is issued in `_sqlite_begin`.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        # An acknowledgement to a sender hangs on this commit: it must survive a power cut.
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _sqlite_quick(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL").close()


def _sqlite_begin(connection: Connection) -> None:
    # A deferred transaction that reads first and writes later fails at once when another wrote in between.
    mode = "DEFERRED" if connection.get_execution_options().get("read_only") else "IMMEDIATE"
    connection.exec_driver_sql(f"BEGIN {mode}")


#: By URL and domain, for the life of the process.
_engines: dict[tuple[str, str], Engine] = {}
_engines_lock = threading.Lock()


def _make_engine(url: str, schema: str) -> Engine:
    quick = schema in _QUICK_DOMAINS
    # Statements are logged where they fail; what is written, people's names among it, must not be.
    if not url.startswith("sqlite"):
        # A plan that was made while the tables were empty reads them whole; PostgreSQL would keep it for a connection
        # until it next gathers statistics, and a first sync would slow down with every match.
        options = f"-csearch_path={schema},public -cplan_cache_mode=force_custom_plan"
        # Who waited for a row's lock must then see what the other wrote, whatever the server's own default is.
        options += r" -cdefault_transaction_isolation=read\ committed"
        options += " -csynchronous_commit=off" if quick else ""
        return create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args={"options": options})
    made = create_engine(url, hide_parameters=True, connect_args={"check_same_thread": False})
    event.listen(made, "connect", _sqlite_connect)
    if quick:
        event.listen(made, "connect", _sqlite_quick)
    event.listen(made, "begin", _sqlite_begin)
    return made


def engine(domain: str) -> Engine:
    """The engine of one domain, made once per process and URL."""
    key = (database_url(domain), domain)
    with _engines_lock:
        if key not in _engines:
            _engines[key] = _make_engine(*key)
        return _engines[key]


def dispose_engines() -> None:
    """Close every pooled connection and forget the engines (tests, and before a fork)."""
    with _engines_lock:
        for made in _engines.values():
            made.dispose()
        _engines.clear()


def _look_at(domain: str) -> str:
    if settings().database_url is not None:
        return "Start that server, or correct QUINTET_DATABASE_URL."
    return f"Let this user write {sqlite_path(domain)} and its folder, or set QUINTET_HOME."


@contextmanager
def ledger_errors(domain: str) -> Iterator[None]:
    """Turn a driver's words about an unusable database into an error that says which and what to do."""
    try:
        yield
    except DatabaseError as error:
        said = str(error.orig).lower()
        if "not a database" in said or "malformed" in said:
            raise LedgerCorruptError(
                f"{sqlite_path(domain)} is damaged ({error.orig}). Stop quintet, move the file and its -wal and -shm "
                f"aside, {_AFTER_DAMAGE.get(domain, _WITH_BACKUP)}"
            ) from error
        if "no such table" in said or "no such column" in said or "does not exist" in said:
            raise LedgerOutdatedError(
                f"the {domain} database is not what this version of quintet needs ({error.orig}): run `quintet apply`, "
                "or `quintet up`, which does so first"
            ) from error
        lost = isinstance(error, OperationalError) and (
            "connect" in said or "terminat" in said or getattr(error.orig, "sqlstate", "") is None
        )
        if "is full" in said or "no space left" in said:
            raise LedgerUnreadableError(f"the {domain} database cannot be written: its disk is full") from error
        if lost or "unable to open" in said or "readonly" in said:
            first = str(error.orig).partition("\n")[0]
            raise LedgerUnreadableError(
                f"the {domain} database cannot be opened or written: {first}. {_look_at(domain)}"
            ) from error
        raise


@contextmanager
def session(domain: str, *, read_only: bool = False) -> Iterator[Session]:
    """One transaction of a domain: committed at the end, rolled back on any error.

    Args:
        domain: whose database.
        read_only: take no write lock; nothing is committed.
    """
    options: dict[str, Any] = {"read_only": True} if read_only else {}
    with ledger_errors(domain), Session(engine(domain).execution_options(**options), expire_on_commit=False) as opened:
        yield opened
        if read_only:
            # Detached first, so that what was read stays readable: a rollback would expire it.
            opened.expunge_all()
        else:
            opened.commit()


def check_integrity(domain: str) -> None:
    """Ask the database whether it is whole.

    Raises:
        LedgerCorruptError: SQLite's own check finds damage, or the file is no database.
        LedgerUnreadableError: it cannot be opened.
    """
    with session(domain, read_only=True) as opened:
        if opened.connection().dialect.name == "sqlite":
            answer = opened.connection().execute(text("PRAGMA quick_check(1)")).scalar_one()
            if answer != "ok":
                raise LedgerCorruptError(f"{sqlite_path(domain)} is damaged: {answer}")
        else:
            opened.connection().execute(text("SELECT 1"))
