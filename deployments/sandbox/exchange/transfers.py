"""Money that moves other than by trading, as `userNonFundingLedgerUpdates` tells it."""

from decimal import Decimal
from typing import Any

from deployments.sandbox.exchange.coins import plain
from deployments.sandbox.exchange.tape import hash_of

#: Numbers of such transactions begin here, above all orders.
_FIRST = 1 << 60


def deposit_or_withdrawal(time: int, usdc: Decimal, index: int) -> dict[str, Any]:
    """Money that came to a trader, or (below 0) went."""
    if usdc >= 0:
        return _row(time, index, {"type": "deposit", "usdc": plain(usdc)})
    return _row(time, index, {"type": "withdraw", "usdc": plain(-usdc), "nonce": time, "fee": "0.0"})


def between_accounts(time: int, usdc: Decimal, index: int, *, to_perp: bool) -> dict[str, Any]:
    """Money that changed between a trader's own accounts."""
    return _row(time, index, {"type": "accountClassTransfer", "usdc": plain(usdc), "toPerp": to_perp})


def spot_transfer(time: int, index: int, user: str, destination: str) -> dict[str, Any]:
    """Tokens that one gave to another; they are no part of what its perpetuals are worth."""
    delta = {
        "type": "spotTransfer",
        "token": "PURR",
        "amount": "10.5",
        "usdcValue": "1.0",
        "user": user,
        "destination": destination,
        "fee": "1.0",
        "nativeTokenFee": "0.0",
        "nonce": None,
        "feeToken": "",
    }
    return _row(time, index, delta)


def _row(time: int, index: int, delta: dict[str, Any]) -> dict[str, Any]:
    return {"time": time, "hash": hash_of(_FIRST + time * 100_000 + index), "delta": delta}
