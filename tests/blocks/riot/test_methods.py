"""Operations against Riot's OpenAPI schema, and paths that nothing can leave."""

import json
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.riot.errors import RiotRequestError
from blocks.riot.methods import ACCOUNT_BY_RIOT_ID, METHODS, Method
from tests.blocks.riot.stand_ins import DATA, needs_data


@needs_data
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_names_and_paths_are_riots(method: Method) -> None:
    schema = json.loads((DATA / "openapi-3.0.0.min.json").read_text())
    assert schema["paths"][method.path]["get"]["operationId"] == method.name


def test_names_are_told_apart() -> None:
    assert len({method.name for method in METHODS}) == len(METHODS)


# Surrogates cannot be encoded.
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
    lambda text: text not in (".", "..")
)


@given(_TEXT, _TEXT)
def test_every_name_stays_in_its_segment(game_name: str, tag_line: str) -> None:
    path = ACCOUNT_BY_RIOT_ID.path_of(gameName=game_name, tagLine=tag_line)
    # What goes over the wire, after all that httpx does to an address.
    wire = httpx.Request("GET", f"https://asia.api.riotgames.com{path}", params={"count": 1}).url.raw_path.decode()
    target, _, query = wire.partition("?")
    assert query == "count=1"
    assert target.split("/")[:6] == ["", "riot", "account", "v1", "accounts", "by-riot-id"]
    assert [unquote(part) for part in target.split("/")[6:]] == [game_name, tag_line]


@pytest.mark.parametrize(
    "name", ["a/b", "a#b", "a?b=c", "a%2Fb", "../..", "..%2f", "ä ö", "한국", "a;b", "\x00\r\n", "{x}"]
)
def test_names_that_mean_something_to_an_address(name: str) -> None:
    path = ACCOUNT_BY_RIOT_ID.path_of(gameName=name, tagLine="TAG")
    url = httpx.URL(f"https://asia.api.riotgames.com{path}")
    assert (url.host, url.query, url.fragment) == ("asia.api.riotgames.com", b"", "")
    assert [unquote(part) for part in url.raw_path.decode().split("/")[6:]] == [name, "TAG"]


@pytest.mark.parametrize("name", ["", ".", "..", "\ud800", "x" * 201])
def test_names_that_cannot_be_a_segment_are_refused_unsaid(name: str) -> None:
    with pytest.raises(RiotRequestError, match="gameName") as caught:
        ACCOUNT_BY_RIOT_ID.path_of(gameName=name, tagLine="TAG")
    assert "\ud800" not in str(caught.value) and "xxx" not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__context__ is None
