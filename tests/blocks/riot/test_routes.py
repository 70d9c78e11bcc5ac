"""Routes against Riot's own table."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.riot.errors import RiotRequestError, UnknownRouteError
from blocks.riot.routes import (
    MOVED,
    PLATFORMS,
    REGIONALS,
    account_route,
    is_match_id,
    platform_host,
    platform_of,
    platform_route,
    regional_of,
    regional_of_match,
    regional_route,
)
from tests.blocks.riot.stand_ins import DATA, needs_data


@needs_data
def test_platforms_and_regions_are_those_of_riots_table() -> None:
    table = json.loads((DATA / "routesTable.json").read_text())
    assert {name: about["regionalRoute"] for name, about in table["platform"].items()} == PLATFORMS
    assert {name for name, about in table["platform"].items() if about.get("deprecated")} == set(MOVED)
    known = {name for name, about in table["regional"].items() if not about.get("deprecated")}
    assert {name for name in known if not name.startswith("esports")} == set(REGIONALS)


@needs_data
def test_every_real_match_has_a_region() -> None:
    files = [*(DATA / "match").iterdir(), *(DATA / "timeline").iterdir()]
    assert files
    for file in files:
        assert regional_of_match(file.stem) in REGIONALS
        assert platform_of(file.stem) == file.stem.partition("_")[0].lower()


def test_every_platform_leads_to_a_region_and_a_host() -> None:
    for platform in PLATFORMS:
        assert regional_of(platform) in REGIONALS
        assert platform_host(platform) not in MOVED


def test_accounts_are_asked_for_where_the_api_is() -> None:
    assert [account_route(regional) for regional in REGIONALS] == ["americas", "asia", "europe", "asia"]


def test_routes_are_known_in_any_case() -> None:
    assert (platform_route(" NA1 "), regional_route("Americas"), regional_of("KR")) == ("na1", "americas", "asia")


def test_matches_of_a_merged_platform_keep_their_region() -> None:
    assert (regional_of_match("PH2_12345"), platform_of("PH2_12345"), platform_host("ph2")) == ("sea", "ph2", "sg2")


@pytest.mark.parametrize("platform", ["", "euw", "na1.evil.example/", "americas", "na1\n.x"])
def test_an_unknown_platform_names_the_known_ones(platform: str) -> None:
    for ask in (platform_route, platform_host, regional_of):
        with pytest.raises(UnknownRouteError, match="euw1"):
            ask(platform)


@pytest.mark.parametrize("regional", ["", "apac", "esports", "na1", "asia/.."])
def test_an_unknown_region_names_the_known_ones(regional: str) -> None:
    for ask in (regional_route, account_route):
        with pytest.raises(UnknownRouteError, match="americas, asia, europe, sea"):
            ask(regional)


def test_an_unknown_route_is_a_value_error_too() -> None:
    with pytest.raises(ValueError):
        regional_of("xx")


@pytest.mark.parametrize(
    "text", ["", "NA1", "NA1_", "_1", "na1_1", "NA1_1x", "NA1_1\n", "NA1_١", "../NA1_1", "NA1_1/..", "NA1_" + "1" * 40]
)
def test_what_is_no_match_id_is_refused(text: str) -> None:
    assert not is_match_id(text)
    with pytest.raises(RiotRequestError, match="no match id"):
        platform_of(text)


def test_a_match_id_of_no_platform_is_an_unknown_route() -> None:
    assert is_match_id("XX9_1")
    with pytest.raises(UnknownRouteError):
        regional_of_match("XX9_1")


@given(st.sampled_from(sorted(PLATFORMS)), st.integers(min_value=0, max_value=10**12))
def test_a_match_id_leads_back_to_its_platform(platform: str, game: int) -> None:
    match_id = f"{platform.upper()}_{game}"
    assert is_match_id(match_id)
    assert platform_of(match_id) == platform
    assert regional_of_match(match_id) == PLATFORMS[platform]


@given(st.text(max_size=300))
def test_an_error_shows_little_of_a_wrong_id(text: str) -> None:
    if not is_match_id(text):
        with pytest.raises(RiotRequestError) as caught:
            platform_of(text)
        assert len(str(caught.value)) < 500
