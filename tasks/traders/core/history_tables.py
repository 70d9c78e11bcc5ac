"""The traders ledger, second part: what the exchange says of a trader's past, and the daily series made of it."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from sqlmodel import Field

from tasks.foundation.core.tables import big, exact, moment, one_of
from tasks.traders.core.tables import TradersTable


class EquitySource(StrEnum):
    """`portfolio` (with the cumulative result), or a snapshot of the tracking."""

    PORTFOLIO = "PORTFOLIO"
    SNAPSHOT = "SNAPSHOT"


class Fill(TradersTable, table=True):
    """One fill of one trader, with what only its own account shows: result, fee, liquidation."""

    __tablename__ = "traders_fill"
    __table_args__ = ({"sqlite_with_rowid": False},)

    trader_id: int = big(primary_key=True, foreign_key="traders_trader.id")
    time: int = big(primary_key=True)
    coin: str = Field(primary_key=True, max_length=64)
    #: Fills from before there were tids have one of our own, below 0.
    tid: int = big(primary_key=True)
    side: str = Field(max_length=1)
    px: Decimal = exact()
    sz: Decimal = exact()
    start_position: Decimal | None = exact(default=None)
    #: As the exchange writes it: `Open Long`, `Long > Short`, `Spot Dust Conversion`...
    dir: str = Field(max_length=64)
    #: Before fees.
    closed_pnl: Decimal = exact()
    #: Builder's fee included; None for fills from before it was told.
    fee: Decimal | None = exact(default=None)
    fee_token: str | None = Field(default=None, max_length=32)
    crossed: bool | None = None
    oid: int | None = big(default=None)
    liquidated: bool = False


class Funding(TradersTable, table=True):
    """One payment of funding; positive is received."""

    __tablename__ = "traders_funding"
    __table_args__ = ({"sqlite_with_rowid": False},)

    trader_id: int = big(primary_key=True, foreign_key="traders_trader.id")
    time: int = big(primary_key=True)
    coin: str = Field(primary_key=True, max_length=64)
    usdc: Decimal = exact()


class LedgerUpdate(TradersTable, table=True):
    """Money that came or went other than by trading; positive came."""

    __tablename__ = "traders_ledger_update"
    __table_args__ = ({"sqlite_with_rowid": False},)

    trader_id: int = big(primary_key=True, foreign_key="traders_trader.id")
    time: int = big(primary_key=True)
    #: Tells two updates of one moment apart: the transaction's hash, and which of its updates.
    key: str = Field(primary_key=True, max_length=80)
    #: As the exchange writes it: `deposit`, `withdraw`, `accountClassTransfer`...
    kind: str = Field(max_length=40)
    #: What it put into the account of perpetuals, negative what it took out; 0 where it moved something else, such as
    #: spot tokens. None where what it moved has no value in USDC that we know.
    usdc: Decimal | None = exact(default=None)


class Equity(TradersTable, table=True):
    """What an account was worth at a moment."""

    __tablename__ = "traders_equity"
    __table_args__ = ({"sqlite_with_rowid": False},)

    trader_id: int = big(primary_key=True, foreign_key="traders_trader.id")
    time: int = big(primary_key=True)
    source: EquitySource = one_of(EquitySource, primary_key=True)
    account_value: float
    #: Cumulative result over all time at that moment; None where it was not told.
    pnl: float | None = None


class Day(TradersTable, table=True):
    """One UTC day of one trader, made of fills, funding, ledger updates and equity."""

    __tablename__ = "traders_day"
    __table_args__ = ({"sqlite_with_rowid": False},)

    trader_id: int = big(primary_key=True, foreign_key="traders_trader.id")
    #: Days since 1970-01-01.
    day: int = Field(primary_key=True)
    #: Result of the day in USD, fees and funding included, and what is not realised where equity is known.
    pnl: float
    #: At the day's beginning; None where it is not known.
    equity: float | None = None
    #: Deposits less withdrawals.
    net_flow: float = 0.0
    #: None where the day has no base to be measured against.
    ret: float | None = None
    volume: float = 0.0
    fills: int = 0
    closed_pnl: float = 0.0
    fees: float = 0.0
    funding: float = 0.0


class History(TradersTable, table=True):
    """How far a trader's past was fetched, and its round trips counted: from flat to flat, a flip ends one."""

    __tablename__ = "traders_history"

    trader_id: int = big(primary_key=True, foreign_key="traders_trader.id")
    fills_time: int | None = big(default=None)
    funding_time: int | None = big(default=None)
    ledger_time: int | None = big(default=None)
    portfolio_time: int | None = big(default=None)
    #: The exchange gives the newest 10,000 fills only; what is older is unknown.
    truncated: bool = False
    #: All fills since here are stored, and not all before; None: all there ever were.
    fills_from: int | None = big(default=None)
    refreshed_at: datetime | None = moment(default=None)
    due_at: datetime | None = moment(default=None)
    failures: int = 0
    reason: str | None = Field(default=None, max_length=300)
    round_trips: int = big(default=0)
    wins: int = big(default=0)
    #: Sums of the net results of round trips that won and lost, both positive, and the largest of each.
    gross_profit: float = 0.0
    gross_loss: float = 0.0
    max_profit: float = 0.0
    max_loss: float = 0.0
    liquidations: int = big(default=0)
    volume: float = 0.0
    first_time: int | None = big(default=None)
    #: The daily returns once more, for the leaderboard to read a hundred thousand traders at once: see `core/series`.
    series_day: int | None = None
    returns: bytes | None = None
    #: Result in USD over all days, and equity at the newest one.
    pnl: float | None = None
    equity: float | None = None
