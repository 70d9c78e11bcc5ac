"""What the tests of the ledger share."""

from datetime import UTC, datetime

from blocks.engine import session
from tasks.league.core.dump import dump
from tasks.league.core.storing import StoredMatch, store_match
from tasks.league.core.tables import LeagueTable

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def empty_ledger() -> None:
    """Delete every row, for the next example of a law."""
    with session("league") as opened:
        for table in reversed(LeagueTable.metadata.sorted_tables):
            opened.connection().execute(table.delete())


def store(body: bytes) -> StoredMatch:
    """Store one match in a transaction of its own."""
    with session("league") as opened:
        return store_match(opened, body, now=NOW)


def text_of_ledger() -> str:
    """The whole ledger."""
    with session("league", read_only=True) as opened:
        return dump(opened)
