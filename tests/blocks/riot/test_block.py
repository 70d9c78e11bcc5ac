"""The block: what it takes, and the client it makes."""

import asyncio
import re

import httpx
import pytest
from pydantic import SecretStr, ValidationError

from blocks.rate_ledger import RateLedger
from blocks.rate_window import format_windows
from blocks.riot import RiotApi
from blocks.riot.address import check_base_url
from blocks.riot.block import PROFILES
from blocks.settings import settings
from tests.blocks.riot.stand_ins import KEY, PUUID, FreeLimiter, Script, account


def test_the_defaults_are_riots() -> None:
    api = RiotApi(api_key=SecretStr(KEY))
    assert api.base_url == "https://{route}.api.riotgames.com" == settings().league.riot_base_url
    assert api.key_profile == "development" == settings().league.riot_key_profile
    assert RiotApi.get_block_type_slug() == "riot-api"


def test_profiles_are_those_of_the_portal() -> None:
    told = {name: format_windows(windows) for name, windows in PROFILES.items()}
    assert told == {"development": "20:1,100:120", "production": "500:10,30000:600"}


def test_a_key_loses_the_space_around_it() -> None:
    assert RiotApi(api_key=SecretStr(f" {KEY}\n")).api_key.get_secret_value() == KEY


def test_fingerprints_tell_keys_apart_and_tell_nothing_else() -> None:
    one, other = RiotApi(api_key=SecretStr(KEY)), RiotApi(api_key=SecretStr(f"{KEY}0"))
    assert one.fingerprint == RiotApi(api_key=SecretStr(f" {KEY}")).fingerprint
    assert one.fingerprint != other.fingerprint
    assert re.fullmatch("[0-9a-f]{16}", one.fingerprint)


@pytest.mark.parametrize(
    "url",
    [
        "https://{route}.api.riotgames.com",
        "https://proxy.example.org/riot/{route}",
        "http://127.0.0.1:8080/{route}",
        "http://127.1.2.3/{route}",
        "http://localhost:8080/{route}",
        "http://{route}.localhost:8080",
        "http://[::1]:8080/{route}",
    ],
)
def test_addresses_that_may_be_used(url: str) -> None:
    assert check_base_url(url) == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://api.riotgames.com", "{route}"),
        ("https://{route}.{route}.com", "{route}"),
        ("https://{route}.{x}.com", "{route}"),
        ("https://{route}.com/{", "{route}"),
        ("http://{route}.api.riotgames.com", "unencrypted"),
        ("http://10.0.0.1/{route}", "unencrypted"),
        ("http://127.0.0.1.evil.example/{route}", "unencrypted"),
        ("http://localhost.evil.example/{route}", "unencrypted"),
        ("http://127.0.0.1@evil.example/{route}", "no user"),
        ("https://user:word@example.org/{route}", "no user"),
        ("https://example.org/?route={route}", "no query"),
        ("https://example.org/#{route}", "no fragment"),
        ("https:///{route}", "a host"),
        ("ftp://example.org/{route}", "https://"),
        ("{route}", "https://"),
        ("", "{route}"),
        ("https://[::1/{route}", "cannot be read"),
        ("https://x:port/{route}", "cannot be read"),
        ("https://x\n/{route}", "cannot be read"),
    ],
)
def test_addresses_that_may_not(url: str, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RiotApi(api_key=SecretStr(KEY), base_url=url)
    assert said in str(caught.value)


def test_a_profile_nobody_has() -> None:
    with pytest.raises(ValidationError, match="development"):
        RiotApi.model_validate({"api_key": KEY, "key_profile": "personal"})


async def test_the_client_follows_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUINTET_LEAGUE__REQUESTS_AT_ONCE", "1")
    monkeypatch.setenv("QUINTET_LEAGUE__PATIENCE_SECONDS", "0.00001")
    settings.cache_clear()
    try:
        script = Script([httpx.ConnectError("away"), account()])
        limiter = FreeLimiter()
        api = RiotApi(api_key=SecretStr(KEY))
        async with api.client(limiter=limiter, transport=httpx.MockTransport(script)) as client:
            with pytest.raises(ConnectionError, match="tried once"):
                await client.account_by_puuid(PUUID, regional="asia")
            assert (await client.account_by_puuid(PUUID, regional="asia")).puuid == PUUID
    finally:
        settings.cache_clear()


async def test_without_a_limiter_all_processes_of_the_key_share_one(rates: str) -> None:
    script = Script([account()])
    api = RiotApi(api_key=SecretStr(KEY))
    async with api.client(transport=httpx.MockTransport(script)) as client:
        await asyncio.gather(*(client.account_by_puuid(PUUID, regional="asia") for _ in range(3)))
    async with RateLedger(api.fingerprint) as ledger:
        (application, method) = sorted(await ledger.snapshot(), key=lambda use: use.method or "")
    assert (application.method, method.method) == (None, "account-v1.getByPuuid")
    assert (application.route, application.in_flight, method.in_flight) == ("asia", 0, 0)
