"""Who trades: addresses, how often, how large, how well, and since when; all from the seed."""

from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from random import Random

from deployments.sandbox.exchange.options import ExchangeOptions

#: Median of an account's worth in USDC, and the spread of its logarithm: a few are a thousand times as large as most.
MEDIAN_EQUITY = 20_000.0
EQUITY_SPREAD = 1.5
LEAST_EQUITY = 500.0


@dataclass(frozen=True)
class Trader:
    """One of them, as planted."""

    index: int
    address: str
    #: Mean over deviation of the returns of days on which it trades, and of all days: what a perfect ranking orders by.
    skill: float
    sharpe: float
    #: Deviation of a day's return on which it trades.
    volatility: float
    #: Part of its days on which it trades.
    active_part: float
    #: Worth at the beginning of its past.
    equity: float
    #: Days of past that it has.
    days: int
    #: Trades that it takes a day in its past, about.
    trips_a_day: float
    role: str = "user"


def address_of(seed: int, index: int) -> str:
    """A trader's address."""
    return "0x" + sha256(f"{seed}/trader/{index}".encode()).hexdigest()[:40]


class Population:
    """All traders; the first ones trade most."""

    def __init__(self, options: ExchangeOptions) -> None:
        self.options = options
        self.addresses = [address_of(options.seed, index) for index in range(options.traders)]
        self.by_address = {address: index for index, address in enumerate(self.addresses)}
        self.cumulated_activity = list(accumulate((rank + 1) ** -options.activity for rank in range(options.traders)))
        self._known: dict[int, Trader] = {}

    def __len__(self) -> int:
        return len(self.addresses)

    def trader(self, index: int) -> Trader:
        """A trader, whom the seed and its index make."""
        if index not in self._known:
            self._known[index] = self._drawn(index)
        return self._known[index]

    def _drawn(self, index: int) -> Trader:
        options = self.options
        random = Random(f"{options.seed}/trader/{index}")  # noqa: S311 - no secret depends on it
        skill = random.gauss(0.0, options.skill_sd)
        active = 1.0 - options.idle_day_rate * random.uniform(0.5, 1.5)
        volatility = min(0.08, max(0.004, 0.02 * random.lognormvariate(0.0, 0.4)))
        days = options.days if any("@" not in coin and "/" not in coin for coin in options.coins) else 0
        if random.random() < options.short_history_rate:
            days = random.randint(min(1, days), days)
        role = "user"
        if options.edge_cases and len(self) >= 10:
            # Somebody who never traded before, and a vault.
            days = 0 if index == len(self) - 1 else days
            role = "vault" if index == len(self) - 2 else role
        share = (index + 1) ** -options.activity
        return Trader(
            index=index,
            address=self.addresses[index],
            skill=skill,
            # On idle days nothing is earned, which makes a day's mean smaller by more than its deviation.
            sharpe=active * skill / (active * (1 + skill**2) - (active * skill) ** 2) ** 0.5,
            volatility=volatility,
            active_part=active,
            equity=max(LEAST_EQUITY, round(MEDIAN_EQUITY * random.lognormvariate(0.0, EQUITY_SPREAD), 2)),
            days=days,
            trips_a_day=max(1.0, options.trips_a_day * share**0.5),
            role=role,
        )

    def live_notional(self, index: int) -> float:
        """About how much it trades at a time, in USDC."""
        return min(50_000.0, 0.05 * self.trader(index).equity)
