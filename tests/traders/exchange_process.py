"""The sandbox exchange as a process of its own, which lives on whoever else is killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from blocks.settings import settings
from deployments.demo.processes import running


@dataclass(frozen=True)
class ExchangeProcess:
    """It runs, and is the one in use."""

    client: httpx.Client

    def truth(self, part: str) -> Any:
        """One part of what really happened."""
        answer = self.client.get("/__truth", params={"parts": part}).raise_for_status()
        return answer.json()[part]

    def tell(self, command: str, **told: object) -> None:
        """Command something: `resume`, `play`, `finish`..."""
        self.client.post(f"/__{command}", json=told).raise_for_status()


@contextmanager
def exchange_process(log: Path, **options: object) -> Iterator[ExchangeProcess]:
    """Run it until the block ends; nothing weighs too much, and gaps of any length can be filled."""
    most = 1_000_000
    wide = {"weight": most, "new_connections": most, "messages": most, "recent": 20_000, "edge_cases": "off"}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in (wide | options).items()]
    with (
        running("deployments.sandbox.exchange", *flags, log=log) as told,
        httpx.Client(base_url=told["url"], timeout=60) as client,
        pytest.MonkeyPatch.context() as patch,
    ):
        values = {
            "EXCHANGE_URL": told["url"],
            "EXCHANGE_WS_URL": told["ws_url"],
            "WEIGHT_PER_MINUTE": most,
            "NEW_CONNECTIONS_PER_MINUTE": most,
            "MESSAGES_PER_MINUTE": most,
            "COINS": options["coins"],
            "SUBSCRIBE_INTERVAL_SECONDS": 0.01,
            "FLUSH_SECONDS": 0.1,
            "SETTLE_SECONDS": 0.3,
            # A history that has news is fetched again at once.
            "HISTORY_HOURS": 0.0001,
            "MINIMUM_DAYS": 3,
        }
        for name, value in values.items():
            patch.setenv(f"QUINTET_TRADERS__{name}", str(value))
        settings.cache_clear()
        try:
            yield ExchangeProcess(client)
        finally:
            settings.cache_clear()
