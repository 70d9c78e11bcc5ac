"""Items on their way from the connections to who reads them: in order, bounded by trades, and nothing ever dropped."""

import asyncio
from collections import deque

from blocks.exchange.items import Item, Trades


def weight(item: Item) -> int:
    """What an item counts in the bound: its trades, and 1 where it has none."""
    return len(item.trades) + item.rejected if type(item) is Trades else 1


class ItemQueue:
    """A queue for many that put and one that takes.

    Args:
        limit: trades that it holds at most; an item of more than that passes when it is alone.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[tuple[Item, int]] = deque()
        self._held = 0
        # Those who wait for room, with what they bring: who takes lets them in, so they come in their order.
        self._waiting: deque[tuple[asyncio.Future[None], Item, int]] = deque()
        self._taker: asyncio.Future[None] | None = None
        self._wanted = 0
        self._ended = False
        self._error: BaseException | None = None

    @property
    def held(self) -> int:
        """Trades in it, and other items, each as one."""
        return self._held

    @property
    def ended(self) -> bool:
        """Everything was taken, and nothing will come; an error that ended it stands out until it was raised."""
        return self._ended and not self._items and self._error is None

    def offer(self, item: Item) -> bool:
        """Put an item if there is room for it and nobody waits before it; tells whether that was so."""
        share = weight(item)
        if self._waiting or not self._fits(share):
            return False
        self._add(item, share)
        return True

    async def put(self, item: Item) -> None:
        """Put an item as soon as there is room, after those who wait already."""
        if self.offer(item):
            return
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (admitted, item, weight(item))
        self._waiting.append(place)
        # A full queue is worth taking, however much was asked for.
        self._wake()
        try:
            await admitted
        except asyncio.CancelledError:
            if place in self._waiting:
                self._waiting.remove(place)
                self._admit()
            raise

    async def take(self, trades: int, seconds: float | None) -> list[Item]:
        """Take what is there once it is enough, the queue is full, or the time is over.

        Args:
            trades: how many are enough; the last item may bring more.
            seconds: how long to wait for them; None: until they come.

        Returns:
            The items in order; none where none came in time, or none will come.

        Raises:
            RuntimeError: somebody else is taking.
            BaseException: what `end` was given, once everything before it was taken.
        """
        if self._taker is not None:
            raise RuntimeError("the trade stream is read by somebody else already")
        if self._held < trades and not self._waiting and not self._ended:
            self._wanted = trades
            self._taker = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(seconds):
                    await self._taker
            except TimeoutError:
                # Then what is there is taken.
                pass
            finally:
                self._taker = None
        taken: list[Item] = []
        sum_of_shares = 0
        while self._items and sum_of_shares < trades:
            item, share = self._items.popleft()
            self._held -= share
            sum_of_shares += share
            taken.append(item)
            self._admit()
        if not taken and self._error is not None:
            error, self._error = self._error, None
            raise error
        return taken

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more will come; what is there can be taken.

        Args:
            error: why it ended, for who takes.
        """
        self._ended = True
        self._error = error
        self._wake()

    def _fits(self, share: int) -> bool:
        return not self._items or self._held + share <= self._limit

    def _add(self, item: Item, share: int) -> None:
        self._items.append((item, share))
        self._held += share
        if self._held >= self._wanted:
            self._wake()

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][2]):
            admitted, item, share = self._waiting.popleft()
            # One that was cancelled in this moment, too: its item was received.
            self._add(item, share)
            if not admitted.done():
                admitted.set_result(None)

    def _wake(self) -> None:
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)
