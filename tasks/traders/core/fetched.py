"""How far each kind of a trader's past is fetched: moved in the transaction that stores the rows.

A walk that is killed goes on where its last transaction ended, and asks again for a little before that: the exchange
may tell of a moment only some time after it.
"""

from dataclasses import dataclass
from enum import StrEnum

from sqlmodel import Session, col, func, select

from tasks.traders.core.days import history_of
from tasks.traders.core.history_tables import Fill, History
from tasks.traders.core.paging import Ask

#: Milliseconds that are asked for again.
OVERLAP = 5 * 60_000
#: The exchange gives no more of anybody's fills.
MOST_FILLS = 10_000


class Kind(StrEnum):
    """What is fetched by time; the values are the columns of `History`."""

    FILLS = "fills_time"
    FUNDING = "funding_time"
    LEDGER = "ledger_time"


@dataclass(frozen=True, slots=True)
class Start:
    """Where a walk begins.

    Attributes:
        ask: the first question.
        reached: the newest moment that is stored; None where nothing is.
    """

    ask: Ask
    reached: int | None


def begin(session: Session, trader_id: int, kind: Kind) -> Start:
    """Where to go on.

    Args:
        session: the transaction.
        trader_id: whose.
        kind: what is fetched.
    """
    history = session.get(History, trader_id)
    reached: int | None = None if history is None else getattr(history, kind)
    return Start(Ask(0 if reached is None else max(reached - OVERLAP, 0)), reached)


def move(session: Session, trader_id: int, kind: Kind, time: int) -> None:
    """Everything up to a moment is stored; nobody moves back.

    Args:
        session: the transaction that stores it; nothing is committed.
        trader_id: whose.
        kind: what was fetched.
        time: milliseconds.
    """
    history = history_of(session, trader_id)
    setattr(history, kind, max(time, getattr(history, kind) or time))
    session.add(history)
    session.flush()


def note_hole(session: Session, trader_id: int, since: int) -> None:
    """Fills are missing before a moment: the exchange had no more of them, or one millisecond had too many.

    Args:
        session: the transaction; nothing is committed.
        trader_id: whose.
        since: all fills from here on are stored.
    """
    history = history_of(session, trader_id)
    history.truncated, history.fills_from = True, max(since, history.fills_from or since)
    session.add(history)
    session.flush()


def note_first_end(session: Session, trader_id: int) -> None:
    """The first walk through a trader's fills is at its end: as many as the exchange gives are hardly all there were.

    Args:
        session: the transaction; nothing is committed.
        trader_id: whose.
    """
    history = history_of(session, trader_id)
    if history.refreshed_at is not None or history.fills_from is not None:
        return
    count, first = session.exec(
        select(func.count(), func.min(col(Fill.time))).where(col(Fill.trader_id) == trader_id)
    ).one()
    if count >= MOST_FILLS and first is not None:
        note_hole(session, trader_id, first)
