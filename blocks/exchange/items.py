"""What the trade stream gives to who reads it.

Every frame that was received is exactly one of `Trades`, `Empty`, `Control`, `ErrorFrame` and `Unreadable`, so that
counting these counts the frames. The others tell what became of connections and subscriptions. All items of one
connection come in the order in which things happened: `Opened`, then its frames, then `Closed`.

`at` is always `time.monotonic()`. `connection` counts the connections of one stream from 1; a reconnect is a new one.
Texts of the exchange are bounded in length and printable, whatever it sent.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

#: Whole numbers end where a signed 64-bit column does.
_MOST = 2**63 - 1


class WsTrade(Struct, gc=False):
    """A public trade, as the exchange writes it; one that was taken has passed every check in `frames`.

    Attributes:
        coin: `BTC`, `@107` (spot), `xyz:AAPL` (of a builder's dex).
        side: of the taker: `B` bought, `A` sold.
        px: price, a plain decimal above 0, digits as they were sent.
        sz: size, likewise.
        time: of the block, in milliseconds.
        tid: unique together with time and coin.
        users: buyer and seller, lower case.
    """

    coin: str
    side: Literal["A", "B"]
    px: str
    sz: str
    time: Annotated[int, Meta(ge=1, le=_MOST)]
    tid: Annotated[int, Meta(ge=0, le=_MOST)]
    users: tuple[str, str]


class Rejection(Struct, frozen=True, gc=False):
    """A trade that was not taken: why, and the beginning of what it looked like."""

    reason: str
    excerpt: str


class Trades(Struct, frozen=True):
    """A frame with trades, of which `len(trades) + rejected` were received.

    Attributes:
        connection: that brought it.
        at: when it was read.
        trades: the good ones, in the exchange's order.
        rejected: how many were not good.
        rejections: the first of those, at most `frames.REJECTIONS`.
    """

    connection: int
    at: float
    trades: list[WsTrade]
    rejected: int = 0
    rejections: tuple[Rejection, ...] = ()


class Empty(Struct, frozen=True):
    """A frame of the trades channel without any trade."""

    connection: int
    at: float


class Control(Struct, frozen=True):
    """A frame that is about the connection: a pong, an acknowledgement, the greeting, or a channel nobody asked for.

    Attributes:
        connection: that brought it.
        at: when it was read.
        channel: its name; empty for the greeting.
        coin: that is subscribed from now on, where it acknowledges that.
    """

    connection: int
    at: float
    channel: str
    coin: str | None = None


class ErrorFrame(Struct, frozen=True):
    """The exchange says that something is wrong.

    Attributes:
        connection: that brought it.
        at: when it was read.
        text: what it says.
        coin: whose subscription it is about, where it names one.
    """

    connection: int
    at: float
    text: str
    coin: str | None = None


class Unreadable(Struct, frozen=True):
    """A frame that is no JSON, not of the documented shape, or too large (then the connection is closed as well)."""

    connection: int
    at: float
    reason: str
    excerpt: str


class Opened(Struct, frozen=True):
    """A connection is open; its coins will be subscribed one after the other."""

    connection: int
    at: float
    coins: tuple[str, ...]


class Subscribed(Struct, frozen=True):
    """The exchange has acknowledged the subscription of a coin, maybe after it was `Refused`."""

    connection: int
    at: float
    coin: str


class Refused(Struct, frozen=True):
    """A coin could not be subscribed; the others are not concerned, and it is tried again after `retry_seconds`.

    Attributes:
        connection: on which it was asked for.
        at: when that was known.
        coin: that is not followed.
        reason: what the exchange said, or that it said nothing.
        retry_seconds: until it is asked for again.
        named: the exchange answered no to this very coin, rather than nothing or something of no coin.
    """

    connection: int
    at: float
    coin: str
    reason: str
    retry_seconds: float
    named: bool = False


class Closed(Struct, frozen=True):
    """A connection has ended: no frame of it will come any more, and its coins are not followed until the next."""

    connection: int
    at: float
    coins: tuple[str, ...]
    reason: str


class Failed(Struct, frozen=True):
    """No connection could be made for these coins; it is tried again after `retry_seconds`."""

    at: float
    coins: tuple[str, ...]
    reason: str
    attempt: int
    retry_seconds: float


#: What a received frame becomes.
Frame: TypeAlias = Trades | Empty | Control | ErrorFrame | Unreadable
#: What happens to connections and subscriptions.
Happening: TypeAlias = Opened | Subscribed | Refused | Closed | Failed
Item: TypeAlias = Frame | Happening
