"""The client that tasks ask the exchange with: from the block document `exchange/traders`, else from the settings.

Tasks that run inside another one share its client, and with it connections, counts and the place in the rate ledger.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from pydantic import ValidationError

from blocks.exchange.block import Exchange
from blocks.exchange.info import ExchangeClient

#: The block document that is used where there is one.
DOCUMENT = "traders"

_opened: ContextVar[ExchangeClient | None] = ContextVar("traders_exchange_client", default=None)


async def exchange() -> Exchange:
    """The exchange as configured: the block document `exchange/traders`, else what the settings say."""
    try:
        return await Exchange.aload(DOCUMENT)
    except ValidationError:
        # A document that cannot be read is another matter than none.
        raise
    except ValueError:
        # What Prefect raises where there is no such document, or no server to ask for one.
        return Exchange.from_settings()


@asynccontextmanager
async def exchange_client() -> AsyncIterator[ExchangeClient]:
    """The client of the task that this one runs in; else one of its own, closed at the end.

    Raises:
        LedgerError: the database of rates cannot be used.
    """
    if (shared := _opened.get()) is not None:
        yield shared
        return
    configured = await exchange()
    async with configured.client() as client:
        token = _opened.set(client)
        try:
            yield client
        finally:
            _opened.reset(token)
