"""What a fill does to a position, in exact decimals, as the exchange tells it in `userFills`."""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from deployments.sandbox.exchange.coins import SPOT_TOKEN, plain
from deployments.sandbox.exchange.tape import hash_of, order_id

ZERO = Decimal(0)
#: What the exchange rounds amounts of USDC to.
CENT_OF_A_CENT = Decimal("0.000001")
#: Fees of who takes and who makes, of the notional.
TAKER_FEE, MAKER_FEE = Decimal("0.00045"), Decimal("0.00015")


@dataclass(slots=True)
class Holding:
    """One position: size, average entry, and what it brought since it was opened."""

    szi: Decimal = ZERO
    entry: Decimal = ZERO
    opened_time: int | None = None
    realised: Decimal = ZERO

    def unrealised(self, mark: Decimal) -> Decimal:
        """What closing at a price would bring."""
        return (mark - self.entry) * self.szi

    def carry(self, other: "Holding") -> None:
        """Go on from another one."""
        self.szi, self.entry, self.opened_time, self.realised = (
            other.szi,
            other.entry,
            other.opened_time,
            other.realised,
        )

    def trade(self, signed: Decimal, px: Decimal, time: int) -> Decimal:
        """Buy (above 0) or sell; gives the result of what that closed, before fees."""
        before, after = self.szi, self.szi + signed
        if before == 0 or (before > 0) == (signed > 0):
            self.entry = (self.entry * abs(before) + px * abs(signed)) / abs(after)
            if before == 0:
                self.opened_time, self.realised = time, ZERO
            self.szi = after
            return ZERO
        closed = min(abs(before), abs(signed)).copy_sign(before)
        result = (px - self.entry) * closed
        self.realised += result
        self.szi = after
        if after == 0:
            self.entry, self.opened_time = ZERO, None
        elif (after > 0) != (before > 0):
            self.entry, self.opened_time, self.realised = px, time, ZERO
        return result


@dataclass(slots=True)
class Fill:
    """One side of one trade."""

    time: int
    coin: str
    px: str
    sz: str
    side: str
    start_position: Decimal
    dir: str
    closed_pnl: Decimal
    fee: Decimal
    fee_token: str
    crossed: bool
    #: The taker's, which is the transaction's; and the number of the own order.
    order: int
    oid: int
    tid: int
    #: Address of who was liquidated, if that was why.
    liquidated: str | None = None
    #: A fill without a transaction: dust that the exchange swept together.
    hashless: bool = False

    @property
    def notional(self) -> Decimal:
        """What it was worth in USDC."""
        return Decimal(self.px) * Decimal(self.sz)

    def as_json(self) -> dict[str, Any]:
        """As `userFills` tells it."""
        told: dict[str, Any] = {
            "coin": self.coin,
            "px": self.px,
            "sz": self.sz,
            "side": self.side,
            "time": self.time,
            "startPosition": plain(self.start_position),
            "dir": self.dir,
            "closedPnl": plain(self.closed_pnl),
            "hash": "0x" + "0" * 64 if self.hashless else hash_of(self.order),
            "oid": order_id(self.oid),
            "crossed": self.crossed,
            "fee": plain(self.fee),
            "tid": self.tid,
        }
        if self.liquidated is not None:
            told["liquidation"] = {"liquidatedUser": self.liquidated, "markPx": self.px, "method": "market"}
        return {**told, "feeToken": self.fee_token, "twapId": None}


def rounded(amount: Decimal) -> Decimal:
    """An amount of USDC as the exchange keeps it."""
    return amount.quantize(CENT_OF_A_CENT, ROUND_HALF_EVEN)


def direction(start: Decimal, signed: Decimal) -> str:
    """The exchange's words for what a fill did to a position."""
    if start == 0 or (start > 0) == (signed > 0):
        return "Open Long" if signed > 0 else "Open Short"
    if abs(signed) > abs(start):
        return "Long > Short" if start > 0 else "Short > Long"
    return "Close Long" if start > 0 else "Close Short"


def fill(
    holding: Holding,
    *,
    time: int,
    coin: str,
    px: str,
    sz: str,
    buys: bool,
    crossed: bool,
    order: int,
    oid: int,
    tid: int,
    spot: bool = False,
    liquidated: str | None = None,
    undone: bool = False,
) -> Fill:
    """Let a position be filled; gives what its owner is told.

    Where it is `undone`, it is one side of a trade with oneself, which the other side undoes at the same price: the
    average entry stays what it was, and nothing is earned.
    """
    price, size = Decimal(px), Decimal(sz)
    signed = size if buys else -size
    start = holding.szi
    rate = TAKER_FEE if crossed else MAKER_FEE
    if spot:
        # Balances have no entry here. Buyers pay in what they bought; sellers are let off, which keeps USDC out of it.
        holding.szi += signed
        fee, token = (rate * size, SPOT_TOKEN) if buys else (ZERO, "USDC")
        told, closed = ("Buy" if buys else "Sell"), ZERO
    elif undone:
        told, closed = direction(start, signed), ZERO
        holding.szi += signed
        fee, token = rounded(rate * price * size), "USDC"
    else:
        told = direction(start, signed)
        closed = rounded(holding.trade(signed, price, time))
        fee, token = rounded(rate * price * size), "USDC"
    return Fill(
        time=time,
        coin=coin,
        px=px,
        sz=sz,
        side="B" if buys else "A",
        start_position=start,
        dir=told,
        closed_pnl=closed,
        fee=fee.quantize(Decimal("0.00000001")) if spot else fee,
        fee_token=token,
        crossed=crossed,
        order=order,
        oid=oid,
        tid=tid,
        liquidated=liquidated,
    )
