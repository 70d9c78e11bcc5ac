"""A real Prefect server for tests: its own process, its own port, its own SQLite file copied from a migrated one."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

#: Migrating an empty database takes 6 seconds, copying one none.
_START_SECONDS = 120


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def server_environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a server whose data is in `folder`."""
    return {
        **os.environ,
        "PREFECT_HOME": str(folder),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder / 'prefect.db'}",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        **more,
    }


def migrated_template(folder: Path) -> Path:
    """An SQLite file with Prefect's schema, made once for all test processes that share `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            subprocess.run(
                [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"],
                env=server_environment(folder),
                check=True,
                stdout=subprocess.DEVNULL,
                timeout=_START_SECONDS,
            )
            (folder / "ready").touch()
    return folder / "prefect.db"


class PrefectServer:
    """A server in a process of its own.

    Args:
        folder: for its data; survives `kill`.
        template: an SQLite file with Prefect's schema.
        environment: more settings of the server.
    """

    def __init__(self, folder: Path, template: Path, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        folder.mkdir(parents=True, exist_ok=True)
        for file in template.parent.glob(f"{template.name}*"):
            shutil.copy(file, folder / file.name)
        self._log = folder / "server.log"
        self._environment = server_environment(
            folder,
            PREFECT_SERVER_DATABASE_MIGRATE_ON_START="false",
            PREFECT_API_BLOCKS_REGISTER_ON_START="false",
            **environment,
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        factory = "deployments.services.prefect_server:create_app"
        address = ["--host", "127.0.0.1", "--port", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "uvicorn", "--factory", factory, *address, "--log-level", "error"],
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"the Prefect server did not start:\n{self._log.read_text()[-3000:]}")

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that does not mind it."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
