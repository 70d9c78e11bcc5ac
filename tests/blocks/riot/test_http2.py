"""HTTP/2 over TLS, served by Hypercorn: one connection carries all calls."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypercorn.asyncio import serve
from hypercorn.config import Config

from blocks.riot import RiotUnavailableError
from tests.blocks.riot.stand_ins import KEY, client_of, match_body
from tests.blocks.riot.tls import Certificate, certificate_for_this_machine, trusting

Message = MutableMapping[str, Any]


class App:
    """Answers every match, and keeps what it was asked with."""

    def __init__(self) -> None:
        self.versions: set[str] = set()
        self.clients: set[tuple[str, int]] = set()
        self.tokens: set[str] = set()
        #: Somebody asked for match 666, which is never answered.
        self.stalled = asyncio.Event()

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            return
        self.versions.add(scope["http_version"])
        self.clients.add(tuple(scope["client"]))
        self.tokens |= {value.decode() for name, value in scope["headers"] if name == b"x-riot-token"}
        if scope["path"].endswith("_666"):
            self.stalled.set()
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        body = json.dumps(match_body(scope["path"].rpartition("/")[2])).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-app-rate-limit", b"20:1")]})
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def _served(app: App, files: Certificate) -> AsyncIterator[str]:
    config = Config()
    config.certfile, config.keyfile = str(files.certificate), str(files.key)
    config.graceful_timeout = 1
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config.bind = [f"fd://{listener.detach()}"]
    stop = asyncio.Event()
    running = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
    try:
        yield f"https://127.0.0.1:{port}/{{route}}"
    finally:
        stop.set()
        await running


async def test_calls_share_one_connection_of_http2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, app = certificate_for_this_machine(tmp_path), App()
    with trusting(files, monkeypatch):
        async with _served(app, files) as url, client_of(url) as client:
            found = await asyncio.gather(*(client.match(f"NA1_{number}") for number in range(100)))
    assert [answer.value.metadata.match_id for answer in found] == [f"NA1_{number}" for number in range(100)]
    assert app.versions == {"2"}
    assert len(app.clients) == 1
    assert app.tokens == {KEY}


async def test_a_call_that_is_given_up_leaves_the_connection_to_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, app = certificate_for_this_machine(tmp_path), App()
    with trusting(files, monkeypatch):
        async with _served(app, files) as url, client_of(url) as client:
            await client.match("NA1_0")
            stalled = asyncio.create_task(client.match("NA1_666"))
            await app.stalled.wait()
            await asyncio.gather(*(client.match(f"NA1_{number}") for number in range(20)))
            stalled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stalled
            await asyncio.gather(*(client.match(f"NA1_{number}") for number in range(20)))
    assert (app.versions, len(app.clients)) == ({"2"}, 1)


async def test_a_certificate_nobody_vouches_for_gets_no_key(tmp_path: Path) -> None:
    files, app = certificate_for_this_machine(tmp_path), App()
    async with _served(app, files) as url, client_of(url, patience_seconds=1e-5) as client:
        with pytest.raises(RiotUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.match("NA1_0")
    assert app.tokens == set()
