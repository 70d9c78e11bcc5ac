"""Trades, the blocks they stand in, and how they are written in frames."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_TID_BITS = 50
_TID_MASK = (1 << _TID_BITS) - 1
#: Odd, so that different numbers stay different modulo a power of two.
_TID_FACTOR = 0x2545F4914F6CD
_HASH_FACTOR = 0x9E3779B97F4A7C15F39CC0605CEDC8341082276BF3A27251F86C6A11D0C18E95
_HASH_MASK = (1 << 256) - 1
#: Stands in a prepared frame for the time, which is known when it is sent.
TIME_TO_COME = b"TIME_TO_COME_"


class Trade(NamedTuple):
    """One trade; prices and sizes as they are written."""

    number: int
    coin: str
    px: str
    sz: str
    #: Of the taker: `B` bought, `A` sold.
    side: str
    buyer: int
    seller: int
    #: Of the taker's order; all trades of one order are one transaction.
    order: int
    #: The taker was liquidated.
    liquidation: bool = False

    @property
    def tid(self) -> int:
        """50 bits, different for every trade, in no order."""
        return tid_of(self.number)

    @property
    def taker(self) -> int:
        """Whose order met another."""
        return self.buyer if self.side == "B" else self.seller


class LeverageChange(NamedTuple):
    """A trader set how much it may borrow."""

    trader: int
    coin: str
    value: int
    kind: str


class Transfer(NamedTuple):
    """Money that came (above 0) or went."""

    trader: int
    usdc: str


@dataclass(slots=True)
class Block:
    """What happened at one time: trades by coin, each coin's in their order."""

    time: int
    trades: dict[str, list[Trade]]
    leverages: list[LeverageChange] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    #: Coins of which the trades were sent to somebody.
    sent: set[str] = field(default_factory=set)
    #: Frames by coin, if they were made before the time was known.
    prepared: dict[str, bytes] | None = None

    def __len__(self) -> int:
        return sum(map(len, self.trades.values()))


def tid_of(number: int) -> int:
    """The tid of a trade."""
    mixed = (number * _TID_FACTOR + 0x1D2B) & _TID_MASK
    return mixed ^ (mixed >> 23)


def hash_of(order: int) -> str:
    """The hash of a transaction."""
    return f"0x{(order + 1) * _HASH_FACTOR & _HASH_MASK:064x}"


def order_id(order: int) -> int:
    """The `oid` of an order."""
    return 200_000_000_000 + order


def as_json(trade: Trade, time: int, addresses: Sequence[str]) -> dict[str, Any]:
    """A trade as recentTrades tells it."""
    return {
        "coin": trade.coin,
        "side": trade.side,
        "px": trade.px,
        "sz": trade.sz,
        "time": time,
        "hash": hash_of(trade.order),
        "tid": trade.tid,
        "users": [addresses[trade.buyer], addresses[trade.seller]],
    }


def written(trade: Trade, time: str, addresses: Sequence[str]) -> str:
    """A trade as it stands in frames: `as_json` without the detour."""
    return (
        f'{{"coin":"{trade.coin}","side":"{trade.side}","px":"{trade.px}","sz":"{trade.sz}","time":{time},'
        f'"hash":"{hash_of(trade.order)}","tid":{tid_of(trade.number)},'
        f'"users":["{addresses[trade.buyer]}","{addresses[trade.seller]}"]}}'
    )


def trades_message(texts: Iterable[str]) -> bytes:
    """The message with some trades."""
    return f'{{"channel":"trades","data":[{",".join(texts)}]}}'.encode()


def websocket_frame(message: bytes) -> bytes:
    """A text message as one unmasked frame of RFC 6455, section 5.2: the same bytes for all clients."""
    length = len(message)
    if length < 126:
        return bytes((0x81, length)) + message
    if length < 1 << 16:
        return b"\x81\x7e" + length.to_bytes(2, "big") + message
    return b"\x81\x7f" + length.to_bytes(8, "big") + message


def frames_of(block: Block, coins: Iterable[str], addresses: Sequence[str]) -> dict[str, bytes]:
    """One frame for each of the coins that was traded."""
    if block.prepared is not None:
        time = str(block.time).encode()
        return {coin: block.prepared[coin].replace(TIME_TO_COME, time) for coin in coins if coin in block.prepared}
    return _encoded(block, coins, str(block.time), addresses)


def prepare(block: Block, addresses: Sequence[str]) -> None:
    """Make a block's frames now."""
    block.prepared = _encoded(block, block.trades, TIME_TO_COME.decode(), addresses)


def _encoded(block: Block, coins: Iterable[str], time: str, addresses: Sequence[str]) -> dict[str, bytes]:
    return {
        coin: websocket_frame(trades_message(written(trade, time, addresses) for trade in block.trades[coin]))
        for coin in coins
        if coin in block.trades
    }
