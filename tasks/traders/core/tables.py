"""The traders ledger, first part: who trades, what the stream told, and what positions that makes.

Every public **trade** names its buyer and its seller. Trades are stored with the **stream** that brought them, whose
counts say what became of each that was received. How far the stream is known to be whole stands in **coin** and
**cursor** rows; trades up to there are applied to the **positions** of all traders with a baseline, and each change is
an **event**, which waits in the same table until it was published. A **snapshot** is what the exchange says of one; it
gives a baseline, and later ones are compared with what the stream made of it.

Names are the exchange's own in snake case; times are its own too: milliseconds since 1970 (`time`, and names ending in
`_time`). Columns whose names end in `_at` hold our own clock's time. History and scores: `history_tables`,
`score_tables`.
"""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar

from sqlalchemy import Index, MetaData, text
from sqlmodel import Field, SQLModel

from tasks.foundation.core.columns import NAMING_CONVENTION
from tasks.foundation.core.tables import big, counting_key, exact, moment, one_of

DOMAIN = "traders"
#: The exchange's own perpetuals; those of builders (HIP-3) have the builder's name: `xyz` of `xyz:AAPL`.
MAIN_DEX = ""


class Change(StrEnum):
    """What happened to a position; the values are the former system's `event_type`s, and new ones like them."""

    OPEN = "OPEN_POSITION"
    CLOSE = "CLOSE_POSITION"
    INCREASE = "INCREASE_POSITION"
    DECREASE = "DECREASE_POSITION"
    FLIP = "FLIP_POSITION"
    LEVERAGE = "LEVERAGE_CHANGE"


class Source(StrEnum):
    """How we know of it: from public trades, or by comparing with a snapshot."""

    STREAM = "STREAM"
    SNAPSHOT = "SNAPSHOT"


class StreamKind(StrEnum):
    """What brought trades: the WebSocket, `recentTrades` after a gap, or the fills of single users after a gap."""

    STREAM = "STREAM"
    RECENT_TRADES = "RECENT_TRADES"
    USER_FILLS = "USER_FILLS"


class GapState(StrEnum):
    """OPEN is to be filled; FILLED is whole again; PARTIAL is what the API could not give back."""

    OPEN = "OPEN"
    FILLED = "FILLED"
    PARTIAL = "PARTIAL"


class TradersTable(SQLModel):
    """Base of the domain's tables; their metadata is the domain's own, so that each domain migrates alone."""

    metadata: ClassVar[MetaData] = MetaData(naming_convention=NAMING_CONVENTION)


class Trader(TradersTable, table=True):
    """An address that was seen in a trade or was asked for."""

    __tablename__ = "traders_trader"

    id: int | None = counting_key()
    #: Lower case: the exchange and its users write addresses in any.
    address: str = Field(max_length=64, unique=True)
    #: Its oldest and its newest trade that was ever stored; None for one that was only asked for.
    #: Without an index: they change with every batch of trades, which would have to change it for each of its traders.
    first_time: int | None = big(default=None)
    seen_time: int | None = big(default=None)
    discovered_at: datetime = moment()
    #: Not polled or ranked: vaults, market makers, whatever an operator does not want to see.
    ignored: bool = False


class Trade(TradersTable, table=True):
    """A public trade, once.

    The exchange says that a `tid` (50 bits of a hash) is unique together with the block's time and the coin. In this
    order the newest rows stand together, so that storing and cleaning touch few pages.
    """

    __tablename__ = "traders_trade"
    __table_args__ = ({"sqlite_with_rowid": False},)

    time: int = big(primary_key=True)
    coin: str = Field(primary_key=True, max_length=64)
    tid: int = big(primary_key=True)
    #: Of the taker: `B` bought, `A` sold.
    side: str = Field(max_length=1)
    px: Decimal = exact()
    sz: Decimal = exact()
    #: None: known from one user's fill only.
    buyer_id: int | None = big(default=None)
    seller_id: int | None = big(default=None)


class Stream(TradersTable, table=True):
    """One connection, or one filling of a gap, and what became of all it brought.

    Always `trades = stored + duplicates + rejected`: the counts are written in the transaction that stores the trades.
    """

    __tablename__ = "traders_stream"

    id: int | None = counting_key()
    kind: StreamKind = one_of(StreamKind)
    coins: str = Field(description="Comma separated.")
    started_at: datetime = moment()
    ended_at: datetime | None = moment(default=None)
    #: Why it ended, as a person reads it: "closed by the exchange (1006)", "silent for 60 s", "stopped".
    ended_for: str | None = Field(default=None, max_length=200)
    written_at: datetime | None = moment(default=None)
    #: Everything that was received: frames with trades, without, and those that could not be read.
    frames: int = big(default=0)
    empty_frames: int = big(default=0)
    control_frames: int = big(default=0)
    error_frames: int = big(default=0)
    unreadable_frames: int = big(default=0)
    trades: int = big(default=0)
    stored: int = big(default=0)
    duplicates: int = big(default=0)
    rejected: int = big(default=0)
    #: Stored trades that came after their time had been applied; the next snapshot puts the positions right.
    late: int = big(default=0)


class Rejection(TradersTable, table=True):
    """A trade or frame that could not be taken, and why; the newest of each stream, bounded."""

    __tablename__ = "traders_rejection"

    id: int | None = counting_key()
    stream_id: int = big(foreign_key="traders_stream.id", index=True)
    received_at: datetime = moment()
    reason: str = Field(max_length=300)
    excerpt: str = Field(max_length=500)


class Coin(TradersTable, table=True):
    """A coin that is or was subscribed, and how far its trades are known."""

    __tablename__ = "traders_coin"

    coin: str = Field(primary_key=True, max_length=64)
    subscribed: bool = True
    #: Newest trade that is stored.
    seen_time: int | None = big(default=None)
    #: Every trade up to here is stored, or stands in a PARTIAL gap.
    whole_time: int | None = big(default=None)


class Gap(TradersTable, table=True):
    """A time in which trades of a coin may have been missed: no stream was connected."""

    __tablename__ = "traders_gap"

    id: int | None = counting_key()
    coin: str = Field(max_length=64, index=True)
    #: Up to here the coin was whole.
    from_time: int = big()
    #: From here on trades are known again; None where that was never found out.
    to_time: int | None = big(default=None)
    state: GapState = one_of(GapState, index=True)
    recovered: int = big(default=0)
    reason: str | None = Field(default=None, max_length=200)
    opened_at: datetime = moment()
    closed_at: datetime | None = moment(default=None)


class Cursor(TradersTable, table=True):
    """How far something has gone through the trades; its row is locked by who goes on."""

    __tablename__ = "traders_cursor"

    #: `positions`: trades up to `time` are applied.
    name: str = Field(primary_key=True, max_length=32)
    time: int | None = big(default=None)


class Lease(TradersTable, table=True):
    """Who does what only one may do at a time; free when `until_at` has passed."""

    __tablename__ = "traders_lease"

    name: str = Field(primary_key=True, max_length=32)
    owner: str = Field(max_length=64)
    until_at: datetime = moment()


class Poll(TradersTable, table=True):
    """What is known from snapshots of a trader on one dex, and when the next is due."""

    __tablename__ = "traders_poll"
    __table_args__ = (Index("ix_traders_poll_snapshot_time", "snapshot_time"),)

    trader_id: int = big(primary_key=True, foreign_key="traders_trader.id")
    dex: str = Field(primary_key=True, max_length=64)
    #: The first reconciled snapshot: from here on positions are known. Earlier trades are counted back from it.
    baseline_time: int | None = big(default=None)
    #: The newest reconciled snapshot: trades up to here are in the positions.
    reconciled_time: int | None = big(default=None)
    #: The newest snapshot that was fetched, reconciled or not.
    snapshot_time: int | None = big(default=None)
    polled_at: datetime | None = moment(default=None)
    #: Not to be asked before; set after a failure only.
    due_at: datetime | None = moment(default=None)
    failures: int = 0
    reason: str | None = Field(default=None, max_length=300)
    account_value: Decimal | None = exact(default=None)
    #: How many positions were compared with snapshots, and how many of them differed.
    compared: int = big(default=0)
    drifted: int = big(default=0)


class Snapshot(TradersTable, table=True):
    """A snapshot that waits until the stream is whole up to its time; deleted once it is reconciled."""

    __tablename__ = "traders_snapshot"
    __table_args__ = (Index("ix_traders_snapshot_time", "time"),)

    id: int | None = counting_key()
    trader_id: int = big(foreign_key="traders_trader.id", index=True)
    dex: str = Field(max_length=64)
    time: int = big()
    fetched_at: datetime = moment()
    account_value: Decimal | None = exact(default=None)
    #: JSON of its positions, as `core/snapshots` writes and reads it.
    positions: str


class Position(TradersTable, table=True):
    """A trader's position of one coin, kept current; flat ones keep a size of 0 until they are cleaned away."""

    __tablename__ = "traders_position"
    __table_args__ = (Index("ix_traders_position_coin", "coin"),)

    trader_id: int = big(primary_key=True, foreign_key="traders_trader.id")
    coin: str = Field(primary_key=True, max_length=64)
    #: Signed: long above 0, short below.
    szi: Decimal = exact()
    #: Average; None where part of the position is older than what we know, or it is flat.
    entry_px: Decimal | None = exact(default=None)
    #: Since it was opened, fees and funding aside; None like `entry_px`.
    realised: Decimal | None = exact(default=None)
    opened_time: int | None = big(default=None)
    changed_time: int = big()
    #: `cross` or `isolated`, and how much; known from snapshots.
    leverage_type: str | None = Field(default=None, max_length=16)
    leverage: int | None = None
    #: As the newest snapshot said; None where trades have changed the position since.
    liquidation_px: Decimal | None = exact(default=None)


class PositionEvent(TradersTable, table=True):
    """One change of one position, exactly once; published when `published_at` is set."""

    __tablename__ = "traders_event"
    __table_args__ = (
        Index("ix_traders_event_trader_id_time", "trader_id", "time"),
        Index(
            "ix_traders_event_unpublished",
            "number",
            sqlite_where=text("published_at IS NULL"),
            postgresql_where=text("published_at IS NULL"),
        ),
    )

    #: The order in which they were found, which is the order of publishing.
    number: int | None = counting_key()
    #: A function of address, coin, change, source and time: the same change has the same id wherever it is found.
    id: str = Field(max_length=36, unique=True)
    trader_id: int = big(foreign_key="traders_trader.id")
    coin: str = Field(max_length=64)
    change: Change = one_of(Change)
    source: Source = one_of(Source)
    #: Of the trade, or of the snapshot that showed it.
    time: int = big()
    #: Of the trade; the lowest where several of one block make one change. None from snapshots, like `px`.
    tid: int | None = big(default=None)
    #: What was traded at, weighted by size.
    px: Decimal | None = exact(default=None)
    size_before: Decimal = exact()
    size_after: Decimal = exact()
    #: CLOSE, DECREASE: average entry of what was closed; else of the position afterwards. None where not known.
    entry_px: Decimal | None = exact(default=None)
    #: At what price it was closed, wholly or in part; None where nothing was, or from snapshots.
    exit_px: Decimal | None = exact(default=None)
    #: Result of what was closed, fees and funding aside; None like `exit_px` and `entry_px`.
    realised: Decimal | None = exact(default=None)
    leverage_before: int | None = None
    leverage_after: int | None = None
    leverage_type_before: str | None = Field(default=None, max_length=16)
    leverage_type_after: str | None = Field(default=None, max_length=16)
    found_at: datetime = moment()
    published_at: datetime | None = moment(default=None)


class TrackingRun(TradersTable, table=True):
    """One run of the tracking, for people who look at its budget and its drift."""

    __tablename__ = "traders_tracking_run"

    id: int | None = counting_key()
    started_at: datetime = moment()
    ended_at: datetime | None = moment(default=None)
    due: int = big(default=0)
    polled: int = big(default=0)
    failed: int = big(default=0)
    histories: int = big(default=0)
    compared: int = big(default=0)
    drifted: int = big(default=0)
    #: The same, over all time: the next run counts from here, also what discovery compares between the two.
    compared_total: int = big(default=0)
    drifted_total: int = big(default=0)
    events: int = big(default=0)
    published: int = big(default=0)
    #: Weight spent, and what was permitted in the time the run took.
    weight: int = big(default=0)
    permitted_weight: int = big(default=0)
    http_429: int = 0
