"""Calls to the sandbox's ASGI application, without a server."""

from typing import Any

import httpx

from deployments.sandbox.riot.application import Sandbox


class Clock:
    """A monotonic clock that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Caller:
    """Asks a sandbox with its first key, or another."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        told = sandbox.ready(0)
        self.key: str | None = told["key"]
        self.player: dict[str, str] = told["player"]
        self.accounts: dict[str, Any] = told["accounts"]
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(sandbox), base_url="http://sandbox")

    async def get(self, path: str, **query: object) -> httpx.Response:
        """GET a path that begins with the route."""
        headers = {"X-Riot-Token": self.key} if self.key is not None else {}
        return await self._client.get(path, params={name: str(value) for name, value in query.items()}, headers=headers)

    async def send(self, verb: str, path: str) -> httpx.Response:
        """Another method than GET."""
        return await self._client.request(verb, path, headers={"X-Riot-Token": self.key or ""})

    async def tell(self, path: str, **body: object) -> Any:
        """POST to one of the sandbox's own paths."""
        return (await self._client.post(path, json=body)).raise_for_status().json()

    async def truth(self, **query: str) -> Any:
        """The ground truth."""
        return (await self._client.get("/__truth", params=query)).raise_for_status().json()

    async def ids(self, **query: object) -> Any:
        """The main player's match ids."""
        path = f"/americas/lol/match/v5/matches/by-puuid/{self.player['puuid']}/ids"
        return (await self.get(path, **query)).raise_for_status().json()
