"""The whole ledger as text, to compare two of them."""

import json
from datetime import datetime
from enum import Enum
from typing import Any

from sqlalchemy import select
from sqlmodel import Session

from tasks.league.core.payloads import content_sha256, decompress
from tasks.league.core.tables import LeagueTable


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        # Of what was compressed: another version of Zstandard compresses to other bytes.
        content = decompress(value)
        return f"sha256 {content_sha256(content)} of {len(content)} bytes"
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, Enum) else value


def dump(session: Session) -> str:
    """Every row of every table on a line of JSON, ordered by primary key, without our own clock's columns (`_at`).

    Two syncs of one player, on SQLite or PostgreSQL, uninterrupted or not, give the same text.

    Raises:
        DamagedPayloadError: a stored payload does not decompress.
    """
    lines = []
    for table in sorted(LeagueTable.metadata.tables.values(), key=lambda table: table.name):
        columns = [column for column in table.columns if not column.name.endswith("_at")]
        lines += sorted(
            json.dumps(
                [table.name, {column.name: _plain(value) for column, value in zip(columns, row, strict=True)}],
                ensure_ascii=False,
            )
            for row in session.connection().execute(select(*columns))
        )
    return "\n".join(lines) + "\n"
