"""One trader as people look at it: metrics, ranks, positions, last changes, and how well it is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlmodel import Session, col, select

from tasks.traders.core.history_tables import History
from tasks.traders.core.score_tables import LeaderboardRun, Metrics, Standing
from tasks.traders.core.tables import Poll, Position, PositionEvent, Trader

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class UnknownTraderError(Exception):
    """The ledger has no such trader; the text says what to do."""


@dataclass(frozen=True, slots=True)
class TraderView:
    """What is known of one trader; None and empty for what is not."""

    trader: Trader
    metrics: Metrics | None
    #: Of the newest run, each profile in which it is among the places kept.
    standings: Sequence[Standing]
    #: Those that are not flat.
    positions: Sequence[Position]
    #: Newest first.
    events: Sequence[PositionEvent]
    polls: Sequence[Poll]
    history: History | None


def find_trader(session: Session, address: str) -> Trader:
    """The trader of an address.

    Args:
        session: the transaction.
        address: in lower case.

    Raises:
        UnknownTraderError: there is none.
    """
    found = session.exec(select(Trader).where(Trader.address == address)).first()
    if found is None:
        raise UnknownTraderError(
            f"the traders ledger has no {address}: it was not seen trading. `quintet traders add {address}` adds it."
        )
    return found


def trader_view(session: Session, address: str, *, events: int = 10) -> TraderView:
    """What is known of a trader.

    Args:
        session: the transaction.
        address: in lower case.
        events: changes of positions at most.

    Raises:
        UnknownTraderError: there is none.
    """
    trader = find_trader(session, address)
    newest = session.exec(select(LeaderboardRun.id).order_by(col(LeaderboardRun.id).desc()).limit(1)).first()
    standings = select(Standing).where(Standing.trader_id == trader.id, Standing.run_id == newest)
    positions = select(Position).where(Position.trader_id == trader.id).order_by(col(Position.coin))
    changes = select(PositionEvent).where(PositionEvent.trader_id == trader.id)
    polls = select(Poll).where(Poll.trader_id == trader.id).order_by(col(Poll.dex))
    return TraderView(
        trader=trader,
        metrics=session.get(Metrics, trader.id),
        standings=session.exec(standings.order_by(col(Standing.profile))).all(),
        positions=[position for position in session.exec(positions) if position.szi],
        events=session.exec(changes.order_by(col(PositionEvent.number).desc()).limit(events)).all(),
        polls=session.exec(polls).all(),
        history=session.get(History, trader.id),
    )


def newest_events(
    session: Session, *, limit: int, trader_id: int | None = None, coin: str | None = None
) -> Sequence[tuple[PositionEvent, str]]:
    """The newest changes of positions with the addresses of their traders, newest first."""
    wanted = select(PositionEvent, Trader.address).join(Trader, col(Trader.id) == col(PositionEvent.trader_id))
    if trader_id is not None:
        wanted = wanted.where(PositionEvent.trader_id == trader_id)
    if coin is not None:
        wanted = wanted.where(PositionEvent.coin == coin)
    return session.exec(wanted.order_by(col(PositionEvent.number).desc()).limit(limit)).all()


def moment_of(time: int | None) -> datetime | None:
    """A time of the exchange's as a moment."""
    return None if time is None else _EPOCH + timedelta(milliseconds=time)
