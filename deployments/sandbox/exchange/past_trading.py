"""Makes a trader's past from the seed: deposits, days with planted returns, positions that bring them, funding.

What a day is to bring is drawn first: volatility x (skill + noise with heavy tails). Then positions are made whose
results, fees and funding add up to it, as nearly as ticks and steps of size allow. What a day really brought is
computed from the rows, not from the plan.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import sqrt
from random import Random

from deployments.sandbox.exchange.coins import Coin, plain
from deployments.sandbox.exchange.fills import MAKER_FEE, TAKER_FEE, ZERO, Holding, fill, rounded
from deployments.sandbox.exchange.options import ExchangeOptions
from deployments.sandbox.exchange.past import DAY, HOUR, Past
from deployments.sandbox.exchange.past_extras import add_extras
from deployments.sandbox.exchange.past_prices import Prices
from deployments.sandbox.exchange.tape import hash_of, tid_of
from deployments.sandbox.exchange.traders import Population, Trader
from deployments.sandbox.exchange.transfers import deposit_or_withdrawal

#: Trades and orders of pasts are numbered from here, far above those of the market.
FIRST_NUMBER, NUMBERS_EACH = 1 << 44, 1 << 22
#: What a day may lose at most, of what the account is worth.
GREATEST_LOSS = 0.5
MEAN_FEE = (TAKER_FEE + MAKER_FEE) / 2
_RATE = Decimal("0.00000001")


@dataclass
class _Open:
    """The position that is open."""

    coin: Coin
    holding: Holding
    sign: int
    #: Until when its funding was paid.
    funded: int


class _Maker:
    """Makes one past, day by day."""

    def __init__(self, options: ExchangeOptions, trader: Trader, prices: Prices, end_day: int) -> None:
        self.options, self.trader, self.prices = options, trader, prices
        self.random = Random(f"{options.seed}/past/{trader.index}")  # noqa: S311 - no secret depends on it
        self.past = Past()
        self.days = range(end_day - trader.days, end_day)
        self.number = FIRST_NUMBER + trader.index * NUMBERS_EACH
        self.position: _Open | None = None
        #: What trading has brought so far, realised; and what it is to have brought when the next position is left.
        self.result = ZERO
        self.goal = 0.0

    def make(self) -> Past:
        """All days, one after the other."""
        for day in self.days:
            worth = float(sum((usdc for _, usdc in self.past.flows), self._brought(day)))
            base = worth + max(0.0, self._flow(day, worth))
            if self.position is not None or self.random.random() < self.trader.active_part:
                # Student's t with four degrees of freedom, of deviation 1.
                noise = self.random.gauss(0, 1) / sqrt(self.random.gammavariate(2, 0.5)) / sqrt(2)
                drawn = max(-GREATEST_LOSS, self.trader.volatility * (self.trader.skill + noise))
                self._day(day, base, drawn * base)
        if self.position is not None:
            self.past.open[self.position.coin.name] = self.position.holding
        if self.options.edge_cases and self.days:
            add_extras(self.past, self.trader, self.days.start)
        return self.past

    def _brought(self, day: int) -> Decimal:
        """What trading has brought when a day begins, which all positions of the day go on from."""
        held = ZERO
        if self.position is not None:
            held = self.position.holding.unrealised(self.past.marks[-1][1])
        self.goal = float(self.result + held)
        return self.result + held

    def _flow(self, day: int, worth: float) -> float:
        """Money that comes or goes that day."""
        random, time = self.random, day * DAY + 60_000
        if day == self.days.start:
            usdc = self.trader.equity
        elif random.random() < self.options.flow_rate and worth > 1000:
            usdc = round(worth * random.choice((random.uniform(0.05, 1.0), -random.uniform(0.05, 0.4))), 2)
            time = day * DAY + random.randrange(HOUR, 23 * HOUR)
        else:
            return 0.0
        amount = Decimal(str(usdc))
        self.past.flows.append((time, amount))
        self.past.updates.append(deposit_or_withdrawal(time, amount, self.trader.index))
        return usdc

    def _day(self, day: int, base: float, total: float) -> None:
        """Positions that together bring the day's total."""
        random = self.random
        count = 1 + sum(random.random() < (self.trader.trips_a_day - 1) / 40 for _ in range(40))
        noises = [random.gauss(0, 0.7 * self.trader.volatility * base / sqrt(count)) for _ in range(count)]
        shares = [(total - sum(noises)) / count + noise for noise in noises]
        slot = (DAY - HOUR) // count
        stays = random.random() < self.options.overnight_rate
        if day == self.days[-1] and self.options.flat_start:
            stays = False
        for place, share in enumerate(shares):
            begin = day * DAY + HOUR // 2 + place * slot
            position = self.position or self._enter(begin, slot, base, share)
            self.goal += share
            following = shares[place + 1] if place + 1 < count else None
            if following is None and stays:
                self._stay(position, (day + 1) * DAY - 1)
            else:
                self._leave(position, begin, slot, base, share, following)

    def _enter(self, begin: int, slot: int, base: float, share: float) -> _Open:
        """Open a position in the first third of a slot."""
        random = self.random
        coin = random.choices(self.prices.coins, self.prices.weights)[0]
        ticks = self.prices.at(coin, begin)
        units = coin.units(self._notional(base * min(3.0, random.lognormvariate(-0.5, 0.6)), share), ticks)
        parts = self._parts(units)
        times = self._times(begin, begin + slot // 3, len(parts))
        position = self.position = _Open(coin, Holding(), random.choice((1, -1)), times[-1])
        for time, part in zip(times, parts, strict=True):
            self._fill(position, time, ticks + random.randint(-1, 1), part, position.sign)
        return position

    def _leave(
        self, position: _Open, begin: int, slot: int, base: float, share: float, following: float | None
    ) -> None:
        """Close it in the last third of a slot, at a price that reaches the goal; at times, turn it round."""
        random = self.random
        parts = self._parts(int(abs(position.holding.szi).scaleb(position.coin.sz_decimals)))
        times = self._times(begin + 2 * slot // 3, begin + slot - 60_000, len(parts))
        self._pay_funding(position, times[0])
        liquidated = share < 0 and random.random() < self.options.liquidation_rate
        turns = following is not None and not liquidated and random.random() < self.options.flip_rate
        px = self._exit_ticks(position)
        for place, (time, part) in enumerate(zip(times, parts, strict=True)):
            if turns and place == len(parts) - 1:
                size = position.coin.units(self._notional(base * 0.3, following or 0.0), px)
                self._fill(position, time, px, part + size, -position.sign)
                position.sign, position.funded = -position.sign, time
            else:
                self._fill(position, time, px, part, -position.sign, liquidated=liquidated)
        if not turns:
            self.position = None

    def _exit_ticks(self, position: _Open) -> int:
        """The price at which closing all of it reaches the goal."""
        held = position.holding
        missing = Decimal(self.goal) - self.result + MEAN_FEE * abs(held.szi) * held.entry
        px = held.entry + missing / held.szi
        return max(1, round(px.scaleb(position.coin.px_decimals)))

    def _stay(self, position: _Open, midnight: int) -> None:
        """Hold it over midnight, at a price at which the goal is reached without closing it."""
        self._pay_funding(position, midnight)
        held = position.holding
        px = held.entry + (Decimal(self.goal) - self.result) / held.szi
        self.past.marks.append((midnight, max(px, held.entry / 10)))

    def _pay_funding(self, position: _Open, until: int) -> None:
        """Payments since the last one; a position pays by its worth when it was opened."""
        every = self.options.funding_hours * HOUR
        held, index = position.holding, self.trader.index
        for time in range((position.funded // every + 1) * every, until - 100, every):
            rate = Decimal(self.random.gauss(1e-5, 4e-5) * self.options.funding_hours).quantize(_RATE)
            usdc, moment = rounded(-rate * held.szi * held.entry), time + 1 + index % 99
            delta = {
                "type": "funding",
                "coin": position.coin.name,
                "usdc": plain(usdc),
                "szi": plain(held.szi),
                "fundingRate": plain(rate),
                "nSamples": None,
            }
            row = {"time": moment, "hash": hash_of(2 * FIRST_NUMBER + time // HOUR), "delta": delta}
            self.past.fundings.append(row)
            self._bring(moment, usdc)
        position.funded = until

    def _fill(self, position: _Open, time: int, ticks: int, units: int, sign: int, *, liquidated: bool = False) -> None:
        last = self.past.fills[-1] if self.past.fills else None
        self.number += 1
        order, crossed = self.number, self.random.random() < 0.5
        if last is not None and last.time == time and last.coin == position.coin.name:
            order, crossed = last.order, last.crossed
        found = fill(
            position.holding,
            time=time,
            coin=position.coin.name,
            px=position.coin.px(max(1, ticks)),
            sz=position.coin.sz(units),
            buys=sign > 0,
            crossed=crossed,
            order=order,
            oid=order,
            tid=tid_of(self.number),
            liquidated=self.trader.address if liquidated else None,
        )
        self.past.fills.append(found)
        self._bring(time, found.closed_pnl - found.fee)
        self.past.states.append((time, position.holding.szi, position.holding.entry))
        self.past.marks.append((time, Decimal(found.px)))

    def _bring(self, time: int, usdc: Decimal) -> None:
        self.result += usdc
        self.past.results.append((time, usdc))

    def _notional(self, usual: float, share: float) -> float:
        """Worth of a position that can bring its share without its price going far."""
        return max(usual, 8 * abs(share), 20.0)

    def _parts(self, units: int) -> list[int]:
        """A size in one to three parts."""
        count = min(units, self.random.choice((1, 1, 2, 3)))
        cuts = sorted(self.random.sample(range(1, units), count - 1)) if count > 1 else []
        return [after - before for before, after in zip([0, *cuts], [*cuts, units], strict=True)]

    def _times(self, begin: int, end: int, count: int) -> list[int]:
        """When the parts are filled: at once, or one after the other."""
        if self.random.random() < 0.4:
            return [self.random.randrange(begin, end)] * count
        return sorted(self.random.sample(range(begin, end), count))


class Pasts:
    """Makes pasts when they are asked for."""

    def __init__(self, options: ExchangeOptions, population: Population, coins: Mapping[str, Coin], start: int) -> None:
        self._options, self._population = options, population
        #: The first moment of the day on which the market opens.
        self.end = start // DAY * DAY
        self._prices = Prices(options, coins, self.end)
        self._known: dict[int, Past] = {}

    def of(self, index: int) -> Past:
        """A trader's past."""
        if index not in self._known:
            trader = self._population.trader(index)
            self._known[index] = _Maker(self._options, trader, self._prices, self.end // DAY).make()
        return self._known[index]
