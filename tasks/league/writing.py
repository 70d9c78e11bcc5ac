"""Writes of many concurrent fetches into the league ledger."""

from tasks.foundation import writing
from tasks.league.core.tables import DOMAIN


class Writer(writing.Writer):
    """The writer of this domain."""

    def __init__(self) -> None:
        super().__init__(DOMAIN)
