"""The exchange: block, client of `/info`, its answers and errors; the trade stream is in `blocks.exchange.stream`."""

from blocks.exchange.answers import (
    AssetMeta,
    Candle,
    ClearinghouseState,
    ExchangeStatus,
    LedgerDelta,
    LedgerUpdate,
    Meta,
    Portfolio,
    PortfolioPeriod,
    Position,
    UserFill,
    UserFunding,
)
from blocks.exchange.block import Exchange
from blocks.exchange.errors import (
    ExchangeAnswerError,
    ExchangeError,
    ExchangeRequestError,
    ExchangeUnavailableError,
)
from blocks.exchange.info import ExchangeClient
from blocks.exchange.shapes import RecentTrades

__all__ = [
    "AssetMeta",
    "Candle",
    "ClearinghouseState",
    "Exchange",
    "ExchangeAnswerError",
    "ExchangeClient",
    "ExchangeError",
    "ExchangeRequestError",
    "ExchangeStatus",
    "ExchangeUnavailableError",
    "LedgerDelta",
    "LedgerUpdate",
    "Meta",
    "Portfolio",
    "PortfolioPeriod",
    "Position",
    "RecentTrades",
    "UserFill",
    "UserFunding",
]
