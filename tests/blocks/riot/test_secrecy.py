"""The key is in no log, no error and no text of any object, whatever other libraries log; nor is a player's name."""

import asyncio
import logging
import pickle
import traceback
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from blocks.riot import RiotApi, RiotError
from tests.blocks.riot.stand_ins import KEY, PUUID, Scripted, account, client_of, listening, refused, scripted
from tests.blocks.riot.tls import certificate_for_this_machine, http2_peer, trusting

NAME = "Nobodys Name"
_ACCOUNT = b'{"puuid": "x"}'


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """All loggers there are, at DEBUG."""
    for name in ("", "httpx", "httpcore", "hpack", "hpack.hpack", "hpack.table", "h2", "asyncio", "tenacity", "blocks"):
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


def _log(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(f"{record.name} {record.getMessage()} {record.args!r}" for record in caplog.records)


async def test_http2_logs_neither_key_nor_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everything: pytest.LogCaptureFixture
) -> None:
    files = certificate_for_this_machine(tmp_path)
    with trusting(files, monkeypatch):
        async with http2_peer(files, _ACCOUNT) as url, client_of(url) as client:
            await client.account_by_riot_id(NAME, "TAG", regional="asia")
            await client.account_by_riot_id(NAME, "TAG", regional="asia")
            ours = _log(everything)
            # The proof that there is something to keep quiet: another client of the same library tells it.
            async with httpx.AsyncClient(http2=True) as other:
                await other.get(f"{url.replace('{route}', 'asia')}/Nobodys%20Name", headers={"X-Riot-Token": KEY})
            theirs = _log(everything).removeprefix(ours)
    assert "httpcore" in ours
    for secret in (KEY, "Nobodys"):
        assert secret not in ours
        assert secret in theirs


async def test_http1_logs_neither_key_nor_name(everything: pytest.LogCaptureFixture) -> None:
    bad: list[Scripted] = [refused(500, f"{KEY} {NAME}"), httpx.ReadError(""), refused(403, f"{KEY} {NAME}")]
    async with scripted(*bad) as (client, _, _):
        with pytest.raises(RiotError) as caught:
            await client.account_by_riot_id(NAME, "TAG", regional="asia")
    said = _log(everything) + "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert "tried" not in said and "500 Internal Server Error" in said
    for secret in (KEY, NAME, "Nobodys"):
        assert secret not in said


@pytest.mark.parametrize(
    "answer",
    [
        refused(401, KEY),
        refused(404, KEY),
        refused(429, KEY, **{"Retry-After": "9999"}),
        httpx.ConnectError(f"cannot reach {KEY}"),
        httpx.Response(200, content=f'{{"puuid": ["{KEY}"]}}'.encode()),
        httpx.Response(200, content=KEY.encode()),
    ],
    ids=["401", "404", "429", "connection", "shape", "no JSON"],
)
async def test_no_error_leads_to_the_key(answer: httpx.Response | Exception) -> None:
    async with scripted(answer, patience_seconds=1e-5) as (client, _, _):
        with pytest.raises(RiotError) as caught:
            await client.account_by_puuid(PUUID, regional="asia")
    error: BaseException | None = caught.value
    while error is not None:
        for text in (str(error), repr(error), repr(vars(error))):
            assert KEY not in text
        assert not isinstance(error, httpx.HTTPError | ValidationError)
        error = error.__cause__ or error.__context__


async def test_nothing_shows_the_key() -> None:
    api = RiotApi(api_key=SecretStr(KEY))
    assert KEY not in f"{api} {api!r} {api.model_dump()} {api.model_dump_json()} {api.fingerprint}"
    async with scripted(account()) as (client, script, limiter):
        await client.account_by_puuid(PUUID, regional="asia")
        things: list[object] = [client, client.counts, limiter, script.requests[0], script.requests[0].url]
        for shown in things:
            assert KEY not in f"{shown} {shown!r}"


def test_a_key_of_no_use_is_not_shown() -> None:
    for wrong in (f"{KEY}\nX-Evil: 1", f"{KEY} {KEY}", f"{KEY}\u00e9", " ", ""):
        with pytest.raises(ValidationError) as caught:
            RiotApi(api_key=SecretStr(wrong))
        assert "RGAPI" not in f"{caught.value} {caught.value!r}"
        with pytest.raises(ValidationError) as caught:
            RiotApi.model_validate({"api_key": wrong})
        assert "RGAPI" not in f"{caught.value} {caught.value!r}"


def test_errors_survive_pickling() -> None:
    kinds: list[type[RiotError]] = [RiotError, *RiotError.__subclasses__()]
    for kind in kinds:
        error = pickle.loads(pickle.dumps(kind("said", status=404, method="match-v5.getMatch")))
        assert (str(error), error.status, error.method) == ("said", 404, "match-v5.getMatch")


async def test_the_key_is_sent_to_no_proxy_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        through.append(await reader.readline())

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n" + _ACCOUNT)
        await writer.drain()

    through: list[bytes] = []
    async with listening(proxy) as proxy_url, listening(peer) as url:
        for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy"):
            monkeypatch.setenv(name, proxy_url.removesuffix("/{route}"))
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.delenv("no_proxy", raising=False)
        async with client_of(url) as client:
            assert (await client.account_by_puuid(PUUID, regional="asia")).puuid == "x"
    assert through == []
