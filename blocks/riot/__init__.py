"""The Riot API: block, client and errors."""

from blocks.riot.block import RiotApi
from blocks.riot.client import RiotClient
from blocks.riot.errors import (
    RiotAnswerError,
    RiotError,
    RiotForeignPuuidError,
    RiotKeyError,
    RiotNotFoundError,
    RiotRequestError,
    RiotUnavailableError,
    UnknownRouteError,
)

__all__ = [
    "RiotAnswerError",
    "RiotApi",
    "RiotClient",
    "RiotError",
    "RiotForeignPuuidError",
    "RiotKeyError",
    "RiotNotFoundError",
    "RiotRequestError",
    "RiotUnavailableError",
    "UnknownRouteError",
]
