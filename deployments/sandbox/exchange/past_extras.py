"""Rows that only some traders have: spot trades, dust, transfers. None of them changes what perpetuals are worth."""

from decimal import Decimal

from deployments.sandbox.exchange.coins import SPOT_TOKEN
from deployments.sandbox.exchange.fills import ZERO, Fill
from deployments.sandbox.exchange.past import DAY, HOUR, Past
from deployments.sandbox.exchange.tape import tid_of
from deployments.sandbox.exchange.traders import Trader
from deployments.sandbox.exchange.transfers import between_accounts, spot_transfer

#: One trader of so many has each kind.
EVERY = 8
_FIRST_NUMBER = 1 << 43


def add_extras(past: Past, trader: Trader, first_day: int) -> None:
    """Add a trader's, on its first day."""
    noon = first_day * DAY + 12 * HOUR
    if trader.index % EVERY == 1:
        past.fills += _spot_fills(trader.index, noon)
        past.fills.sort(key=lambda fill: fill.time)
    if trader.index % EVERY == 2:
        for later, to_perp in ((0, False), (5_000, True)):
            past.updates.append(between_accounts(noon + later, Decimal(12), trader.index, to_perp=to_perp))
        past.updates.append(spot_transfer(noon + 9_000, trader.index, trader.address, "0x" + "ab" * 20))
        past.updates.sort(key=lambda row: row["time"])


def _spot_fills(index: int, time: int) -> list[Fill]:
    """Bought (the fee is taken in what was bought), sold, and what was left swept together by the exchange."""
    rows = (
        ("B", "12.0", ZERO, "Buy", Decimal("0.0084"), SPOT_TOKEN),
        ("A", "11.99", Decimal("11.9916"), "Sell", ZERO, "USDC"),
        ("A", "0.0016", Decimal("0.0016"), "Spot Dust Conversion", ZERO, "USDC"),
    )
    return [
        Fill(
            time=time + place * 60_000,
            coin="@107",
            px="38.0",
            sz=sz,
            side=side,
            start_position=start,
            dir=told,
            closed_pnl=ZERO,
            fee=fee,
            fee_token=token,
            crossed=True,
            order=_FIRST_NUMBER + 3 * index + place,
            oid=_FIRST_NUMBER + 3 * index + place,
            # Dust is swept in no trade and no transaction.
            tid=0 if place == 2 else tid_of(_FIRST_NUMBER + 3 * index + place),
            hashless=place == 2,
        )
        for place, (side, sz, start, told, fee, token) in enumerate(rows)
    ]
