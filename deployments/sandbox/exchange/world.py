"""The exchange without its wires: traders, their past, the market, its blocks, and what they made of everybody."""

import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from random import Random
from typing import Any

from deployments.sandbox.exchange.coins import Coin
from deployments.sandbox.exchange.fills import Fill
from deployments.sandbox.exchange.ledger import Ledger
from deployments.sandbox.exchange.market import Market
from deployments.sandbox.exchange.options import ExchangeOptions, OptionError
from deployments.sandbox.exchange.past import Past
from deployments.sandbox.exchange.past_trading import Pasts
from deployments.sandbox.exchange.tape import Block, LeverageChange, Trade, Transfer, prepare
from deployments.sandbox.exchange.traders import Population
from deployments.sandbox.exchange.transfers import deposit_or_withdrawal

#: Trades of a prepared block: more would be one frame of megabytes.
LARGEST_PREPARED = 2000


def wall_clock() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class World:
    """Everything that is true."""

    def __init__(self, options: ExchangeOptions, clock: Callable[[], int] = wall_clock) -> None:
        self._clock = clock
        self._offset = options.start_time - clock() if options.start_time else 0
        self.start = clock() + self._offset
        self.population = Population(options)
        self.addresses: Sequence[str] = self.population.addresses
        self.market = Market(options, self.population)
        self.coins: Mapping[str, Coin] = self.market.by_name
        self.pasts = Pasts(options, self.population, self.coins, self.start)
        self.blocks: list[Block] = []
        #: Trades in the blocks, and in those that nobody has seen yet.
        self.played = 0
        self.prepared: list[Block] = []
        self.finished = False
        self._ledger = Ledger(self.addresses, self.coins)
        self._random = Random(f"{options.seed}/blocks")  # noqa: S311 - no secret depends on it
        if not options.flat_start:
            self._carry_over()
        if options.prepare:
            self._prepare(options)

    @property
    def time(self) -> int:
        """Of the newest block; when the market opened, before there is one."""
        return self.blocks[-1].time if self.blocks else self.start

    def next_time(self) -> int:
        """Of the next block: now, but after the newest one."""
        return max(self._clock() + self._offset, self.time + 1)

    def index(self, address: str) -> int | None:
        """A trader by its address, in any case."""
        return self.population.by_address.get(address.lower())

    def ledger(self) -> Ledger:
        """What the blocks so far have made of everybody."""
        self._ledger.read(self.blocks)
        return self._ledger

    def past(self, index: int) -> Past:
        """What a trader did before the market opened."""
        return self.pasts.of(index)

    def fills(self, index: int) -> list[Fill]:
        """All of a trader's, oldest first."""
        account = self.ledger().accounts.get(index)
        return [*self.past(index).fills, *(account.fills if account else ())]

    def fundings(self, index: int) -> list[dict[str, Any]]:
        """Payments of funding, oldest first; there are none while the market runs."""
        return self.past(index).fundings

    def updates(self, index: int) -> list[dict[str, Any]]:
        """Money that came and went otherwise, oldest first."""
        account = self.ledger().accounts.get(index)
        live = [deposit_or_withdrawal(time, usdc, index) for time, usdc in (account.flows if account else ())]
        return [*self.past(index).updates, *live]

    def created(self, index: int) -> int | None:
        """When a trader's account was made: with its first money, or its first trade."""
        if (known := self.past(index).created) is not None:
            return known
        account = self.ledger().accounts.get(index)
        moments = [each[0] for each in account.flows[:1]] + [each.time for each in account.fills[:1]] if account else []
        return min(moments, default=None)

    def worth(self, index: int, time: int) -> tuple[Decimal, Decimal]:
        """What a trader's perpetuals were worth, and what they had brought; since the market opened, only now."""
        past = self.past(index)
        value, flow = past.worth(time), past.flow(time)
        account = self.ledger().accounts.get(index)
        if time < self.start or account is None:
            return value, value - flow
        unrealised = sum(
            (
                held.unrealised(self.mark(coin))
                for coin, held in account.holdings.items()
                if not self.coins[coin].is_spot
            ),
            Decimal(0),
        )
        value = past.cash + sum(account.cash.values()) + unrealised
        return value, value - flow - sum((usdc for _, usdc in account.flows), Decimal(0))

    def mark(self, coin: str) -> Decimal:
        """A coin's price: of its newest trade."""
        marks = self.ledger().marks
        return marks.get(coin) or Decimal(self.coins[coin].px(self.coins[coin].ticks))

    def cash(self, index: int, dex: str) -> Decimal:
        """A trader's USDC on a dex, positions aside."""
        account = self.ledger().accounts.get(index)
        live = account.cash[dex] if account else Decimal(0)
        return live + (self.past(index).cash if not dex else Decimal(0))

    def append(self, block: Block) -> Block:
        """A block happened."""
        self.blocks.append(block)
        self.played += len(block)
        return block

    def play(self, count: int) -> Block:
        """Let the next block happen, with so many trades."""
        if self.prepared:
            block = self.prepared.pop()
            block.time = self.next_time()
            return self.append(block)
        return self.append(self.market.block(count, self.next_time()))

    def trade(self, told: Sequence[Mapping[str, Any]]) -> Block:
        """Let the trades that somebody thought of happen, as one block; one order each, unless they name one.

        Raises:
            OptionError: one of them cannot be.
        """
        block = Block(0, {})
        orders: dict[Any, int] = {}
        for each in told:
            coin, buyer, seller = (
                self._coin(each.get("coin")),
                self._who(each.get("buyer")),
                self._who(each.get("seller")),
            )
            try:
                sizes = [Decimal(str(each[name])) for name in ("px", "sz")]
            except (KeyError, InvalidOperation) as error:
                raise OptionError(f"px and sz: numbers of {each}") from error
            if min(sizes) <= 0 or each.get("side", "B") not in ("A", "B"):
                raise OptionError("px and sz are above 0, side is A or B")
            order = orders.setdefault(each.get("order", object()), self.market.orders_made)
            self.market.orders_made = max(self.market.orders_made, order + 1)
            block.trades.setdefault(coin.name, []).append(
                Trade(
                    self.market.trades_made,
                    coin.name,
                    str(each["px"]),
                    str(each["sz"]),
                    each.get("side", "B"),
                    buyer,
                    seller,
                    order,
                    bool(each.get("liquidation", False)),
                )
            )
            self.market.trades_made += 1
            units = int(sizes[1].scaleb(coin.sz_decimals))
            self.market.move(coin.name, buyer, seller, units)
        block.time = self.next_time()
        return self.append(block)

    def set_leverage(self, told: Mapping[str, Any]) -> Block:
        """Let a trader change its leverage, in a block of its own.

        Raises:
            OptionError: no such trader, coin or value.
        """
        coin, kind, value = self._coin(told.get("coin")), told.get("type", "cross"), told.get("value")
        if kind not in ("cross", "isolated") or not isinstance(value, int) or not 1 <= value <= coin.maximum_leverage:
            raise OptionError(f"value: 1 to {coin.maximum_leverage}; type: cross or isolated")
        change = LeverageChange(self._who(told.get("user")), coin.name, value, kind)
        return self.append(Block(self.next_time(), {}, leverages=[change]))

    def transfer(self, told: Mapping[str, Any]) -> Block:
        """Let a trader deposit or (below 0) withdraw, in a block of its own.

        Raises:
            OptionError: no such trader, or no amount.
        """
        try:
            usdc = Decimal(str(told.get("usdc")))
        except InvalidOperation as error:
            raise OptionError("usdc: an amount") from error
        return self.append(Block(self.next_time(), {}, transfers=[Transfer(self._who(told.get("user")), str(usdc))]))

    def last_block(self) -> Block:
        """Trade every coin once more, so that each coin's stream tells how far it has come; then nothing any more."""
        block = self.append(self.market.one_of_each(self.next_time()))
        self.finished = True
        return block

    def _who(self, address: object) -> int:
        found = self.index(str(address))
        if found is None:
            raise OptionError(f"{address}: nobody has this address")
        return found

    def _coin(self, name: object) -> Coin:
        if name not in self.coins:
            raise OptionError(f"{name}: no such coin")
        return self.coins[str(name)]

    def _carry_over(self) -> None:
        """Let everybody begin with what its past ended with."""
        for index in range(len(self.population)):
            for coin, holding in self.past(index).open.items():
                self._ledger.carry(index, coin, holding)
                units = int(holding.szi.scaleb(self.coins[coin].sz_decimals))
                self.market.seed_position(index, coin, units)

    def _prepare(self, options: ExchangeOptions) -> None:
        """Make blocks ahead of time: newest first, for they are taken from the end."""
        size = max(1, min(LARGEST_PREPARED, round(min(options.rate, 1e9) * options.block_ms / 1000)))
        while self.market.trades_made < options.prepare:
            block = self.market.block(min(size, options.prepare - self.market.trades_made), 0)
            prepare(block, self.addresses)
            self.prepared.append(block)
        self.prepared.reverse()
