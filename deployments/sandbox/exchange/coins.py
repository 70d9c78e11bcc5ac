"""What is traded: perpetuals of the exchange, of builders (`xyz:AAPL`), and spot pairs (`@107`)."""

from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256


@dataclass(frozen=True)
class Coin:
    """One of them. Prices and sizes are whole numbers of their smallest steps wherever the market computes."""

    name: str
    #: Price at the beginning, in ticks.
    ticks: int
    #: Decimals of a price and of a size.
    px_decimals: int
    sz_decimals: int
    maximum_leverage: int

    @property
    def is_spot(self) -> bool:
        """A pair, of which one has a balance and no position."""
        return self.name.startswith("@") or "/" in self.name

    @property
    def dex(self) -> str:
        """The builder's name, empty for the exchange's own."""
        return self.name.partition(":")[0] if ":" in self.name else ""

    def px(self, ticks: int) -> str:
        """A price as the exchange writes it."""
        return text(ticks, self.px_decimals)

    def sz(self, units: int) -> str:
        """A size as the exchange writes it."""
        return text(units, self.sz_decimals)

    def price(self, ticks: int) -> float:
        """A price as a number."""
        return ticks / float(10**self.px_decimals)

    def units(self, notional: float, ticks: int) -> int:
        """The size that is worth so much, one step at least."""
        return max(1, round(notional / self.price(ticks) * float(10**self.sz_decimals)))


_KNOWN = {
    coin.name: coin
    for coin in (
        Coin("BTC", 104_250, 0, 5, 40),
        Coin("ETH", 39_105, 1, 4, 25),
        Coin("SOL", 18_512, 2, 2, 20),
        Coin("AVAX", 24_531, 3, 2, 10),
        Coin("SUI", 31_207, 4, 1, 10),
        Coin("HYPE", 38_114, 3, 2, 10),
        Coin("DOGE", 20_931, 5, 0, 10),
        Coin("xyz:AAPL", 23_518, 2, 3, 10),
        Coin("@107", 38_102, 3, 2, 1),
    )
}
#: What a spot pair's base is called; fees of buyers are taken in it.
SPOT_TOKEN = "HYPE"  # noqa: S105 - a coin


def coin_named(name: str) -> Coin:
    """The coin of a name; one that nobody knows gets a price that depends on its name."""
    if name in _KNOWN:
        return _KNOWN[name]
    drawn = int.from_bytes(sha256(name.encode()).digest()[:4], "big")
    return Coin(name, 1_000 + drawn % 99_000, 3, 2, 1 if name.startswith("@") or "/" in name else 5)


def text(steps: int, decimals: int) -> str:
    """A whole number of steps as a decimal text with at least one place: `104250.0`, `0.015`."""
    if decimals == 0:
        return f"{steps}.0"
    sign, scale = ("-" if steps < 0 else ""), 10**decimals
    whole, part = divmod(abs(steps), scale)
    fraction = f"{part:0{decimals}d}".rstrip("0") or "0"
    return f"{sign}{whole}.{fraction}"


def plain(value: Decimal) -> str:
    """A decimal as the exchange writes it: never with an exponent, at least one place, no idle zeros."""
    written = f"{value:f}"
    if "." not in written:
        return f"{written}.0"
    written = written.rstrip("0")
    return f"{written}0" if written.endswith(".") else written
