"""One transaction of discovery: trades with their counts, and what is now known of coins and gaps."""

from dataclasses import dataclass, field

from sqlmodel import Session, col, select

from tasks.traders.core.coverage import raise_whole, set_subscribed
from tasks.traders.core.gaps import add_recovered, close_gap, gaps_of, open_gaps
from tasks.traders.core.ingest import Stored, end_stream, open_stream, store
from tasks.traders.core.leases import DISCOVERY, holds
from tasks.traders.core.tables import Stream
from tasks.traders.discovery_plan import (
    Account,
    CloseGap,
    EndStream,
    OpenGaps,
    Part,
    Plan,
    Raise,
    SetSubscribed,
    Step,
)


@dataclass(frozen=True, slots=True)
class OpenGap:
    """A gap whose coin is brought again, so that it can be filled."""

    coin: str
    connection: int
    from_time: int


@dataclass(slots=True)
class Written:
    """What a transaction did, true once it is committed."""

    stored: list[tuple[Account, Stored]] = field(default_factory=list)
    #: Accounts that are new in the ledger.
    ids: list[tuple[Account, int]] = field(default_factory=list)
    gaps_opened: int = 0
    gaps_closed: list[str] = field(default_factory=list)
    fillable: list[OpenGap] = field(default_factory=list)
    #: Whether the lease of discovery was the writer's.
    held: bool = True


def carry_out(session: Session, plan: Plan, owner: str) -> Written:
    """Do what a plan says.

    Args:
        session: the transaction; nothing is committed.
        plan: of what was received.
        owner: who must hold the lease of discovery to say anything of coins; trades are stored in any case.
    """
    written = Written(held=holds(session, DISCOVERY, owner))
    ids: dict[int, int] = {}
    for part in plan.parts.values():
        stored = store(session, part.batch(_id(session, part, plan, ids, written)), plan.now)
        written.stored.append((part.account, stored))
        if part.coin is not None and stored.stored:
            add_recovered(session, part.coin, stored.stored)
    for step in plan.steps:
        if isinstance(step, EndStream):
            end_stream(session, ids[id(step.account)], step.reason, plan.now)
        elif written.held:
            _take(session, step, plan, written)
    if written.held:
        _find_fillable(session, plan, written)
    return written


def find_carried_out(session: Session, plan: Plan) -> Written | None:
    """What a plan did, if it was done by a transaction whose commit was not answered; else None."""
    if not plan.parts:
        # Of such a plan every step can be taken twice.
        return None
    written = Written()
    for account in {id(part.account): part.account for part in plan.parts.values()}.values():
        row = _row(session, account)
        if row is None or row.written_at != plan.now:
            return None
        if account.id is None and row.id is not None:
            written.ids.append((account, row.id))
        now = Stored(row.stored, row.duplicates, row.rejected, row.late)
        grown = Stored(*(new - old for new, old in zip(now, account.stored, strict=True)))
        written.stored.append((account, grown))
    _find_fillable(session, plan, written)
    return written


def _id(session: Session, part: Part, plan: Plan, ids: dict[int, int], written: Written) -> int:
    """The id of a part's account, which is opened if it is new."""
    account = part.account
    if id(account) not in ids:
        if account.id is None:
            opened = open_stream(session, account.kind, account.coins, account.started_at)
            written.ids.append((account, opened))
        ids[id(account)] = account.id if account.id is not None else opened
    return ids[id(account)]


def _row(session: Session, account: Account) -> Stream | None:
    if account.id is not None:
        return session.get(Stream, account.id)
    wanted = select(Stream).where(col(Stream.started_at) == account.started_at, col(Stream.kind) == account.kind)
    return session.exec(wanted.where(col(Stream.coins) == ",".join(account.coins))).first()


def _take(session: Session, step: Step, plan: Plan, written: Written) -> None:
    match step:
        case Raise(times):
            raise_whole(session, times)
        case OpenGaps(coins):
            written.gaps_opened += open_gaps(session, coins, plan.now)
        case SetSubscribed(coin, subscribed):
            set_subscribed(session, [coin], subscribed)
        case CloseGap(filled):
            closed = close_gap(
                session, filled.coin, filled.state, to_time=filled.to_time, reason=filled.reason, now=plan.now
            )
            written.gaps_closed += [filled.state.value] if closed else []


def _find_fillable(session: Session, plan: Plan, written: Written) -> None:
    if plan.resumed:
        written.fillable += [
            OpenGap(gap.coin, plan.resumed[gap.coin], gap.from_time) for gap in gaps_of(session, plan.resumed.keys())
        ]
