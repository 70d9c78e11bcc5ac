"""The exchange's limits on connections and messages, kept by all processes that call from one address."""

from contextlib import AsyncExitStack
from types import TracebackType

from blocks.exchange.pacing import Limits
from blocks.rate_ledger import RateLedger, RatePermit
from blocks.rate_window import Window


class SharedLimits:
    """A limiter for `TradeStream` that stands in the database `rates`.

    Args:
        key_name: of the address, as the block `Exchange` names it.
        limits: by route, how many in how many seconds.
    """

    def __init__(self, key_name: str, limits: Limits) -> None:
        # One ledger a route: a ledger's fixed windows hold on all of its routes.
        self._ledgers = {
            route: RateLedger(key_name, fixed=(Window(limit, seconds),)) for route, (limit, seconds) in limits.items()
        }
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "SharedLimits":
        """Register this process.

        Raises:
            LedgerError: the database of rates cannot be used.
        """
        async with AsyncExitStack() as stack:
            for ledger in self._ledgers.values():
                await stack.enter_async_context(ledger)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is finished, and leave."""
        await self._stack.aclose()

    async def acquire(self, *, route: str, method: str) -> RatePermit:
        """Wait until one connection may be made or one message sent, by anybody at this address.

        Args:
            route: which of the two.
            method: `connect` or `send`.

        Raises:
            LedgerError: the database cannot be used, or not for longer than a minute.
        """
        return await self._ledgers[route].acquire(route=route, method=method)
