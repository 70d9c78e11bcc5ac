"""The exchange as one run of the tracking asks it: until its time is up, with the weight of all answers told."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from blocks.exchange import limits
from blocks.exchange.answers import ClearinghouseState, LedgerUpdate, Portfolio, UserFill, UserFunding
from blocks.exchange.limits import Kind
from tasks.traders.histories import HistoryClient

T = TypeVar("T")


class TimeIsUpError(Exception):
    """The run has no time left for a request. Nobody is to blame, and what was asked for is due as before."""


class TrackedExchange(HistoryClient, Protocol):
    """What tracking asks of an exchange: `blocks.exchange.info.ExchangeClient`, or a stand-in."""

    async def clearinghouse_state(self, user: str, dex: str = "") -> ClearinghouseState:
        """A trader's positions on one dex."""
        ...


class Asker:
    """Asks one thing after the other.

    Only requests are cut short when the time is up, never what is done with their answers: so an answer that came is
    stored.

    Args:
        client: an open client.
        ends: by the event loop's clock; later requests are not sent, and those that wait for their turn given up.
        spent: told the weight of each answer.
    """

    def __init__(self, client: TrackedExchange, ends: float, spent: Callable[[int], None]) -> None:
        self._client = client
        self._ends = ends
        self._spent = spent

    async def clearinghouse_state(self, user: str, dex: str = "") -> ClearinghouseState:
        """A trader's positions on one dex."""
        return await self._ask(limits.CLEARINGHOUSE_STATE, self._client.clearinghouse_state(user, dex))

    async def user_fills_by_time(self, user: str, start_time: int, end_time: int | None = None) -> list[UserFill]:
        """One page of fills."""
        return await self._ask(limits.USER_FILLS_BY_TIME, self._client.user_fills_by_time(user, start_time, end_time))

    async def user_funding(self, user: str, start_time: int, end_time: int | None = None) -> list[UserFunding]:
        """One page of payments of funding."""
        return await self._ask(limits.USER_FUNDING, self._client.user_funding(user, start_time, end_time))

    async def user_ledger_updates(self, user: str, start_time: int, end_time: int | None = None) -> list[LedgerUpdate]:
        """One page of ledger updates."""
        return await self._ask(limits.USER_LEDGER_UPDATES, self._client.user_ledger_updates(user, start_time, end_time))

    async def portfolio(self, user: str) -> Portfolio:
        """The account's value and result over time."""
        return await self._ask(limits.PORTFOLIO, self._client.portfolio(user))

    async def _ask(self, kind: Kind, call: Coroutine[Any, Any, T]) -> T:
        scope = asyncio.timeout_at(self._ends)
        try:
            async with scope:
                answer = await call
        except TimeoutError as error:
            if scope.expired():
                raise TimeIsUpError from error
            raise
        self._spent(kind.weight_of(answer))
        return answer
