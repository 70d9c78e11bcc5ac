"""Reads a body as what it must be; the error names the place, never the value."""

import re
import time
from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

import msgspec

from blocks.exchange import answers
from blocks.exchange.answers import Candle, ClearinghouseState, LedgerUpdate, Portfolio, PortfolioPeriod
from blocks.exchange.errors import ExchangeAnswerError
from blocks.exchange.frames import read_trades
from blocks.exchange.items import Rejection, WsTrade
from blocks.exchange.transport import Question
from blocks.patience import PassingError

T = TypeVar("T")

#: Reads a body, or raises what `read_answer` turns into an error.
Shape = Callable[[bytes], T]

#: A value as msgspec quotes it.
_VALUE = re.compile(r"'[^']*'")


class RecentTrades(list[WsTrade]):
    """The good trades of an answer, in its order; `len(trades) + rejected` were received.

    Attributes:
        rejected: how many were not good.
        rejections: the first of those.
    """

    def __init__(self, trades: list[WsTrade], rejected: int = 0, rejections: tuple[Rejection, ...] = ()) -> None:
        super().__init__(trades)
        self.rejected = rejected
        self.rejections = rejections

    @property
    def received(self) -> int:
        """How many the answer held."""
        return len(self) + self.rejected


# Numbers are mostly strings and sometimes not, whole ones as well.
CLEARINGHOUSE_STATE = msgspec.json.Decoder(ClearinghouseState, strict=False).decode
USER_FILLS = msgspec.json.Decoder(list[answers.UserFill], strict=False).decode
USER_FUNDING = msgspec.json.Decoder(list[answers.UserFunding], strict=False).decode
LEDGER_UPDATES = msgspec.json.Decoder(list[LedgerUpdate], strict=False).decode
META = msgspec.json.Decoder(answers.Meta, strict=False).decode
EXCHANGE_STATUS = msgspec.json.Decoder(answers.ExchangeStatus, strict=False).decode
CANDLES = msgspec.json.Decoder(list[Candle], strict=False).decode
_periods = msgspec.json.Decoder(list[tuple[str, PortfolioPeriod]], strict=False).decode
_mids = msgspec.json.Decoder(dict[answers.Coin, Decimal], strict=False).decode


def portfolio(body: bytes) -> Portfolio:
    """The periods, which come as a list of pairs."""
    return Portfolio(dict(_periods(body)))


def mids(body: bytes) -> dict[str, Decimal]:
    """Prices by coin."""
    found = _mids(body)
    for price in found.values():
        answers.check_number(price)
    return found


def recent_trades(body: bytes) -> RecentTrades:
    """Trades; a bad one costs only itself."""
    return RecentTrades(*read_trades(body, time.time_ns() // 1_000_000 + answers.AHEAD))


def read_answer(question: Question, shape: Shape[T], body: bytes) -> T:
    """The typed answer.

    Raises:
        ExchangeAnswerError: it is no JSON, or not of this shape.
        PassingError: it is JSON that ends early; a few tries may better it.
    """
    said, passes = "", False
    try:
        return shape(body)
    except msgspec.ValidationError as error:
        said = f"not of the shape that the exchange documents: {_VALUE.sub('...', str(error))}"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        passes = "truncated" in str(error)
        page = body.lstrip()[:1] == b"<"
        said = f"JSON that ends early, after {len(body)} bytes" if passes else f"no JSON{' but HTML' if page else ''}"
    # Raised outside the handlers, whose errors may hold the whole answer.
    reason = f"the answer to {question.item} is {said}"
    final = ExchangeAnswerError(reason, item=question.item, status=200)
    if passes:
        raise PassingError(reason, status=200, final=final)
    raise final
