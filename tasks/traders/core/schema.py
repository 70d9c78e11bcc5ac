"""All tables of the domain, for migrations: importing this declares every one of them."""

from tasks.traders.core import history_tables, score_tables
from tasks.traders.core.tables import TradersTable

__all__ = ["TradersTable", "history_tables", "score_tables"]
