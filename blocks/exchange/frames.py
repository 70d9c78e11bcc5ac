"""Reading one frame of the exchange's WebSocket: whatever it holds, it becomes exactly one `Frame`, and nothing raises.

A frame of good trades is decoded in one pass and checked with one expression a trade. Only where that fails it is gone
through trade by trade, so that one bad trade costs itself and nothing else. What is rejected is told with its reason
and its beginning, never whole: the other side decides how long it is.
"""

import re
from typing import Final, Literal

import msgspec
from msgspec import Raw, Struct

from blocks.exchange.items import Control, Empty, ErrorFrame, Frame, Rejection, Trades, Unreadable, WsTrade

#: How much is told of what could not be taken.
EXCERPT: Final = 300
REASON: Final = 200
#: A frame of a million bad trades is counted in full, and shown by this many of them.
REJECTIONS: Final = 20
#: What the exchange says in plain text when a connection is made.
GREETING: Final = b"Websocket connection established."

# How much of an error is searched for the coin that it is about.
_ERROR = 4096
# Prices and sizes: the exchange writes them without sign and exponent. Above 0, or there would have been no trade.
_AMOUNT = r"(?=[0.]*[1-9])[0-9]{1,24}(?:\.[0-9]{1,24})?"
# Printable ASCII without spaces; all names that the exchange gives are, and a database cannot hold just any character.
_COIN = r"[!-~]{1,64}"
_ADDRESS = r"0x[0-9a-f]{40}"
_amount = re.compile(_AMOUNT).fullmatch
_coin = re.compile(_COIN).fullmatch
_address = re.compile(_ADDRESS).fullmatch
# All five at once, which takes half the time: no part can hold the space that stands between them.
_sound = re.compile(" ".join((_COIN, _AMOUNT, _AMOUNT, _ADDRESS, _ADDRESS))).fullmatch
# An error quotes the request that it is about, with or without the quotes escaped.
_named = re.compile(r'\\?"coin\\?"\s*:\s*\\?"([!-~]{1,64}?)\\?"').search


class _TradesFrame(Struct):
    channel: Literal["trades"]
    data: list[WsTrade]


class _AnyFrame(Struct):
    channel: str
    data: Raw = Raw(b"null")


class _Subscription(Struct):
    type: str
    coin: str


class _Acknowledgement(Struct):
    method: str
    subscription: _Subscription


_trades_frame = msgspec.json.Decoder(_TradesFrame).decode
_any_frame = msgspec.json.Decoder(_AnyFrame).decode
_raw_trades = msgspec.json.Decoder(list[Raw]).decode
_trade = msgspec.json.Decoder(WsTrade).decode
_acknowledgement = msgspec.json.Decoder(_Acknowledgement).decode
_text = msgspec.json.Decoder(str).decode

# Not JSON, not of the shape, not UTF-8, or nested so deeply that it can only be meant to do harm.
_BAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def printable(text: str, length: int) -> str:
    """The beginning of a text of somebody else's, safe for logs and databases."""
    return "".join(character if character.isprintable() else "�" for character in text[:length])


def excerpt(raw: bytes) -> str:
    """The beginning of a frame or trade, for people."""
    return printable(raw[:EXCERPT].decode(errors="replace"), EXCERPT)


def read_frame(raw: bytes, connection: int, at: float, latest: int) -> Frame:
    """Tell what a frame is.

    Args:
        raw: as it was received.
        connection: that brought it.
        at: when, by the monotonic clock.
        latest: milliseconds; a trade with a later time is rejected.
    """
    try:
        trades = _trades_frame(raw).data
    except _BAD:
        return _read_other(raw, connection, at, latest)
    if not trades:
        return Empty(connection, at)
    for trade in trades:
        buyer, seller = trade.users
        if trade.time > latest or not _sound(f"{trade.coin} {trade.px} {trade.sz} {buyer} {seller}"):
            return _read_other(raw, connection, at, latest)
    return Trades(connection, at, trades)


def read_trades(raw: bytes, latest: int) -> tuple[list[WsTrade], int, tuple[Rejection, ...]]:
    """Take the good trades of a JSON array, such as `recentTrades` answers.

    Args:
        raw: the array.
        latest: milliseconds; a trade with a later time is rejected.

    Returns:
        The good trades, how many were rejected, and the first of those.

    Raises:
        msgspec.DecodeError: it is no JSON array.
        UnicodeDecodeError: it is not UTF-8.
        RecursionError: it is nested without measure.
    """
    trades: list[WsTrade] = []
    rejected = 0
    rejections: list[Rejection] = []
    for part in _raw_trades(raw):
        try:
            trade = _trade(part)
            flaw = _flaw(trade, latest)
        except _BAD as error:
            flaw = _reason(error)
        if flaw is None:
            trades.append(trade)
            continue
        rejected += 1
        if len(rejections) < REJECTIONS:
            rejections.append(Rejection(flaw, excerpt(bytes(part))))
    return trades, rejected, tuple(rejections)


def _flaw(trade: WsTrade, latest: int) -> str | None:
    """Why a trade of the right shape is none; writes its addresses in lower case."""
    buyer, seller = trade.users = (trade.users[0].lower(), trade.users[1].lower())
    if not _coin(trade.coin):
        return "the coin is no name"
    if not _amount(trade.px):
        return "the price is no plain decimal above 0"
    if not _amount(trade.sz):
        return "the size is no plain decimal above 0"
    if trade.time > latest:
        return "the time is in the future"
    if not (_address(buyer) and _address(seller)):
        return "a user is no address of 0x and 40 hexadecimal digits"
    return None


def _read_other(raw: bytes, connection: int, at: float, latest: int) -> Frame:
    """A frame that is not just good trades."""
    if raw.strip() == GREETING:
        return Control(connection, at, "")
    try:
        frame = _any_frame(raw)
        if frame.channel == "trades":
            trades, rejected, rejections = read_trades(frame.data, latest)
            if not trades and not rejected:
                return Empty(connection, at)
            return Trades(connection, at, trades, rejected, rejections)
    except _BAD as error:
        return Unreadable(connection, at, _reason(error), excerpt(raw))
    if frame.channel == "error":
        text = _error_text(frame.data)
        named = _named(text)
        return ErrorFrame(connection, at, printable(text, EXCERPT), named[1] if named else None)
    return Control(connection, at, printable(frame.channel, 64), _acknowledged(frame))


def _acknowledged(frame: _AnyFrame) -> str | None:
    """The coin whose subscription the frame acknowledges."""
    if frame.channel != "subscriptionResponse":
        return None
    try:
        answer = _acknowledgement(frame.data)
    except _BAD:
        # An answer to something else: the shape of those is not ours to know.
        return None
    subscribed = answer.method == "subscribe" and answer.subscription.type == "trades"
    return answer.subscription.coin if subscribed else None


def _error_text(data: Raw) -> str:
    try:
        return _text(data)[:_ERROR]
    except _BAD:
        # Documented is a text; whatever else it is says as much.
        return bytes(data)[:_ERROR].decode(errors="replace")


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return printable(str(error), REASON)
