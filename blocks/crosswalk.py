"""Crosswalks: external SQL tables that hold other values for what an instance says, by one or more keys.

Needs a database that SQLAlchemy reaches, with one row for each combination of keys. Keys are only ever bound as
parameters; the names of tables and columns are checked against the database.

Errors::

    CrosswalkTableError
    ├── CrosswalkUnreachableError   the database does not answer: try again later
    ├── CrosswalkMismatchError      no such table or column, or another number of keys: a person must look
    └── CrosswalkAmbiguousError     several rows for the same keys
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, SecretStr, StringConstraints
from sqlalchemy import Column, MetaData, Table, and_, create_engine, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, NoSuchTableError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import NullPool

# A crosswalk is asked while instances wait; a database that takes longer is as good as away.
TIMEOUT_SECONDS = 10
# Instances of one batch mostly ask for the same few patients.
REMEMBERED_ROWS = 10_000

Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]


class CrosswalkTableError(Exception):
    """A crosswalk cannot be used. The text holds no values and no URL."""


class CrosswalkUnreachableError(CrosswalkTableError):
    """The database does not answer."""


class CrosswalkMismatchError(CrosswalkTableError):
    """The table is not as the block says, or is asked by another number of keys."""


class CrosswalkAmbiguousError(CrosswalkTableError):
    """The table has several rows for the same keys."""


class CrosswalkClient:
    """Asks one table. Rows are remembered, so keep it for a batch, not for a day; it holds no connection."""

    def __init__(self, url: URL, schema: str | None, table: str, keys: Sequence[str], values: Sequence[str]) -> None:
        self._engine = create_engine(url, poolclass=NullPool, connect_args=_connect_args(url))
        self._where = (schema, table)
        self._key_names = tuple(keys)
        self._value_names = tuple(values)
        self._columns: tuple[list[Column[Any]], list[Column[Any]]] | None = None
        self._rows: dict[tuple[str, ...], dict[str, str | None] | None] = {}

    def lookup(self, keys: Sequence[str]) -> Mapping[str, str | None] | None:
        """The row for these keys.

        Args:
            keys: one text for each key column, in their order.

        Returns:
            Value column -> text, None for NULL; or None where there is no row.

        Raises:
            CrosswalkUnreachableError: the database does not answer.
            CrosswalkMismatchError: no such table or column, or another number of keys.
            CrosswalkAmbiguousError: several rows.
        """
        wanted = tuple(keys)
        if len(wanted) != len(self._key_names):
            raise CrosswalkMismatchError(f"{len(self._key_names)} keys are needed, {len(wanted)} were given")
        if wanted not in self._rows:
            if len(self._rows) >= REMEMBERED_ROWS:
                self._rows.clear()
            self._rows[wanted] = self._ask(wanted)
        return self._rows[wanted]

    def _ask(self, keys: tuple[str, ...]) -> dict[str, str | None] | None:
        key_columns, value_columns = self._known_columns()
        try:
            bound = [_as_column(column, key) for column, key in zip(key_columns, keys, strict=True)]
        except ValueError:
            # What a column cannot hold is in no row.
            return None
        matching = and_(*(column == value for column, value in zip(key_columns, bound, strict=True)))
        # A second row is all that is needed to know that there are too many.
        query = select(*value_columns).where(matching).limit(2)
        try:
            with self._engine.connect() as connection:
                rows = connection.execute(query).all()
        except (SQLAlchemyError, OSError) as error:
            raise _unusable(error) from None
        if len(rows) > 1:
            raise CrosswalkAmbiguousError("several rows for the same keys")
        if not rows:
            return None
        return {
            name: None if value is None else str(value) for name, value in zip(self._value_names, rows[0], strict=True)
        }

    def _known_columns(self) -> tuple[list[Column[Any]], list[Column[Any]]]:
        if self._columns is None:
            schema, name = self._where
            try:
                table = Table(name, MetaData(), schema=schema, autoload_with=self._engine, resolve_fks=False)
            except NoSuchTableError:
                raise CrosswalkMismatchError(f"the database has no table {name}") from None
            except (SQLAlchemyError, OSError) as error:
                raise _unusable(error) from None
            missing = [column for column in (*self._key_names, *self._value_names) if column not in table.columns]
            if missing:
                raise CrosswalkMismatchError(f"the table {name} has no column {', '.join(missing)}")
            self._columns = (
                [table.columns[column] for column in self._key_names],
                [table.columns[column] for column in self._value_names],
            )
        return self._columns


def _connect_args(url: URL) -> dict[str, Any]:
    match url.get_backend_name():
        case "postgresql":
            # Nothing here ever writes.
            options = f"-cstatement_timeout={TIMEOUT_SECONDS * 1000} -cdefault_transaction_read_only=on"
            return {"connect_timeout": TIMEOUT_SECONDS, "options": options}
        case "sqlite":
            return {"timeout": TIMEOUT_SECONDS}
    return {}


def _as_column(column: Column[Any], key: str) -> Any:
    """A key as the column's type, so that the database compares like with like and uses its index."""
    try:
        kind = column.type.python_type
    except NotImplementedError:
        return key
    if "\0" in key:
        raise ValueError("no database holds this character in a text")
    if kind is not int:
        return key
    if abs(whole := int(key)) >= 2**63:
        raise ValueError("no column of integers holds it")
    return whole


def _unusable(error: SQLAlchemyError | OSError) -> CrosswalkTableError:
    # Only the kind of the error: its text quotes the statement, the keys or the URL.
    if isinstance(error, DataError | ProgrammingError):
        return CrosswalkMismatchError(f"the database refuses the question ({type(error.orig).__name__})")
    return CrosswalkUnreachableError(f"the database does not answer ({type(error).__name__})")


class CrosswalkTable(Block):
    """A table in an SQL database that holds other values for what an instance says, such as research identifiers.

    Example:
        Ask a stored crosswalk:
        ```python
        from blocks.crosswalk import CrosswalkTable

        crosswalk = CrosswalkTable.load("BLOCK_NAME")
        row = crosswalk.get_client().lookup(["4711"])
        ```
    """

    _block_type_name = "Crosswalk Table"
    _block_type_slug = "crosswalk-table"
    _description = "A table in an SQL database that holds other values for what an instance says."
    _documentation_url = HttpUrl("https://github.com/quintet/quintet/tree/main/docs/dicom-rules.md")

    url: SecretStr = Field(description="SQLAlchemy URL of the database, with its password.")
    database_schema: Identifier | None = Field(None, description="Schema of the table, where it is not the default.")
    table: Identifier = Field(description="Name of the table or view.")
    key_columns: list[Identifier] = Field(
        min_length=1, description="Columns to look up by, in the order of the keys in rules."
    )
    value_columns: list[Identifier] = Field(min_length=1, description="Columns that rules may take values from.")

    def get_client(self) -> CrosswalkClient:
        """A client for this table.

        Raises:
            CrosswalkMismatchError: the URL is none, or its driver is not installed.
        """
        try:
            url = make_url(self.url.get_secret_value())
            if url.get_backend_name() == "postgresql" and url.drivername == "postgresql":
                # The driver that is installed with this project.
                url = url.set(drivername="postgresql+psycopg")
            return CrosswalkClient(url, self.database_schema, self.table, self.key_columns, self.value_columns)
        except (ArgumentError, ImportError, SQLAlchemyError):
            raise CrosswalkMismatchError("the URL is no SQLAlchemy URL of an installed driver") from None
