"""What each perpetual cost before the market opened."""

from collections.abc import Mapping
from math import exp
from random import Random

from deployments.sandbox.exchange.coins import Coin
from deployments.sandbox.exchange.options import ExchangeOptions
from deployments.sandbox.exchange.past import HOUR

#: How long one price holds, and how much it moves then.
STEP = 6 * HOUR
MOVE = 0.012


class Prices:
    """Random walks backwards in time, from the prices with which the market opens."""

    def __init__(self, options: ExchangeOptions, coins: Mapping[str, Coin], end: int) -> None:
        self.coins = [coin for coin in coins.values() if not coin.is_spot]
        self.weights = [1.0 / (place + 1) for place in range(len(self.coins))]
        self._end = end
        self._logs = {coin.name: _walk(options, coin) for coin in self.coins}

    def at(self, coin: Coin, time: int) -> int:
        """In ticks."""
        logs = self._logs[coin.name]
        back = max(0, (self._end - time) // STEP)
        return max(2, round(coin.ticks * exp(logs[min(back, len(logs) - 1)])))


def _walk(options: ExchangeOptions, coin: Coin) -> list[float]:
    random = Random(f"{options.seed}/price/{coin.name}")  # noqa: S311 - no secret depends on it
    logs = [0.0]
    for _ in range(options.days * 24 * HOUR // STEP):
        logs.append(max(-1.0, min(1.0, logs[-1] + random.gauss(0, MOVE))))
    return logs
