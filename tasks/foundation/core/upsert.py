"""Insert rows unless their natural keys are there, on SQLite and PostgreSQL alike, safe against other writers."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, CursorResult
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, SQLModel, select

Row = TypeVar("Row", bound=SQLModel)

#: Statements by dialect, driver, and what they are; as many as the code has.
_prepared: dict[tuple[str, str, Hashable], Any] = {}


def execute_prepared(
    session: Session, name: Hashable, build: Callable[[], Any], rows: Sequence[Mapping[str, Any]]
) -> CursorResult[Any]:
    """Execute a statement that is compiled once per process.

    SQLAlchemy compiles an INSERT with ON CONFLICT every time, which takes many times as long as executing it.

    Args:
        session: the transaction.
        name: tells the statement from all others; everything that `build` depends on is part of it.
        build: makes the statement.
        rows: the values of its parameters, all for the same ones; one row, or many.
    """
    connection = session.connection()
    columns = tuple(rows[0])
    key = (connection.dialect.name, connection.dialect.driver, (name, columns))
    if key not in _prepared:
        _prepared[key] = build().compile(dialect=connection.dialect, column_keys=list(columns), for_executemany=True)
    return connection.execute(_prepared[key], rows if len(rows) > 1 else rows[0])


def insert_for(session: Session, model: type[SQLModel]) -> Any:
    """An INSERT of the session's dialect, which has `on_conflict_do_update` and `on_conflict_do_nothing`."""
    table: Any = model
    insert: Callable[..., Any] = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    return insert(table)


def _inserted(written: int) -> bool:
    if written not in (0, 1):
        raise RuntimeError(f"the driver does not say whether it inserted a row (it says {written})")
    return written == 1


def insert_unless_present(
    session: Session, model: type[SQLModel], row: Mapping[str, Any], *, key: Iterable[str]
) -> bool:
    """Insert one row, given by its columns, unless its key is there; waits for another who is inserting the same.

    Args:
        session: the transaction; nothing is committed.
        model: the table.
        row: a value for every column.
        key: the columns of a unique constraint.

    Returns:
        Whether it was inserted now: of any number of concurrent callers this is so for one.
    """
    unique = tuple(key)

    def build() -> Any:
        # The driver tells how many rows it wrote; an ORM `RETURNING` would not say which of the two happened.
        # SQLAlchemy keeps that of an INSERT only when asked, and else says -1 on PostgreSQL.
        statement = insert_for(session, model).on_conflict_do_nothing(index_elements=list(unique))
        return statement.execution_options(preserve_rowcount=True)

    return _inserted(execute_prepared(session, ("insert unless present", model, unique), build, [dict(row)]).rowcount)


def insert_if_absent(session: Session, row: Row, *, key: tuple[str, ...]) -> tuple[Row, bool]:
    """Insert `row`, or find the one that already stands under its key.

    Args:
        session: the transaction; nothing is committed.
        row: a table row that is not in the session.
        key: the columns of a unique constraint.

    Returns:
        The row as the session knows it, and whether it was inserted now.
    """
    model = type(row)
    table: Any = model
    inserted = insert_unless_present(session, model, row.model_dump(), key=key)
    wanted = select(model).where(*(getattr(table, name) == getattr(row, name) for name in key))
    return session.exec(wanted).one(), inserted


def upsert_rows(
    session: Session,
    model: type[SQLModel],
    rows: Iterable[Mapping[str, Any]],
    *,
    key: tuple[str, ...],
    update: Callable[[Any], Mapping[str, ColumnElement[Any]]] | tuple[str, ...] = (),
) -> None:
    """Insert many rows; where a key is there already, update that row, or leave it where nothing is to be updated.

    Rows go in the order of their keys, so that two transactions with rows in common wait for each other instead of
    ending in a deadlock. One statement is prepared for all of them, whatever their number.

    Args:
        session: the transaction; nothing is committed. Rows the session holds as objects are not refreshed.
        model: the table.
        rows: a value for every column of the table, all with the same columns.
        key: the columns of the primary key or a unique constraint.
        update: the columns that take the new row's value, or a function (of a module, not a lambda: the statement is
            kept by it) that gives, for the new row, columns and their values.
    """
    ordered = sorted((dict(row) for row in rows), key=lambda row: tuple(row[name] for name in key))
    if not ordered:
        return

    def build() -> Any:
        statement = insert_for(session, model)
        changes = (
            dict(update(statement.excluded))
            if callable(update)
            else {name: statement.excluded[name] for name in update}
        )
        if not changes:
            return statement.on_conflict_do_nothing(index_elements=list(key))
        return statement.on_conflict_do_update(index_elements=list(key), set_=changes)

    execute_prepared(session, ("upsert", model, key, update), build, ordered)
