"""Fetches a trader's past from the exchange (fills, funding, ledger updates, portfolio) and makes its daily series.

Needs the exchange (`blocks/exchange`; 80 weight a trader, and more with each 20 rows) and the traders ledger. Only what
is new since the last time is asked for. Every page is stored in a transaction that says how far it goes, so that a run
that is killed anywhere goes on from there, and ends with the rows of one that was not.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict
from sqlmodel import Session

from blocks.engine import session
from blocks.exchange.answers import LedgerUpdate, Portfolio, UserFill, UserFunding
from blocks.exchange.errors import ExchangeAnswerError, ExchangeRequestError
from blocks.settings import settings
from tasks.foundation.core.columns import utc_now
from tasks.foundation.lifecycle import logger
from tasks.foundation.retries import MAINTENANCE
from tasks.traders.api import exchange_client
from tasks.traders.core.addresses import normal, short
from tasks.traders.core.days import read_past, write_past
from tasks.traders.core.due_histories import mark_failed, mark_refreshed
from tasks.traders.core.equity import portfolio_points, store_points
from tasks.traders.core.fetched import Kind, Start, begin, move, note_first_end, note_hole
from tasks.traders.core.fills import ToldFill, store_fills
from tasks.traders.core.funding import ToldFunding, store_funding
from tasks.traders.core.history_tables import History
from tasks.traders.core.ledger_updates import ToldUpdate, store_updates
from tasks.traders.core.paging import Ask, Page, turn
from tasks.traders.core.tables import DOMAIN
from tasks.traders.traders import get_or_create_trader

R = TypeVar("R", UserFill, UserFunding, LedgerUpdate)


class HistoryClient(Protocol):
    """What is asked of an exchange: `blocks.exchange.info.ExchangeClient`, or a stand-in."""

    async def user_fills_by_time(self, user: str, start_time: int, end_time: int | None = None) -> list[UserFill]:
        """One page of fills."""
        ...

    async def user_funding(self, user: str, start_time: int, end_time: int | None = None) -> list[UserFunding]:
        """One page of payments of funding."""
        ...

    async def user_ledger_updates(self, user: str, start_time: int, end_time: int | None = None) -> list[LedgerUpdate]:
        """One page of ledger updates."""
        ...

    async def portfolio(self, user: str) -> Portfolio:
        """The account's value and result over time."""
        ...


class HistoryResult(BaseModel):
    """What was fetched, rows included that were asked for again, and what it came to."""

    model_config = ConfigDict(frozen=True)

    trader_id: int
    fills: int
    funding: int
    ledger_updates: int
    points: int
    #: All days, those included that are as before; and round trips.
    days: int
    round_trips: int
    #: Older fills are not to be had.
    truncated: bool


async def refresh_history(client: HistoryClient, trader_id: int, address: str, *, now: datetime) -> HistoryResult:
    """Fetch what is new of a trader's past, and make its daily series.

    An answer that is refused or cannot be read is noted at the trader, who is asked for again after a growing wait.

    Args:
        client: an open client.
        trader_id: the trader's row.
        address: same trader's.
        now: the present moment.

    Raises:
        ExchangeRequestError: the exchange refuses the trader.
        ExchangeAnswerError: an answer cannot be read.
        ExchangeUnavailableError: the exchange gave no answer; what was fetched until then is kept, and nothing noted.
        LedgerError: the database cannot be used.
    """
    walks = _Walks(client, trader_id, address)
    try:
        # Deposits first: what is worth more for one that is not known yet would look won.
        updates = await walks.updates()
        funding = await walks.funding()
        fills = await walks.fills()
        portfolio = await client.portfolio(address)
    except (ExchangeRequestError, ExchangeAnswerError) as error:
        await asyncio.to_thread(_failed, trader_id, str(error), now)
        raise
    points, days, history = await asyncio.to_thread(_finish, trader_id, portfolio, now)
    return HistoryResult(
        trader_id=trader_id,
        fills=fills,
        funding=funding,
        ledger_updates=updates,
        points=points,
        days=days,
        round_trips=history.round_trips,
        truncated=history.truncated,
    )


@MAINTENANCE.task
async def refresh_trader_history(address: str) -> HistoryResult:
    """Fetch what is new of one trader's past, and make its daily series; one that is not known is made known.

    Args:
        address: `0x` and 40 hexadecimal digits, in any case.

    Raises:
        ValueError: that is no address.
        ExchangeError: the exchange did not give what was asked for.
        LedgerError: the database cannot be used.
    """
    known = await get_or_create_trader.fn(normal(address))
    async with exchange_client() as client:
        return await refresh_history(client, known.id, known.address, now=utc_now())


@dataclass(frozen=True)
class _Walk(Generic[R]):
    """How one kind is asked for, and how its rows are stored."""

    kind: Kind
    ask: Callable[[str, int, int | None], Awaitable[list[R]]]
    time: Callable[[R], int]
    store: Callable[[Session, Sequence[R]], int]


class _Walks:
    def __init__(self, client: HistoryClient, trader_id: int, address: str) -> None:
        self._client = client
        self._trader_id = trader_id
        self._address = address

    async def fills(self) -> int:
        def store(opened: Session, fills: Sequence[UserFill]) -> int:
            return store_fills(opened, self._trader_id, [_told_fill(fill, self._address) for fill in fills])

        return await self._go(_Walk(Kind.FILLS, self._client.user_fills_by_time, lambda fill: fill.time, store))

    async def funding(self) -> int:
        def store(opened: Session, payments: Sequence[UserFunding]) -> int:
            told = [ToldFunding(paid.time, paid.delta.coin, paid.delta.usdc) for paid in payments]
            return store_funding(opened, self._trader_id, told)

        return await self._go(_Walk(Kind.FUNDING, self._client.user_funding, lambda paid: paid.time, store))

    async def updates(self) -> int:
        def store(opened: Session, updates: Sequence[LedgerUpdate]) -> int:
            told = [_told_update(update) for update in updates]
            return store_updates(opened, self._trader_id, self._address, told)

        return await self._go(_Walk(Kind.LEDGER, self._client.user_ledger_updates, lambda update: update.time, store))

    async def _go(self, walk: _Walk[R]) -> int:
        """Ask page by page and store each."""
        start = await asyncio.to_thread(self._start, walk.kind)
        asked: Ask | None = start.ask
        way = _Way(start.reached)
        stored = 0
        while asked is not None:
            answer = await walk.ask(self._address, asked.start, asked.end)
            page = turn(asked, answer, time=walk.time)
            if page.lost:
                logger().warning("one millisecond filled a page", kind=walk.kind.name, trader=short(self._address))
            stored += await asyncio.to_thread(self._take, walk, page, way)
            asked = page.then
        return stored

    def _start(self, kind: Kind) -> Start:
        with session(DOMAIN, read_only=True) as opened:
            return begin(opened, self._trader_id, kind)

    def _take(self, walk: _Walk[R], page: Page[R], way: "_Way") -> int:
        """Store a page, and how far everything is stored now, in one transaction."""
        with session(DOMAIN) as opened:
            stored = walk.store(opened, page.rows)
            way.passed([walk.time(row) for row in page.rows], last=page.then is None, back=_goes_back(page))
            if way.reached is not None:
                move(opened, self._trader_id, walk.kind, way.reached)
            if walk.kind is Kind.FILLS:
                if page.lost:
                    note_hole(opened, self._trader_id, walk.time(page.rows[-1]) + 1)
                elif way.hole is not None:
                    note_hole(opened, self._trader_id, way.hole)
                if page.then is None:
                    note_first_end(opened, self._trader_id)
        return stored


def _goes_back(page: Page[R]) -> bool:
    return page.then is not None and page.then.end is not None


class _Way:
    """How far a walk has come. One that goes back in time has reached nothing until its end."""

    def __init__(self, reached: int | None) -> None:
        self._before = reached
        self._oldest: int | None = None
        self._newest: int | None = None
        self._back = False
        #: Everything up to here is stored.
        self.reached: int | None = None
        #: All since here, and not all since the last time.
        self.hole: int | None = None

    def passed(self, times: Sequence[int], *, last: bool, back: bool) -> None:
        """A page with these times, oldest first, is stored."""
        self._back |= back
        if times:
            self._oldest = min(times[0], times[0] if self._oldest is None else self._oldest)
            self._newest = max(times[-1], times[-1] if self._newest is None else self._newest)
        if self._oldest is None or (self._back and not last):
            return
        self.reached = self._newest
        # What was stored the last time is asked for again: where it does not come, there is more that did not.
        self.hole = self._oldest if self._before is not None and self._oldest > self._before else None


def _told_fill(fill: UserFill, address: str) -> ToldFill:
    liquidated = fill.liquidation.liquidated_user if fill.liquidation is not None else None
    return ToldFill(
        time=fill.time,
        coin=fill.coin,
        side=fill.side,
        px=fill.px,
        sz=fill.sz,
        dir=fill.dir,
        closed_pnl=fill.closed_pnl,
        tid=fill.tid,
        start_position=fill.start_position,
        fee=fill.fee,
        fee_token=fill.fee_token,
        crossed=fill.crossed,
        oid=fill.oid,
        hash=fill.hash,
        liquidated=liquidated is not None and liquidated.lower() == address,
    )


def _told_update(update: LedgerUpdate) -> ToldUpdate:
    return ToldUpdate(update.time, update.hash, update.delta.type, msgspec.structs.asdict(update.delta))


def _finish(trader_id: int, portfolio: Portfolio, now: datetime) -> tuple[int, int, History]:
    points = portfolio_points(
        {
            name: (
                [(time, float(value)) for time, value in period.account_value_history],
                [(time, float(value)) for time, value in period.pnl_history],
            )
            for name, period in portfolio.periods.items()
        }
    )
    with session(DOMAIN) as opened:
        stored = store_points(opened, trader_id, points)
    # Reading takes seconds where there are very many fills, and would keep everybody from writing on SQLite.
    with session(DOMAIN, read_only=True) as opened:
        past = read_past(opened, trader_id, minimum_equity=settings().traders.minimum_equity, known_until=now)
    with session(DOMAIN) as opened:
        days = write_past(opened, trader_id, past)
        mark_refreshed(opened, trader_id, now=now, portfolio_time=points[-1].time if points else None)
        history = opened.get_one(History, trader_id)
    return stored, days, history


def _failed(trader_id: int, reason: str, now: datetime) -> None:
    traders = settings().traders
    with session(DOMAIN) as opened:
        mark_failed(
            opened,
            trader_id,
            reason=reason,
            now=now,
            base_seconds=traders.recheck_base_seconds,
            cap_seconds=traders.recheck_cap_seconds,
            uniform=random.uniform,
        )
