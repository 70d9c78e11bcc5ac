"""Small made-up games, as the API would answer them: only the fields that are read."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime

CHAMPIONS = {1: "Annie", 62: "MonkeyKing", 103: "Ahri", 238: "Zed", 64: "LeeSin", 202: "Jhin"}


@dataclass
class Player:
    """What one player did in one game."""

    puuid: str
    champion_id: int = 103
    win: bool = True
    kills: int = 1
    deaths: int = 1
    assists: int = 1
    creeps: int = 100
    gold: int = 9000
    name: str | None = None
    tag: str | None = None
    remake: bool = False
    placement: int = 0
    champion_name: str | None = None


@dataclass
class Game:
    """One game; `start` None is one that never began."""

    match_id: str
    start: datetime | None
    players: list[Player] = field(default_factory=list)
    queue_id: int = 420
    seconds: int = 1800

    def body(self) -> bytes:
        """What the API answers for it."""
        start = 0 if self.start is None else int(self.start.timestamp() * 1000)
        participants = [
            {
                "participantId": number,
                "puuid": player.puuid,
                "riotIdGameName": player.name,
                "riotIdTagline": player.tag,
                "teamId": 100 if player.win else 200,
                "placement": player.placement,
                "championId": player.champion_id,
                "championName": player.champion_name or CHAMPIONS.get(player.champion_id, ""),
                "role": "SOLO",
                "lane": "MIDDLE",
                "win": player.win,
                "gameEndedInEarlySurrender": player.remake,
                "kills": player.kills,
                "deaths": player.deaths,
                "assists": player.assists,
                "goldEarned": player.gold,
                "totalMinionsKilled": player.creeps,
                "neutralMinionsKilled": 0,
                "totalDamageDealtToChampions": 1000,
            }
            for number, player in enumerate(self.players, 1)
        ]
        info = {
            "gameCreation": start,
            "gameStartTimestamp": start,
            "gameEndTimestamp": start + self.seconds * 1000,
            "gameDuration": self.seconds,
            "gameMode": "CLASSIC",
            "gameVersion": "14.1.1.1",
            "queueId": self.queue_id,
            "participants": participants,
        }
        return json.dumps({"metadata": {"dataVersion": "2", "matchId": self.match_id}, "info": info}).encode()


def day(number: int, year: int = 2024) -> datetime:
    """Noon of the year's day of this number."""
    return datetime.fromtimestamp(datetime(year, 1, 1, 12, tzinfo=UTC).timestamp() + 86_400 * (number - 1), UTC)
