"""Cursors: how far something has gone, in rows that are locked by who goes on."""

from sqlmodel import Session, col, select

from tasks.foundation.core.upsert import insert_unless_present
from tasks.traders.core.tables import Cursor


def lock_cursor(session: Session, name: str) -> Cursor:
    """The cursor of that name, made when absent; others who ask for it wait until this transaction ends.

    Args:
        session: a transaction that writes; on SQLite that alone keeps others out.
        name: whose.
    """
    insert_unless_present(session, Cursor, {"name": name, "time": None}, key=("name",))
    return session.exec(
        select(Cursor).where(col(Cursor.name) == name).with_for_update().execution_options(populate_existing=True)
    ).one()
