"""The block's addresses and limits, and under what name those are kept."""

from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from blocks.exchange import Exchange
from blocks.exchange.address import limits_key, shown, trader
from blocks.rate_window import Window
from blocks.settings import settings
from tests.blocks.exchange.stand_ins import USER, FreeLimiter, answered


def test_it_is_the_main_net_by_itself(home: Path) -> None:
    exchange = Exchange()
    assert exchange.url == "https://api.hyperliquid.xyz"
    assert exchange.limits["info"] == (Window(1200, 60),)
    assert Exchange.get_block_type_slug() == "exchange"


def test_the_settings_are_what_it_is_made_of(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "EXCHANGE_URL": "http://127.0.0.1:9/",
        "EXCHANGE_WS_URL": "ws://127.0.0.1:9/ws",
        "EGRESS": "second",
        "WEIGHT_PER_MINUTE": "240",
        "WEIGHT_WINDOW_SECONDS": "12",
        "NEW_CONNECTIONS_PER_MINUTE": "7",
        "MESSAGES_PER_MINUTE": "8",
    }.items():
        monkeypatch.setenv(f"QUINTET_TRADERS__{name}", value)
    settings.cache_clear()
    exchange = Exchange.from_settings()
    assert (exchange.url, exchange.ws_url, exchange.egress) == ("http://127.0.0.1:9", "ws://127.0.0.1:9/ws", "second")
    assert exchange.limits == {
        "info": (Window(240, 12),),
        "ws-connections": (Window(7, 60),),
        "ws-messages": (Window(8, 60),),
    }


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"url": "ftp://exchange.test"}, "must begin with https://"),
        ({"url": "https://"}, "must begin with https://"),
        ({"url": "https://name:secret@exchange.test"}, "no user"),
        ({"url": "https://exchange.test?x=1"}, "no query"),
        ({"url": "https://exchange.test:port"}, "cannot be read"),
        ({"ws_url": "https://exchange.test/ws"}, "must begin with wss://"),
        ({"egress": "Not A Name"}, "pattern"),
        ({"weight_per_minute": 119}, "120"),
    ],
    ids=str,
)
def test_what_cannot_be_is_turned_away(home: Path, changes: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem) as caught:
        Exchange.model_validate(changes)
    assert "secret" not in str(caught.value)


def test_who_shares_an_address_shares_its_limits(home: Path) -> None:
    one = Exchange()
    assert one.key_name == Exchange().key_name == limits_key(one.ws_url, one.egress)
    names = {one.key_name, Exchange(egress="second").key_name, Exchange(url="https://exchange.test").key_name}
    assert len(names) == 3
    assert limits_key("http://127.0.0.1:80/x", "a") == limits_key("ws://127.0.0.1/ws", "a")
    assert limits_key("http://127.0.0.1:81", "a") != limits_key("http://127.0.0.1:82", "a")


async def test_its_client_asks_its_address(home: Path) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return answered({"assetPositions": []})

    exchange = Exchange(url="https://exchange.test/")
    async with exchange.client(limiter=FreeLimiter(), transport=httpx.MockTransport(answer)) as client:
        await client.clearinghouse_state(USER)
    assert asked == ["https://exchange.test/info"]


def test_traders_addresses() -> None:
    assert trader("0x" + "AB" * 20) == "0x" + "ab" * 20
    assert trader("0x5a") is trader("5a" * 20) is trader(USER + "\n") is None
    assert shown(USER) == "0xab12…ab12"
    assert shown("0x5a") == "0x5a"
