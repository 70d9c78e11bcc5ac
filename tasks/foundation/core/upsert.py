"""Insert a row unless its natural key is there, on SQLite and PostgreSQL alike, safe against another writer."""

from typing import Any, TypeVar

from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, SQLModel, select

Row = TypeVar("Row", bound=SQLModel)


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
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = insert(table).values(**row.model_dump()).on_conflict_do_nothing(index_elements=list(key))
    # The driver tells how many rows it wrote; an ORM `RETURNING` would not say which of the two happened. SQLAlchemy
    # keeps that of an INSERT only when asked, and else says -1 on PostgreSQL.
    written = session.connection().execute(statement.execution_options(preserve_rowcount=True)).rowcount
    if written not in (0, 1):
        raise RuntimeError(f"the driver does not say whether it inserted a row (it says {written})")
    inserted = written == 1
    wanted = select(model).where(*(getattr(table, name) == getattr(row, name) for name in key))
    return session.exec(wanted).one(), inserted
