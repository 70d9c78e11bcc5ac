"""What the sandbox says is right, computed once more from what it serves."""

from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import Any

import pytest

from deployments.sandbox.riot.application import Sandbox
from deployments.sandbox.riot.options import SandboxOptions
from tests.sandbox.riot.calls import Caller

PLENTY = ((1_000_000, 1.0),)


def a_caller(**options: Any) -> Caller:
    return Caller(Sandbox(SandboxOptions(app=PLENTY, timeline_frames=2, **options)))


async def served(caller: Caller, puuid: str, regional: str) -> list[dict[str, Any]]:
    """Every match of a player that is to be had, the way a client gets it."""
    found: list[dict[str, Any]] = []
    start = 0
    while True:
        path = f"/{regional}/lol/match/v5/matches/by-puuid/{puuid}/ids"
        page = (await caller.get(path, start=start, count=100)).json()
        for match_id in page:
            answer = await caller.get(f"/{regional}/lol/match/v5/matches/{match_id}")
            if answer.status_code == 200:
                found.append(answer.json())
        start += 100
        if len(page) < 100:
            return found


def recomputed(matches: list[dict[str, Any]], puuid: str) -> list[dict[str, Any]]:
    """Yearly statistics from payloads alone."""
    groups: dict[tuple[int, str], list[tuple[dict[str, Any], int]]] = defaultdict(list)
    for match in matches:
        info = match["info"]
        for each in info["participants"]:
            if each["puuid"] == puuid:
                year = datetime.fromtimestamp(info["gameStartTimestamp"] / 1000, UTC).year
                groups[year, info["platformId"].lower()].append((each, info["queueId"]))
    return [
        {
            "year": year,
            "platform": platform,
            **_sums([each for each, _queue in group], [queue for _each, queue in group]),
        }
        for (year, platform), group in sorted(groups.items())
    ]


def _sums(lines: list[dict[str, Any]], queues: list[int]) -> dict[str, Any]:
    def total(*names: str) -> int:
        return sum(int(line[name]) for line in lines for name in names)

    games, takedowns, deaths = len(lines), total("kills", "assists"), total("deaths")
    by = {
        name: dict(sorted(Counter(str(line[name]) for line in lines).items()))
        for name in ("championId", "role", "lane")
    }
    most = sorted((-count, int(champion)) for champion, count in by["championId"].items())[0]
    return {
        "total_matches": games,
        "wins": total("win"),
        "losses": games - total("win"),
        "total_kills": total("kills"),
        "total_deaths": deaths,
        "total_assists": total("assists"),
        "total_gold_earned": total("goldEarned"),
        "total_minions_killed": total("totalMinionsKilled"),
        "total_neutral_minions_killed": total("neutralMinionsKilled"),
        "total_damage_dealt_to_champions": total("totalDamageDealtToChampions"),
        "unique_champions": len(by["championId"]),
        "unique_roles": len(by["role"]),
        "unique_lanes": len(by["lane"]),
        "most_played_champion": most[1],
        "most_played_champion_count": -most[0],
        "win_rate": pytest.approx(total("win") / games * 100),
        "kda_ratio": pytest.approx(takedowns / deaths if deaths else takedowns),
        "average_kills": pytest.approx(total("kills") / games),
        "average_deaths": pytest.approx(deaths / games),
        "average_assists": pytest.approx(total("assists") / games),
        "average_gold": pytest.approx(total("goldEarned") / games),
        "average_cs": pytest.approx(total("totalMinionsKilled", "neutralMinionsKilled") / games),
        "games_by": {
            "champion": by["championId"],
            "role": by["role"],
            "lane": by["lane"],
            "queue": dict(sorted(Counter(map(str, queues)).items())),
        },
    }


@pytest.mark.parametrize(("seed", "platform"), [(1, "na1"), (9, "kr")])
async def test_statistics_are_those_of_the_payloads(seed: int, platform: str) -> None:
    caller = a_caller(seed=seed, platform=platform, matches=120)
    puuid, regional = caller.player["puuid"], caller.player["regional"]
    first = await served(caller, puuid, regional)
    # Late matches came late: they are in one statistic and not in the other.
    assert len(first) == 120 - 2
    again = await served(caller, puuid, regional)
    assert len(again) == 120 - 1
    truth = (await caller.truth())["player"]
    assert truth["statistics"] == recomputed(again, puuid)
    await caller.tell("/__reset")
    assert (await caller.truth())["player"]["statistics_now"] == recomputed(first, puuid)


async def test_other_players_have_theirs() -> None:
    caller = a_caller(matches=60)
    twin = caller.accounts["twins"][1]
    truth = (await caller.truth(riot_id=f"{twin['game_name']}#{twin['tag_line']}"))["player"]
    assert truth["puuid"] == twin["puuid"]
    assert truth["statistics"] == recomputed(await served(caller, twin["puuid"], "americas"), twin["puuid"])
    idle = caller.accounts["idle"]
    assert (await caller.truth(riot_id=f"{idle['game_name']}#{idle['tag_line']}"))["player"]["statistics"] == []


async def test_game_starts_are_those_of_the_payloads() -> None:
    caller = a_caller(matches=60)
    told = {match["match_id"]: match for match in (await caller.truth())["player"]["matches"]}
    for match in await served(caller, caller.player["puuid"], "americas"):
        entry, info = told[match["metadata"]["matchId"]], match["info"]
        assert (entry["game_start"], entry["game_creation"]) == (info["gameStartTimestamp"], info["gameCreation"])
        assert entry["queue_id"] == info["queueId"]
        assert (entry["year"] is None) == (info["gameStartTimestamp"] == 0)


async def test_requests_are_counted_by_route_and_method() -> None:
    caller = a_caller(matches=20)
    await caller.ids()
    await caller.ids()
    await caller.get("/americas/lol/match/v5/matches/NA1_1")
    await caller.get("/kr/lol/status/v4/platform-data")
    caller.key = None
    await caller.get("/kr/lol/status/v4/platform-data")
    truth = await caller.truth()
    assert truth["totals"]["requests"] == 5
    assert truth["totals"]["by_status"] == {"200": 3, "401": 1, "404": 1}
    americas = truth["routes"]["americas"]
    assert americas["methods"]["match-v5.getMatchIdsByPUUID"]["requests"] == 2
    assert americas["methods"]["match-v5.getMatch"]["by_status"] == {"404": 1}
    assert truth["routes"]["kr"]["by_status"] == {"200": 1, "401": 1}
    await caller.tell("/__reset")
    assert (await caller.truth())["totals"]["requests"] == 0
