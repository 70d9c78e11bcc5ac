"""Prefect's server as a child: its settings and its address."""

import os
from collections.abc import Mapping
from pathlib import Path

from deployments.up.child import ChildSpec

DEFAULT_PORT = 4200
HOST = "127.0.0.1"


def api_url_of(port: int) -> str:
    """The API of a server of this machine."""
    return f"http://{HOST}:{port}/api"


def ui_url_of(api_url: str) -> str:
    """Where people look, for an API address."""
    return api_url.removesuffix("/").removesuffix("/api")


def server_environment(home: Path, port: int, *, prefect_blocks: bool = True) -> dict[str, str]:
    """Settings of the server; what the user's environment already says is left as it is."""
    wanted = {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        # On any port but 4200 the UI would look for its data at 4200.
        "PREFECT_SERVER_UI_API_URL": api_url_of(port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # Slots of limits that a killed holder had become free again although the server was restarted.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        # A run that waits for a place asks again after this time, not after 30 s.
        "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "5",
        "PREFECT_API_BLOCKS_REGISTER_ON_START": str(prefect_blocks).lower(),
        "DO_NOT_TRACK": "1",
    }
    return {name: value for name, value in wanted.items() if not _said(name, os.environ)}


def _said(name: str, environment: Mapping[str, str]) -> bool:
    return bool(environment.get(name))


def server_spec(home: Path, port: int, *, prefect_blocks: bool = True) -> ChildSpec:
    """The server as a child process.

    It is started as Prefect's own command starts it, without that command: its imports would cost another second.
    """
    (home / "prefect").mkdir(parents=True, exist_ok=True, mode=0o700)
    return ChildSpec(
        name="prefect-server",
        module="uvicorn",
        arguments=(
            *("--factory", "deployments.services.prefect_server:create_app"),
            *("--host", HOST, "--port", str(port)),
            *("--log-level", "warning", "--timeout-keep-alive", "65"),
            # Open web sockets of workers would hold it up otherwise.
            *("--timeout-graceful-shutdown", "3"),
        ),
        environment=server_environment(home, port, prefect_blocks=prefect_blocks),
        stop_seconds=10,
        stage=0,
    )
