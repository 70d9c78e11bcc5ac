"""What a coin's name tells: `BTC` is a perpetual, `@107` and `PURR/USDC` are spot, `xyz:AAPL` is on a builder's dex."""

from tasks.traders.core.tables import MAIN_DEX


def is_spot(coin: str) -> bool:
    """Whether a coin is traded for other coins: its trades are balances, never positions."""
    return coin.startswith("@") or "/" in coin


def dex_of(coin: str) -> str:
    """The perpetual dex of a coin: "" is the exchange's own, and also what spot coins have."""
    builder, colon, _ = coin.partition(":")
    return builder if colon else MAIN_DEX
