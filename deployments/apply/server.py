"""The way to the Prefect server, with words for when there is none or a wrong one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import requires, version

import httpx
from packaging.requirements import Requirement
from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import get_current_settings

from deployments.errors import ServerUnreachableError, WrongPrefectVersionError


def pin(package: str) -> Requirement:
    """What pyproject.toml says about a package."""
    wanted = (Requirement(line) for line in requires("quintet") or [])
    return next(requirement for requirement in wanted if requirement.name == package)


def api_url() -> str:
    """The address of the server in use.

    Raises:
        ServerUnreachableError: none is set, and Prefect would start one for this command alone.
    """
    url = get_current_settings().api.url
    if url is None:
        raise ServerUnreachableError(
            "PREFECT_API_URL is not set, so there is no Prefect server to speak to. `quintet up` starts one and "
            "applies everything by itself; then, or for another server, set PREFECT_API_URL=http://HOST:4200/api."
        )
    return url


@asynccontextmanager
async def connect() -> AsyncIterator[PrefectClient]:
    """A client of the server, after asking whether it is there and of a version that quintet is pinned to.

    Raises:
        ServerUnreachableError: it does not answer.
        WrongPrefectVersionError: Prefect here, or the server, is of another version.
    """
    url = api_url()
    check_version("the installed Prefect", version("prefect"), "Install quintet again, with its pins.")
    async with get_client() as client:
        try:
            server = await client.api_version()
        except (httpx.HTTPError, OSError) as error:
            raise ServerUnreachableError(
                f"no Prefect server answers at {url} ({type(error).__name__}). Start one with `quintet up`, or correct "
                "PREFECT_API_URL."
            ) from error
        check_version(f"the Prefect server at {url}", server, "Start a server of this version, or point elsewhere.")
        yield client


def check_version(what: str, found: str, advice: str) -> None:
    """Compare a Prefect version with the pin.

    Raises:
        WrongPrefectVersionError: it is outside the pin.
    """
    wanted = pin("prefect").specifier
    if not wanted.contains(found, prereleases=True):
        raise WrongPrefectVersionError(f"{what} is version {found}, and quintet needs prefect{wanted}. {advice}")
