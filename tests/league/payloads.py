"""Small matches and timelines as the API would answer them, and where the real ones lie."""

import json
from pathlib import Path
from typing import Any

import pytest

REAL = Path(__file__).parents[2] / "../shared/data/riot"
needs_real = pytest.mark.skipif(not REAL.exists(), reason="../shared is not beside this clone")

#: 2024-06-15 12:00:00 UTC.
MIDSUMMER = 1_718_452_800_000


def puuid(number: int) -> str:
    """A puuid of the usual length."""
    return f"player-{number}_".ljust(78, "x")


def participant(number: int, **changed: Any) -> dict[str, Any]:
    """One participant with everything that is read; `changed` takes Riot's names, and None removes a field."""
    row = {
        "participantId": number,
        "puuid": puuid(number),
        "riotIdGameName": f"Name {number}",
        "riotIdTagline": "TAG",
        "summonerName": f"Summoner {number}",
        "teamId": 100 if number <= 5 else 200,
        "championId": 100 + number,
        "championName": f"Champion{number}",
        "champLevel": 18,
        "individualPosition": "TOP",
        "teamPosition": "TOP",
        "role": "SOLO",
        "lane": "TOP",
        "win": number <= 5,
        "gameEndedInEarlySurrender": False,
        "kills": number,
        "deaths": number % 3,
        "assists": 2 * number,
        "goldEarned": 10_000 + number,
        "totalMinionsKilled": 100 + number,
        "neutralMinionsKilled": number,
        "totalDamageDealtToChampions": 20_000 + number,
        "visionScore": 20,
        "timePlayed": 1800,
        **{f"item{slot}": 1000 + slot for slot in range(7)},
        "summoner1Id": 4,
        "summoner2Id": 12,
        "perks": {
            "statPerks": {"defense": 5002},
            "styles": [
                {"description": "primaryStyle", "style": 8000, "selections": [{"perk": 8005}]},
                {"description": "subStyle", "style": 8100, "selections": []},
            ],
        },
    }
    return {name: value for name, value in (row | changed).items() if value is not None}


def match(match_id: str = "NA1_1", *players: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """A match as parsed JSON: ten participants unless others are given; `changed` are fields of `info`."""
    info: dict[str, Any] = {
        "endOfGameResult": "GameComplete",
        "gameCreation": MIDSUMMER - 30_000,
        "gameStartTimestamp": MIDSUMMER,
        "gameEndTimestamp": MIDSUMMER + 1_800_000,
        "gameDuration": 1800,
        "gameId": int(match_id.partition("_")[2]),
        "gameMode": "CLASSIC",
        "gameName": f"teambuilder-match-{match_id}",
        "gameType": "MATCHED_GAME",
        "gameVersion": "14.12.593.5894",
        "mapId": 11,
        "participants": list(players) or [participant(number) for number in range(1, 11)],
        "platformId": match_id.partition("_")[0],
        "queueId": 420,
        "teams": [],
    }
    info = {name: value for name, value in (info | changed).items() if value is not None}
    puuids = [str(player.get("puuid")) for player in info["participants"]]
    return {"metadata": {"dataVersion": "2", "matchId": match_id, "participants": puuids}, "info": info}


def match_body(match_id: str = "NA1_1", *players: dict[str, Any], **changed: Any) -> bytes:
    """`match`, as bytes."""
    return json.dumps(match(match_id, *players, **changed)).encode()


def timeline_body(match_id: str = "NA1_1", *, frames: int = 3, events: int = 4, **changed: Any) -> bytes:
    """A timeline of so many frames, with so many events in each."""
    frame = {
        "timestamp": 60_000,
        "participantFrames": {"1": {"totalGold": 500}},
        "events": [{"type": "WARD_PLACED", "timestamp": number} for number in range(events)],
    }
    info = {"frameInterval": 60_000, "frames": [frame] * frames, "gameId": 1, "endOfGameResult": "GameComplete"}
    info = {name: value for name, value in (info | changed).items() if value is not None}
    return json.dumps(
        {"metadata": {"dataVersion": "2", "matchId": match_id, "participants": []}, "info": info}
    ).encode()
