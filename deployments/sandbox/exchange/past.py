"""What a trader did before the market opened."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from deployments.sandbox.exchange.coins import Coin
from deployments.sandbox.exchange.fills import Fill, Holding
from deployments.sandbox.exchange.options import ExchangeOptions
from deployments.sandbox.exchange.traders import Population


@dataclass
class Past:
    """One trader's."""

    fills: list[Fill] = field(default_factory=list)
    fundings: list[dict[str, Any]] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    cash: Decimal = Decimal(0)
    open: dict[str, Holding] = field(default_factory=dict)


class Pasts:
    """Makes pasts when they are asked for."""

    def __init__(self, options: ExchangeOptions, population: Population, coins: Mapping[str, Coin], start: int) -> None:
        self._population = population
        self._known: dict[int, Past] = {}

    def of(self, index: int) -> Past:
        """A trader's past."""
        if index not in self._known:
            self._known[index] = Past(cash=Decimal(str(self._population.trader(index).equity)))
        return self._known[index]
