"""The traders ledger, third part: metrics, and every run of the leaderboard."""

from datetime import datetime

from sqlalchemy import Index
from sqlmodel import Field

from tasks.foundation.core.tables import big, counting_key, moment
from tasks.traders.core.tables import TradersTable


class LeaderboardRun(TradersTable, table=True):
    """One calculation; all are kept."""

    __tablename__ = "traders_leaderboard_run"

    id: int | None = counting_key()
    calculated_at: datetime = moment()
    #: The last UTC day that was counted, in days since 1970-01-01.
    as_of_day: int
    #: The profiles and the rules of eligibility as they were, in JSON.
    rules: str
    traders: int
    eligible: int
    #: Of everything that went in: two runs with one hash have the same ranks.
    inputs_hash: str = Field(max_length=64)
    #: Everybody's ranks and scores in every profile, compressed; `core/rankings` writes and reads it.
    ranking: bytes


class Metrics(TradersTable, table=True):
    """A trader's metrics as of the last run that had them; one that is not eligible has a reason and what is known.

    None is what cannot be told: no number is made up.
    """

    __tablename__ = "traders_metrics"

    trader_id: int = big(primary_key=True, foreign_key="traders_trader.id")
    run_id: int = big(foreign_key="traders_leaderboard_run.id")
    eligible: bool
    #: Why not: "9 of 30 days", "no history yet".
    reason: str | None = Field(default=None, max_length=200)
    days: int = 0
    account_age_days: float | None = None
    equity: float | None = None
    volume: float | None = None
    pnl: float | None = None
    roi: float | None = None
    sharpe: float | None = None
    sharpe_error: float | None = None
    sharpe_shrunk: float | None = None
    psr: float | None = None
    sortino: float | None = None
    volatility: float | None = None
    max_drawdown: float | None = None
    calmar: float | None = None
    round_trips: int = 0
    win_rate: float | None = None
    win_rate_low: float | None = None
    win_rate_shrunk: float | None = None
    profit_factor: float | None = None
    profit_factor_shrunk: float | None = None
    risk_ratio: float | None = None
    max_profit: float | None = None
    weeks: int = 0
    consistency: float | None = None
    top_day_share: float | None = None


class Standing(TradersTable, table=True):
    """The best of one run in one profile, with what their scores are made of."""

    __tablename__ = "traders_standing"
    __table_args__ = (Index("ix_traders_standing_trader_id_run_id", "trader_id", "run_id"),)

    run_id: int = big(primary_key=True, foreign_key="traders_leaderboard_run.id")
    profile: str = Field(primary_key=True, max_length=24)
    rank: int = Field(primary_key=True)
    trader_id: int = big(foreign_key="traders_trader.id")
    score: float
    #: None: not ranked in the run before.
    previous_rank: int | None = None
    #: JSON: component -> its part of the score.
    components: str
