"""The way to the Prefect server, with words for when there is none or a wrong one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from deployments.errors import ServerUnreachableError
from deployments.pins import check_installed_prefect, check_prefect

#: Where `quintet up` starts a server, unless it is told otherwise.
DEFAULT_API_URL = "http://127.0.0.1:4200/api"


def api_url() -> str:
    """The address of the server in use: PREFECT_API_URL, or where `quintet up` starts one."""
    return get_current_settings().api.url or DEFAULT_API_URL


@asynccontextmanager
async def connect() -> AsyncIterator[PrefectClient]:
    """A client of the server, after asking whether it is there and of a version that quintet is pinned to.

    Inside, other clients of Prefect speak to the same server.

    Raises:
        ServerUnreachableError: it does not answer.
        WrongPrefectVersionError: Prefect here, or the server, is of another version.
    """
    url = api_url()
    check_installed_prefect()
    # Without an address Prefect would start a server for this command alone.
    with temporary_settings({PREFECT_API_URL: url}):
        async with get_client() as client:
            try:
                found = await client.api_version()
            except (httpx.HTTPError, OSError) as error:
                raise ServerUnreachableError(
                    f"no Prefect server answers at {url} ({type(error).__name__}). Start one with `quintet up`, or set "
                    "PREFECT_API_URL to the one you mean."
                ) from error
            check_prefect(f"the Prefect server at {url}", found, "Start a server of this version, or point elsewhere.")
            yield client
