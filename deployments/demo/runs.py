"""Runs of deployments, started on the demo's server and followed to their end."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.apply.server import connect
from deployments.status import RunStatus, run_status

#: Runs that have come to an end, in whatever way.
_FINAL = frozenset({"Completed", "Failed", "Crashed", "Cancelled", "Skipped"})
_POLL_SECONDS = 0.5


def start(api_url: str, deployment: str, parameters: dict[str, Any]) -> UUID:
    """Start a deployment, as `prefect deployment run` does.

    Args:
        api_url: of Prefect's API.
        deployment: `flow/deployment`.
        parameters: of the flow.

    Returns:
        The id of the flow run.
    """
    return asyncio.run(_start(api_url, deployment, parameters))


def wait(api_url: str, run_id: UUID, follow: Callable[[RunStatus], None]) -> RunStatus:
    """Wait for the end of a run.

    Args:
        api_url: of Prefect's API.
        run_id: of the flow run.
        follow: told where the run stands, about twice a second.

    Returns:
        Where it stood at its end.
    """
    return asyncio.run(_wait(api_url, run_id, follow))


def run_to_end(
    api_url: str, deployment: str, parameters: dict[str, Any], follow: Callable[[RunStatus], None]
) -> RunStatus:
    """Start a deployment and wait for the end of its run; see `start` and `wait`."""
    return wait(api_url, start(api_url, deployment, parameters), follow)


async def _start(api_url: str, deployment: str, parameters: dict[str, Any]) -> UUID:
    with temporary_settings({PREFECT_API_URL: api_url}):
        async with connect() as client:
            found = await client.read_deployment_by_name(deployment)
            run = await client.create_flow_run_from_deployment(found.id, parameters=parameters)
            return run.id


async def _wait(api_url: str, run_id: UUID, follow: Callable[[RunStatus], None]) -> RunStatus:
    with temporary_settings({PREFECT_API_URL: api_url}):
        while True:
            status = await run_status(run_id)
            follow(status)
            if status.state in _FINAL:
                return status
            await asyncio.sleep(_POLL_SECONDS)
