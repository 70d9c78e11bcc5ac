"""What each method of the client asks, and what becomes of each status."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from blocks.riot import (
    RiotAnswerError,
    RiotClient,
    RiotError,
    RiotForeignPuuidError,
    RiotKeyError,
    RiotNotFoundError,
    RiotRequestError,
    UnknownRouteError,
)
from tests.blocks.riot.stand_ins import (
    KEY,
    PUUID,
    FreeLimiter,
    Script,
    account,
    match_body,
    refused,
    scripted,
)

Call = Callable[[RiotClient], Awaitable[Any]]

_TIMELINE = {"metadata": {"matchId": "KR_7"}, "info": {"frameInterval": 60000, "frames": []}}
_SUMMONER = {"puuid": PUUID, "profileIconId": 1, "revisionDate": 2, "summonerLevel": 3}

CALLS: list[tuple[str, Call, Any, str]] = [
    (
        "account-v1.getByRiotId",
        lambda client: client.account_by_riot_id("A b", "TAG", regional="sea"),
        {"puuid": PUUID},
        "asia.api.riotgames.com/riot/account/v1/accounts/by-riot-id/A%20b/TAG",
    ),
    (
        "account-v1.getByPuuid",
        lambda client: client.account_by_puuid(PUUID, regional="europe"),
        {"puuid": PUUID},
        f"europe.api.riotgames.com/riot/account/v1/accounts/by-puuid/{PUUID}",
    ),
    (
        "summoner-v4.getByPUUID",
        lambda client: client.summoner_by_puuid(PUUID, platform="TH2"),
        _SUMMONER,
        f"sg2.api.riotgames.com/lol/summoner/v4/summoners/by-puuid/{PUUID}",
    ),
    (
        "league-v4.getLeagueEntriesByPUUID",
        lambda client: client.league_entries_by_puuid(PUUID, platform="na1"),
        [],
        f"na1.api.riotgames.com/lol/league/v4/entries/by-puuid/{PUUID}",
    ),
    (
        "champion-mastery-v4.getAllChampionMasteriesByPUUID",
        lambda client: client.champion_masteries_by_puuid(PUUID, platform="kr"),
        [],
        f"kr.api.riotgames.com/lol/champion-mastery/v4/champion-masteries/by-puuid/{PUUID}",
    ),
    (
        "match-v5.getMatchIdsByPUUID",
        lambda client: client.match_ids_by_puuid(PUUID, regional="sea"),
        ["SG2_1"],
        f"sea.api.riotgames.com/lol/match/v5/matches/by-puuid/{PUUID}/ids?start=0&count=100",
    ),
    (
        "match-v5.getMatch",
        lambda client: client.match("EUN1_5"),
        match_body("EUN1_5"),
        "europe.api.riotgames.com/lol/match/v5/matches/EUN1_5",
    ),
    (
        "match-v5.getTimeline",
        lambda client: client.timeline("KR_7"),
        _TIMELINE,
        "asia.api.riotgames.com/lol/match/v5/matches/KR_7/timeline",
    ),
    (
        "lol-status-v4.getPlatformData",
        lambda client: client.platform_status("euw1"),
        {"id": "EUW1", "name": "EU West"},
        "euw1.api.riotgames.com/lol/status/v4/platform-data",
    ),
]


@pytest.mark.parametrize(("method", "call", "answer", "url"), CALLS, ids=[one[0] for one in CALLS])
async def test_each_method_asks_its_operation(method: str, call: Call, answer: Any, url: str) -> None:
    async with scripted(httpx.Response(200, json=answer)) as (client, script, limiter):
        await call(client)
        (request,), (permit,) = script.requests, limiter.permits
        assert (request.method, str(request.url)) == ("GET", f"https://{url}")
        assert (permit.method, permit.route) == (method, url.partition(".")[0])
        assert (client.counts.requests, dict(client.counts.by_method)) == (1, {method: 1})
        assert request.headers["X-Riot-Token"] == KEY
        assert KEY not in str(request.url)


async def test_all_parameters_of_a_listing() -> None:
    async with scripted(httpx.Response(200, json=[])) as (client, script, _):
        await client.match_ids_by_puuid(
            PUUID, regional="asia", start=100, count=1, start_time=0, end_time=1_700_000_000, queue=420, type="ranked"
        )
        assert dict(script.requests[0].url.params) == {
            "start": "100", "count": "1", "startTime": "0", "endTime": "1700000000", "queue": "420", "type": "ranked"
        }  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [{"start": -1}, {"count": 0}, {"count": 101}, {"start_time": 1_700_000_000_000}, {"end_time": -1}],
)
async def test_a_listing_that_riot_would_answer_wrongly_is_not_sent(wrong: dict[str, int]) -> None:
    async with scripted(httpx.Response(200, json=[])) as (client, script, limiter):
        with pytest.raises(ValueError):
            await client.match_ids_by_puuid(PUUID, regional="asia", **wrong)  # type: ignore[arg-type]
        assert script.requests == [] and limiter.permits == []


async def test_the_body_is_what_was_received() -> None:
    body = json.dumps(match_body(), indent=7).encode() + b"\n"
    async with scripted(httpx.Response(200, content=body)) as (client, _, _):
        assert (await client.match("NA1_1")).body == body


async def test_an_answer_about_another_match() -> None:
    async with scripted(httpx.Response(200, json=match_body("NA1_2"))) as (client, _, _):
        with pytest.raises(RiotAnswerError, match="another match"):
            await client.match("NA1_1")


async def test_unknown_routes_and_ids_are_not_sent() -> None:
    calls: list[Call] = [
        lambda client: client.match("XX_1"),
        lambda client: client.timeline("XX_1"),
        lambda client: client.platform_status("xx"),
        lambda client: client.summoner_by_puuid(PUUID, platform="americas"),
        lambda client: client.match_ids_by_puuid(PUUID, regional="na1"),
        lambda client: client.account_by_puuid(PUUID, regional="esports"),
    ]
    async with scripted(account()) as (client, script, limiter):
        for call in calls:
            with pytest.raises(UnknownRouteError):
                await call(client)
        with pytest.raises(RiotRequestError):
            await client.match("../NA1_1")
        assert script.requests == [] and limiter.permits == []


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "Bad Request - Exception decrypting abc", RiotForeignPuuidError),
        (400, "Bad request", RiotRequestError),
        (401, "Unauthorized", RiotKeyError),
        (403, "Forbidden", RiotKeyError),
        (404, "Data not found", RiotNotFoundError),
        (405, "", RiotRequestError),
        (414, "", RiotRequestError),
        (415, "Unsupported media type", RiotRequestError),
        (418, "", RiotRequestError),
        (204, "", RiotAnswerError),
        (302, "", RiotAnswerError),
    ],
)
async def test_what_does_not_pass_is_raised_at_once(status: int, message: str, kind: type[RiotError]) -> None:
    answer = refused(status, message, Location="https://evil.example/", **{"X-App-Rate-Limit": "20:1"})
    async with scripted(answer) as (client, script, limiter):
        with pytest.raises(RiotError) as caught:
            await client.match("NA1_1")
        assert type(caught.value) is kind
        assert (caught.value.status, caught.value.method) == (status, "match-v5.getMatch")
        assert message in str(caught.value) and "NA1_1" in str(caught.value)
        assert len(script.requests) == 1
        # A refused request counts at the server like any other.
        assert limiter.limits[0] is not None and limiter.limits[0].application is not None
        assert dict(client.counts.by_status) == {status: 1}
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("status", [401, 403])
async def test_an_error_about_the_key_says_what_to_do(status: int) -> None:
    async with scripted(refused(status, f"Unknown apikey {KEY}")) as (client, _, _):
        with pytest.raises(RiotKeyError, match=r"24 hours.*QUINTET_LEAGUE__RIOT_API_KEY") as caught:
            await client.platform_status("na1")
        assert KEY not in str(caught.value)


async def test_riots_message_is_cleaned() -> None:
    message = f"No results found for player with riot id some one#TAG {PUUID}\x1b[31m\n{'x' * 5000}"
    async with scripted(refused(404, message)) as (client, _, _):
        with pytest.raises(RiotNotFoundError) as caught:
            await client.account_by_riot_id("Some One", "TAG", regional="asia")
        said = str(caught.value)
        assert "No results found for player with riot id ...#..." in said
        assert "\x1b" not in said and "\n" not in said and len(said) < 400
        with pytest.raises(RiotNotFoundError) as caught:
            await client.account_by_puuid(PUUID, regional="asia")
        assert PUUID not in str(caught.value) and PUUID[:8] in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"status": "x"}', b'{"status": {"message": null}}', b"\xff"])
async def test_an_error_without_riots_message(body: bytes) -> None:
    async with scripted(httpx.Response(404, content=body)) as (client, _, _):
        with pytest.raises(RiotNotFoundError, match=r"404 Not Found$"):
            await client.match("NA1_1")


async def test_a_page_of_a_proxy_is_no_answer() -> None:
    page = httpx.Response(200, headers={"Content-Type": "text/html"}, content=b" <html>Log in here</html>")
    async with scripted(page) as (client, script, _):
        with pytest.raises(RiotAnswerError, match="HTML"):
            await client.match("NA1_1")
        assert len(script.requests) == 1


async def test_the_limits_of_an_answer_reach_the_limiter() -> None:
    headers = {
        "X-App-Rate-Limit": "100:120,20:1",
        "X-App-Rate-Limit-Count": "36:120,1:1",
        "X-Method-Rate-Limit": "2000:10",
        "X-Method-Rate-Limit-Count": "1:10",
    }
    async with scripted(httpx.Response(200, json={"puuid": PUUID}, headers=headers)) as (client, _, limiter):
        await client.account_by_puuid(PUUID, regional="asia")
        (limits,) = limiter.limits
        assert limits is not None
        assert [str(window) for window in limits.application or ()] == ["20:1", "100:120"]
        assert (limits.application_counts, limits.method_counts) == ({1: 1, 120: 36}, {10: 1})
        assert (limits.blocked_seconds, limits.blocked_scope) == (None, None)


async def test_a_client_must_be_open() -> None:
    limiter = FreeLimiter()
    client = RiotClient(
        SecretStr(KEY), "https://{route}.x", limiter, transport=httpx.MockTransport(Script([account()]))
    )
    with pytest.raises(RuntimeError, match="async with"):
        await client.platform_status("na1")
    async with client:
        with pytest.raises(RuntimeError, match="open already"):
            await client.__aenter__()
    with pytest.raises(RuntimeError, match="async with"):
        await client.platform_status("na1")
    assert (limiter.entered, limiter.left, limiter.permits) == (1, 1, [])


async def test_a_limiter_that_cannot_begin_leaves_nothing_open() -> None:
    class Broken(FreeLimiter):
        async def __aenter__(self) -> "FreeLimiter":
            raise OSError("no database")

    client = RiotClient(SecretStr(KEY), "https://{route}.x", Broken())
    with pytest.raises(OSError, match="no database"):
        await client.__aenter__()
    with pytest.raises(RuntimeError, match="async with"):
        await client.platform_status("na1")
