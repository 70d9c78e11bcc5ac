"""Lets the market run: blocks at the rate that was asked for, sent as they happen, and what goes wrong meanwhile."""

import asyncio
from collections.abc import Callable
from math import isinf

from deployments.sandbox.exchange.options import ExchangeOptions
from deployments.sandbox.exchange.streaming import Stream
from deployments.sandbox.exchange.tape import Block
from deployments.sandbox.exchange.world import World

#: Seconds between two looks at what is to go wrong with connections.
LOOK = 0.1
#: Trades that may be made up for at once when the machine was too slow, in seconds of the rate.
CATCH_UP = 1.0


class Pace:
    """The market's clockwork."""

    def __init__(self, world: World, stream: Stream, options: Callable[[], ExchangeOptions]) -> None:
        self._world, self._stream, self._options = world, stream, options
        #: Set when something was changed for which a market that stands still may wait.
        self.changed = asyncio.Event()

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run_market())
            group.create_task(self._misbehave())

    def deliver(self, block: Block) -> None:
        """Send a block to who subscribed, now or as late as the stream is to be."""
        if self._options().stream_delay > 0:
            asyncio.get_running_loop().call_later(self._options().stream_delay, self._stream.deliver, block)
        else:
            self._stream.deliver(block)
        if self._stream.follows_users:
            self._stream.tell_users()

    async def play(self, count: int, size: int = 0) -> int:
        """Let so many trades happen now, in blocks of the usual size or another; gives how many did."""
        options, before = self._options(), self._world.played
        size = size or max(1, round(min(options.rate, 1e6) * options.block_ms / 1000))
        while (left := count - (self._world.played - before)) > 0:
            self.deliver(self._world.play(min(left, size)))
        await self._stream.drained()
        return self._world.played - before

    def finish(self) -> None:
        """Stop the market for good, after every coin was traded once more."""
        if not self._world.finished:
            self.deliver(self._world.last_block())
            self.changed.set()

    def _stands_still(self) -> bool:
        return self._options().paused or self._stream.subscribed < self._options().await_subscriptions

    async def _run_market(self) -> None:
        loop = asyncio.get_running_loop()
        due, before = 0.0, loop.time()
        while not self._world.finished:
            if self._stands_still():
                await self._moved()
                due, before = 0.0, loop.time()
                continue
            options, now = self._options(), loop.time()
            if isinf(options.rate):
                due = float(len(self._world.prepared[-1]) if self._world.prepared else 0)
            else:
                due = min(due + options.rate * (now - before), max(options.rate * CATCH_UP, 1.0))
            before = now
            due -= await self._happen(due)
            if options.trades and self._world.played >= options.trades:
                self.finish()
            await self._stream.drained()
            wait = 0.0 if isinf(options.rate) else options.block_ms / 1000
            await asyncio.sleep(max(0.0, now + wait - loop.time()))

    async def _moved(self) -> None:
        """Wait until an option or a subscription has changed."""
        events = (self.changed, self._stream.changed)
        for event in events:
            event.clear()
        waiting = [asyncio.ensure_future(event.wait()) for event in events]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()

    async def _happen(self, due: float) -> int:
        """Let the trades that are due happen, whole prepared blocks first; gives how many did."""
        world, before = self._world, self._world.played
        limit = self._options().trades
        left = int(min(due, limit - before)) if limit else int(due)
        if not world.prepared and left > 0 and not isinf(self._options().rate):
            self.deliver(world.play(left))
        while world.prepared and left >= len(world.prepared[-1]) and not self._stands_still():
            block = world.play(0)
            self.deliver(block)
            left -= len(block)
            await self._stream.drained()
            # Requests and messages are heard between two blocks.
            await asyncio.sleep(0)
        if isinf(self._options().rate) and not world.prepared:
            self.finish()
        return world.played - before

    async def _misbehave(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            await self._stream.misbehave(LOOK)
