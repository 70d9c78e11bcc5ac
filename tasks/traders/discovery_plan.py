"""What items of the trade stream mean for the ledger, worked out before a transaction writes it.

A transaction may have to be repeated, so what it does is a plan that stays the same: trades by the stream that they are
counted in, and steps in the order in which things happened.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from blocks.exchange.items import (
    Closed,
    Control,
    Empty,
    ErrorFrame,
    Failed,
    Item,
    Opened,
    Refused,
    Subscribed,
    Trades,
    Unreadable,
)
from tasks.traders.core.ingest import Batch, Rejected, Stored
from tasks.traders.core.tables import GapState, StreamKind
from tasks.traders.core.trade_rows import TradeRow, rows_of_trades
from tasks.traders.core.watch import Watch


@dataclass(eq=False, slots=True)
class Account:
    """A `Stream` row: one connection, or what gaps are filled with."""

    kind: StreamKind
    coins: tuple[str, ...]
    started_at: datetime
    #: None until it is in the ledger.
    id: int | None = None
    #: As the ledger has it.
    stored: Stored = field(default_factory=Stored)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one answer of `/info` brought for the gap of a coin."""

    account: Account
    coin: str
    trades: Sequence[TradeRow]
    rejected: int = 0
    rejections: Sequence[Rejected] = ()
    #: An answer about several coins is counted with the first.
    answers: int = 1


@dataclass(frozen=True, slots=True)
class Filled:
    """Nothing more can be fetched for the gap of a coin that this connection brings again."""

    account: Account
    coin: str
    connection: int
    state: GapState
    to_time: int | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """No more gaps are filled under this account."""

    account: Account
    reason: str


@dataclass(frozen=True, slots=True)
class Quiet:
    """Everything that had come by this moment was read."""

    at: float


#: What discovery hands to its writer.
Intake = Item | Fetched | Filled | Ended | Quiet


@dataclass(frozen=True, slots=True)
class Raise:
    """Coins are whole up to these times."""

    times: dict[str, int]


@dataclass(frozen=True, slots=True)
class OpenGaps:
    """Nothing follows these coins any more."""

    coins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CloseGap:
    """A gap is filled as far as it can be."""

    filled: Filled


@dataclass(frozen=True, slots=True)
class SetSubscribed:
    """A coin's subscription was acknowledged or refused."""

    coin: str
    subscribed: bool


@dataclass(frozen=True, slots=True)
class EndStream:
    """A connection, or a filling, has ended."""

    account: Account
    reason: str


Step = Raise | OpenGaps | CloseGap | SetSubscribed | EndStream


@dataclass(slots=True)
class Part:
    """What is counted in one account, and recovered for one coin's gap where it is of a filling."""

    account: Account
    coin: str | None = None
    trades: list[TradeRow] = field(default_factory=list)
    rejected: int = 0
    rejections: list[Rejected] = field(default_factory=list)
    frames: int = 0
    empty: int = 0
    control: int = 0
    errors: int = 0
    unreadable: int = 0

    def batch(self, stream_id: int) -> Batch:
        """As it is stored."""
        return Batch(
            stream_id,
            self.trades,
            self.rejected,
            self.rejections,
            self.frames,
            self.empty,
            self.control,
            self.errors,
            self.unreadable,
        )


@dataclass(slots=True)
class Plan:
    """What one transaction does; `now` is in every account that it counts in, which tells whether it was done."""

    now: datetime
    parts: dict[tuple[int, str | None], Part] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    #: Coins that are brought again, and by which connection: their gaps can be filled now.
    resumed: dict[str, int] = field(default_factory=dict)

    def part(self, account: Account, coin: str | None = None) -> Part:
        """The part of an account."""
        return self.parts.setdefault((id(account), coin), Part(account, coin))


class Planner:
    """Makes plans of what comes, in order. It keeps what is known of the connections, so each item is given once.

    Args:
        settle_seconds: by how much trades overtake each other at most.
    """

    def __init__(self, settle_seconds: float) -> None:
        self._watch = Watch(settle_seconds)
        self._accounts: dict[int, Account] = {}
        #: Of gaps that are being filled.
        self._fillings: list[Account] = []
        self._raised: dict[str, int] = {}
        #: Connections that were opened.
        self.connections = 0
        #: Why the connections are closed on purpose; set before they are.
        self.stopped_for: str | None = None

    def plan(self, items: Sequence[Intake], now: datetime) -> Plan:
        """What these items mean."""
        plan = Plan(now)
        for item in items:
            if type(item) is Trades:
                self._trades(plan, item)
            elif isinstance(item, Empty | Control | ErrorFrame | Unreadable):
                self._frame(plan, item)
            elif isinstance(item, Fetched):
                self._fetched(plan, item)
            else:
                self._happening(plan, item)
        self._raise(plan)
        return plan

    def end(self, reason: str, now: datetime) -> Plan:
        """The end of all connections and fillings that have not told theirs."""
        plan = Plan(now)
        for connection in list(self._accounts):
            self._closed(plan, connection, reason)
        for account in self._fillings:
            plan.part(account)
            plan.steps.append(EndStream(account, reason))
        self._fillings.clear()
        self._raise(plan)
        return plan

    def _trades(self, plan: Plan, item: Trades) -> None:
        part = plan.part(self._accounts[item.connection])
        part.frames += 1
        part.trades += rows_of_trades(item.trades)
        part.rejected += item.rejected
        part.rejections += [Rejected(each.reason, each.excerpt) for each in item.rejections]
        self._watch.heard(item.connection)
        if item.trades:
            self._watch.traded(item.connection, item.at, max([trade.time for trade in item.trades]))

    def _frame(self, plan: Plan, item: Empty | Control | ErrorFrame | Unreadable) -> None:
        part = plan.part(self._accounts[item.connection])
        part.frames += 1
        if isinstance(item, Empty):
            part.empty += 1
        elif isinstance(item, Control):
            part.control += 1
        elif isinstance(item, ErrorFrame):
            part.errors += 1
            part.rejections.append(Rejected("the exchange reports an error", item.text))
        else:
            part.unreadable += 1
            part.rejections.append(Rejected(item.reason, item.excerpt))
        self._watch.heard(item.connection)

    def _happening(self, plan: Plan, item: Intake) -> None:
        match item:
            case Opened(connection=connection):
                self.connections += 1
                # Two that begin in one plan must not be taken for one.
                started = plan.now + timedelta(microseconds=self.connections)
                account = self._accounts[connection] = Account(StreamKind.STREAM, item.coins, started)
                plan.part(account)
                self._watch.opened(connection)
            case Subscribed(connection=connection, coin=coin):
                plan.part(self._accounts[connection])
                self._watch.subscribed(connection, coin, item.at)
                self._raised.pop(coin, None)
                plan.steps.append(SetSubscribed(coin, True))
                plan.resumed[coin] = connection
            case Refused(connection=connection, coin=coin):
                plan.part(self._accounts[connection]).rejections.append(Rejected(f"{coin} refused", item.reason))
                self._watch.refused(connection, coin)
                plan.steps.append(SetSubscribed(coin, False))
                plan.resumed.pop(coin, None)
            case Closed(connection=connection):
                self._closed(plan, connection, item.reason)
            case Filled():
                plan.part(item.account)
                # Where the connection broke meanwhile, something may be missing that was not asked for.
                if self._watch.connection_of(item.coin) == item.connection:
                    plan.steps.append(CloseGap(item))
            case Ended():
                plan.part(item.account)
                self._fillings = [each for each in self._fillings if each is not item.account]
                plan.steps.append(EndStream(item.account, item.reason))
            case Quiet():
                self._watch.quiet(item.at)
            case Failed():
                # Nothing was received; the log has it.
                pass

    def _closed(self, plan: Plan, connection: int, reason: str) -> None:
        account = self._accounts.pop(connection)
        plan.part(account)
        coins = self._watch.closed(connection)
        self._raise(plan)
        # The stream knows that it was stopped, and not why.
        known = self.stopped_for if self.stopped_for is not None and reason == "stopped" else reason
        plan.steps.append(EndStream(account, known))
        if coins and self.stopped_for is None:
            plan.steps.append(OpenGaps(coins))
        for coin in coins:
            plan.resumed.pop(coin, None)

    def _fetched(self, plan: Plan, item: Fetched) -> None:
        if item.account not in self._fillings:
            self._fillings.append(item.account)
        part = plan.part(item.account, item.coin)
        part.frames += item.answers
        part.empty += item.answers if not item.trades and not item.rejected else 0
        part.trades += item.trades
        part.rejected += item.rejected
        part.rejections += item.rejections

    def _raise(self, plan: Plan) -> None:
        whole = self._watch.whole()
        closing = {step.filled.coin for step in plan.steps if isinstance(step, CloseGap)}
        higher = {coin: time for coin, time in whole.items() if coin in closing or time > self._raised.get(coin, -1)}
        if higher:
            self._raised.update(higher)
            plan.steps.append(Raise(higher))
