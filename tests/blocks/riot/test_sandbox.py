"""The client with the real limiter against the sandbox: everything is fetched, whatever goes wrong on the way."""

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from blocks.rate_ledger import RateLedger
from blocks.riot import RiotApi, RiotClient, RiotForeignPuuidError, RiotKeyError, RiotNotFoundError
from blocks.riot.answers import Answer, MatchDto, TimelineDto
from deployments.sandbox.riot.options import SandboxOptions
from deployments.sandbox.riot.server import RunningSandbox, running_sandbox

_OTHER_KEY = "RGAPI-ffffffff-0000-4000-8000-000000000002"
_FAST = ((500, 1.0), (3000, 6.0))


def _client(sandbox: RunningSandbox, key: str | None = None) -> RiotClient:
    api = RiotApi(api_key=SecretStr(key or sandbox.key), base_url=sandbox.base_url, key_profile="production")
    limiter = RateLedger(api.fingerprint)
    return RiotClient(api.api_key, api.base_url, limiter, patience_seconds=60, backoff_seconds=0.005)


def _truth(sandbox: RunningSandbox) -> dict[str, Any]:
    told: dict[str, Any] = httpx.get(f"{sandbox.url}/__truth").json()
    return told


async def _sync(client: RiotClient, player: dict[str, str]) -> tuple[list[str], dict[str, set[str]]]:
    """Everything of a player: the ids listed, and those that are missing by kind."""
    found = await client.account_by_riot_id(player["game_name"], player["tag_line"], regional=player["regional"])
    assert found.puuid == player["puuid"]
    await client.account_by_puuid(found.puuid, regional=player["regional"])
    await client.summoner_by_puuid(found.puuid, platform=player["platform"])
    assert await client.league_entries_by_puuid(found.puuid, platform=player["platform"])
    assert await client.champion_masteries_by_puuid(found.puuid, platform=player["platform"])
    await client.platform_status(player["platform"])
    ids: list[str] = []
    while len(page := await client.match_ids_by_puuid(found.puuid, regional=player["regional"], start=len(ids))) == 100:
        ids += page
    ids += page
    missing: dict[str, set[str]] = {"match": set(), "timeline": set()}

    async def fetch(match_id: str, kind: str) -> None:
        try:
            got: Answer[MatchDto] | Answer[TimelineDto] = await getattr(client, kind)(match_id)
        except RiotNotFoundError:
            missing[kind].add(match_id)
        else:
            assert got.value.metadata.match_id == match_id

    await asyncio.gather(*(fetch(match_id, kind) for match_id in ids for kind in missing))
    return ids, missing


@pytest.mark.parametrize("windows", ["fixed", "sliding"])
async def test_everything_is_fetched_though_much_goes_wrong(windows: Any, rates: str) -> None:
    options = SandboxOptions(
        players=40, matches=105, timeline_frames=3, app=_FAST, windows=windows, header_order="shuffled",
        missing_match_rate=0.1, missing_timeline_rate=0.1, late_match_rate=0,
        error_rate=0.05, service_429_rate=0.05, broken_rate=0.05, truncated_rate=0.05,
    )  # fmt: skip
    with running_sandbox(options) as sandbox:
        async with _client(sandbox) as client:
            ids, missing = await _sync(client, sandbox.player)
        truth = await asyncio.to_thread(_truth, sandbox)
    assert ids == truth["player"]["match_ids"]
    assert missing["match"] == set(truth["player"]["missing_matches"]) != set()
    assert missing["timeline"] == set(truth["player"]["missing_timelines"]) != set()
    # Both sides counted the same, and the client met no limit of its own key.
    counts, totals = client.counts, truth["totals"]
    assert counts.requests == totals["requests"] > 200
    assert (totals["http_429"]["application"], totals["http_429"]["method"]) == (0, 0)
    assert counts.rate_limited == Counter(service=totals["http_429"]["service"])
    answered = Counter({int(status): number for status, number in totals["by_status"].items() if status.isdecimal()})
    answered[200] += totals["by_status"]["truncated"]
    assert counts.by_status == answered
    assert counts.connection_errors == totals["by_status"]["broken"] + totals["by_status"]["truncated"]
    assert counts.retries == counts.connection_errors + counts.http_5xx + counts.http_429


async def test_a_limit_that_is_met_is_waited_for(rates: str) -> None:
    """The key is used by somebody else as well, whom the limiter cannot see before the first answer."""
    options = SandboxOptions(players=40, matches=12, timeline_frames=2, app=((30, 1.0),), edge_cases=False)
    with running_sandbox(options) as sandbox:
        headers = {"X-Riot-Token": sandbox.key}
        async with httpx.AsyncClient(headers=headers) as other, _client(sandbox) as client:
            url = sandbox.base_url.replace("{route}", "americas")
            taken = await asyncio.gather(*(other.get(f"{url}/lol/match/v5/matches/NA1_1") for _ in range(30)))
            assert sum(answer.status_code == 404 for answer in taken) == 30
            ids = await client.match_ids_by_puuid(sandbox.player["puuid"], regional="americas")
            assert len(ids) == 12
            assert client.counts.rate_limited == {"application": 1}


async def test_keys_and_puuids_of_others(rates: str) -> None:
    with running_sandbox(SandboxOptions(players=40, matches=12, keys=("RGAPI-one", _OTHER_KEY))) as sandbox:
        async with _client(sandbox, _OTHER_KEY) as client:
            with pytest.raises(RiotForeignPuuidError, match="another API key") as foreign:
                await client.summoner_by_puuid(sandbox.player["puuid"], platform="na1")
            assert sandbox.player["puuid"] not in str(foreign.value)
            with pytest.raises(RiotNotFoundError) as unknown:
                await client.account_by_riot_id("No/body #1", "é?", regional="americas")
            assert "No/body" not in str(unknown.value)
        async with _client(sandbox, "RGAPI-unknown") as client:
            with pytest.raises(RiotKeyError, match="24 hours"):
                await client.platform_status("na1")
            assert client.counts.requests == 1
