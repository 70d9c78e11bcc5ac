"""Who trades what with whom: blocks of trades, drawn from the seed.

The market keeps positions as whole numbers of its own, to know what closes and what flips. What really became of
everybody is the ledger's business, which reads nothing but the blocks.

In one block, a trader only buys or only sells a coin, and where there are traders enough it takes part in one order
of it; who flips does so in a single trade. So there are no two opinions about prices of netted changes. Who meets its
own order is alone with it in that coin's part of the block.
"""

from collections import defaultdict
from collections.abc import Callable
from random import Random

from deployments.sandbox.exchange.coins import Coin, coin_named
from deployments.sandbox.exchange.options import ExchangeOptions
from deployments.sandbox.exchange.tape import Block, LeverageChange, Trade
from deployments.sandbox.exchange.traders import Population

#: Draws of a trader who is not in the block yet, before one who is has to do.
PATIENCE = 12
#: Where there are no more traders than this, all of them are asked then.
FEW = 64
#: How many times its usual order a position may grow to.
LARGEST = 6


class _Round:
    """One coin's part of the block that is being made."""

    def __init__(self, random: Random, traders: int) -> None:
        self.trades: list[Trade] = []
        self.busy: set[int] = set()
        self.closed = False
        # Of a mask that is not 0 there are always traders on both sides, however few they are.
        self._mask = random.randrange(1, 1 << (traders - 1).bit_length())
        self._turned = random.getrandbits(1)

    def buys(self, trader: int) -> bool:
        """Whether it buys in this block if it does anything."""
        return ((trader & self._mask).bit_count() + self._turned) & 1 == 0


class Market:
    """Makes blocks."""

    def __init__(self, options: ExchangeOptions, population: Population) -> None:
        self.options = options
        self.coins: list[Coin] = [coin_named(name) for name in options.coins]
        self.by_name = {coin.name: coin for coin in self.coins}
        self.ticks = {coin.name: coin.ticks for coin in self.coins}
        self.trades_made = 0
        self.orders_made = 0
        self._population = population
        self._random = Random(f"{options.seed}/market")  # noqa: S311 - no secret depends on it
        self._positions: dict[str, dict[int, int]] = {coin.name: defaultdict(int) for coin in self.coins}
        self._coin_weights = [1.0 / (place + 1) for place in range(len(self.coins))]
        self._drawn: list[int] = []
        self._notionals: dict[int, float] = {}

    def seed_position(self, trader: int, coin: str, units: int) -> None:
        """Let a trader begin with a position."""
        self._positions[coin][trader] = units

    def move(self, coin: str, buyer: int, seller: int, units: int) -> None:
        """Take note of a trade that somebody else thought of."""
        self._positions[coin][buyer] += units
        self._positions[coin][seller] -= units

    def block(self, count: int, time: int) -> Block:
        """The next so many trades; fewer only where every coin's part of the block was closed by a self-trade."""
        rounds: dict[str, _Round] = {}
        block = Block(time, {})
        made = 0
        while made < count:
            coin = self._random.choices(self.coins, self._coin_weights)[0]
            here = rounds.get(coin.name)
            if here is None:
                here = rounds[coin.name] = _Round(self._random, len(self._population))
            if here.closed:
                if len(rounds) == len(self.coins) and all(each.closed for each in rounds.values()):
                    break
                continue
            made += self._order(coin, here, count - made)
            if self._random.random() < self.options.leverage_rate:
                block.leverages.append(self._leverage(coin))
        block.trades = {name: here.trades for name, here in rounds.items() if here.trades}
        block.leverages = [change for change in block.leverages if not self.by_name[change.coin].is_spot]
        return block

    def one_of_each(self, time: int) -> Block:
        """A block in which every coin is traded, once."""
        block = Block(time, {})
        for coin in self.coins:
            here = _Round(self._random, len(self._population))
            self._order(coin, here, 1)
            block.trades[coin.name] = here.trades
        return block

    def _order(self, coin: Coin, here: _Round, most: int) -> int:
        """One taker's order; gives how many trades it made."""
        random, options, positions = self._random, self.options, self._positions[coin.name]
        taker, first = self._someone(here, lambda _: True)
        if not here.busy and random.random() < options.self_trade_rate:
            here.closed = True
            side = "B" if here.buys(taker) else "A"
            return self._fill(coin, here, taker, taker, side, coin.units(self._notional(taker), coin.ticks), False)
        buys = here.buys(taker)
        held, usual = positions[taker], coin.units(self._notional(taker), self.ticks[coin.name])
        size = max(1, round(usual * random.uniform(0.2, 2.0)))
        reducing, flips, liquidation = held != 0 and (held > 0) != buys, False, False
        if reducing:
            size, flips, liquidation = self._reduction(abs(held), size, may_flip=first)
        elif abs(held) > LARGEST * usual:
            size = 1 + size // 50
        parts = 1
        if not flips and size > 1 and most > 1 and random.random() < options.sweep_rate:
            parts = min(random.randint(2, 5), most, size)
        self._walk(coin)
        here.busy.add(taker)
        made, order = 0, self.orders_made
        for left in range(parts, 0, -1):
            maker, maker_first = self._someone(here, lambda other: here.buys(other) != buys and other != taker)
            part = size if left == 1 else max(1, min(size - left + 1, round(size / left * random.uniform(0.5, 1.5))))
            theirs = positions[maker]
            if theirs and (theirs > 0) == buys and (abs(theirs) < part or random.random() < options.close_rate):
                # Makers close, too; those who have traded already must not flip.
                if abs(theirs) <= part - (left - 1) and (not maker_first or random.random() >= options.flip_rate):
                    part = abs(theirs)
                elif not maker_first:
                    part = min(part, abs(theirs))
            here.busy.add(maker)
            buyer, seller = (taker, maker) if buys else (maker, taker)
            made += self._fill(coin, here, buyer, seller, "B" if buys else "A", part, liquidation, order=order)
            size -= part
            if size <= 0:
                break
            if left > 1:
                self.ticks[coin.name] += 1 if buys else -1
        return made

    def _reduction(self, held: int, size: int, *, may_flip: bool) -> tuple[int, bool, bool]:
        """Size of an order against a position, whether it flips, and whether it is a liquidation."""
        random, options = self._random, self.options
        drawn = random.random()
        if drawn < options.liquidation_rate:
            return held, False, True
        if drawn < options.liquidation_rate + options.close_rate:
            return held, False, False
        if random.random() < options.flip_rate and may_flip:
            return held + size, True, False
        if held > 1 and random.random() < 0.05:
            # Dust is left.
            return held - 1, False, False
        return max(1, round(held * random.uniform(0.2, 0.8))), False, False

    def _someone(self, here: _Round, fits: Callable[[int], bool]) -> tuple[int, bool]:
        """A trader who fits, and whether it is new to this part of the block."""
        for _ in range(PATIENCE if len(here.busy) < len(self._population) else 0):
            trader = self._draw()
            if trader not in here.busy and fits(trader):
                return trader, True
        for trader in range(len(self._population) if len(self._population) <= FEW else 0):
            if fits(trader) and trader not in here.busy:
                return trader, True
        while True:
            trader = self._draw()
            if fits(trader):
                return trader, False

    def _draw(self) -> int:
        if not self._drawn:
            weights = self._population.cumulated_activity
            self._drawn = self._random.choices(range(len(weights)), cum_weights=weights, k=1024)
        return self._drawn.pop()

    def _notional(self, trader: int) -> float:
        known = self._notionals.get(trader)
        if known is None:
            known = self._notionals[trader] = self._population.live_notional(trader)
        return known

    def _walk(self, coin: Coin) -> None:
        """The price moves, by a few hundredths of a percent, and stays within half and twice of where it began."""
        reach = max(1, coin.ticks // 3000)
        moved = self.ticks[coin.name] + self._random.randint(-reach, reach)
        self.ticks[coin.name] = min(2 * coin.ticks, max(coin.ticks // 2, moved))

    def _fill(
        self,
        coin: Coin,
        here: _Round,
        buyer: int,
        seller: int,
        side: str,
        units: int,
        liquidation: bool,
        *,
        order: int | None = None,
    ) -> int:
        if order is None or order == self.orders_made:
            order = self.orders_made
            self.orders_made += 1
        here.busy.update((buyer, seller))
        positions = self._positions[coin.name]
        positions[buyer] += units
        positions[seller] -= units
        here.trades.append(
            Trade(
                self.trades_made,
                coin.name,
                coin.px(self.ticks[coin.name]),
                coin.sz(units),
                side,
                buyer,
                seller,
                order,
                liquidation,
            )
        )
        self.trades_made += 1
        return 1

    def _leverage(self, coin: Coin) -> LeverageChange:
        value = self._random.randint(1, coin.maximum_leverage)
        kind = "isolated" if coin.dex or self._random.random() < 0.3 else "cross"
        return LeverageChange(self._draw(), coin.name, value, kind)
