"""The client that tasks ask the Riot API with: from the settings' key, or from a block document.

Tasks that run inside another one share its client, and with it connections, counts and the place in the rate ledger.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from pydantic import ValidationError

from blocks.riot.block import RiotApi
from blocks.riot.client import RiotClient
from blocks.settings import settings

_opened: ContextVar[RiotClient | None] = ContextVar("league_riot_client", default=None)


class RiotKeyMissingError(Exception):
    """There is no key to ask the Riot API with."""


async def riot_api() -> RiotApi:
    """The Riot API as configured: the settings' key, else the block document that the settings name.

    Raises:
        RiotKeyMissingError: there is neither.
    """
    league = settings().league
    if league.riot_api_key is not None:
        return RiotApi(api_key=league.riot_api_key, base_url=league.riot_base_url, key_profile=league.riot_key_profile)
    try:
        return await RiotApi.aload(league.riot_api_block)
    except ValidationError:
        # A document that cannot be read is another matter than none.
        raise
    except ValueError:
        # What Prefect raises where there is no such document, or no server to ask for one.
        raise RiotKeyMissingError(
            "no key for the Riot API: set QUINTET_LEAGUE__RIOT_API_KEY, or save the block document "
            f"riot-api/{league.riot_api_block}. `quintet demo league` shows all without a key"
        ) from None


@asynccontextmanager
async def riot_client() -> AsyncIterator[RiotClient]:
    """The client of the task that this one runs in; else one of its own, closed at the end.

    Raises:
        RiotKeyMissingError: there is no key.
    """
    if (shared := _opened.get()) is not None:
        yield shared
        return
    api = await riot_api()
    async with api.client() as client:
        token = _opened.set(client)
        try:
            yield client
        finally:
            _opened.reset(token)
