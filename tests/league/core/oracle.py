"""A player's statistics by plain Python from what the API answered: shares no code with what it judges."""

import json
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from sqlmodel import Session, select

from tasks.league.core.tables import YearlyBreakdown, YearlyStats

Rows = dict[tuple[Any, ...], dict[str, Any]]


def statistics_of(bodies: Iterable[bytes]) -> tuple[Rows, Rows]:
    """The yearly statistics and their breakdown, by key, of these matches, each of which is given once."""
    played: dict[tuple[str, int, str], list[tuple[dict[str, Any], int]]] = {}
    for body in bodies:
        told = json.loads(body)
        info = told["info"]
        started = info.get("gameStartTimestamp") or info.get("gameCreation")
        if not started:
            continue
        year = time.gmtime(started / 1000).tm_year
        platform = told["metadata"]["matchId"].split("_")[0].lower()
        for row in info["participants"]:
            if row["puuid"] not in ("BOT", ""):
                played.setdefault((row["puuid"], year, platform), []).append((row, info.get("queueId") or 0))
    yearly: Rows = {}
    breakdown: dict[tuple[Any, ...], Counter[str]] = {}
    for key, games in played.items():
        yearly[key] = _year([row for row, _ in games])
        for row, queue in games:
            values = {"CHAMPION": row["championId"], "ROLE": row.get("role"), "LANE": row.get("lane"), "QUEUE": queue}
            for dimension, value in values.items():
                if value not in (None, ""):
                    sums = breakdown.setdefault(
                        (*key, dimension, str(value)), Counter(games=0, wins=0, kills=0, deaths=0)
                    )
                    sums.update(games=1, wins=int(row["win"]))
                    sums.update({name: row[name] for name in ("kills", "deaths", "assists")})
    return yearly, {key: dict(sums) for key, sums in breakdown.items()}


def _year(rows: list[dict[str, Any]]) -> dict[str, Any]:
    def total(name: str) -> int:
        return sum(int(row[name]) for row in rows)

    champions = Counter(row["championId"] for row in rows)
    most = max(champions.values())
    games, kills, deaths, assists = len(rows), total("kills"), total("deaths"), total("assists")
    return {
        "total_matches": games,
        "wins": total("win"),
        "losses": games - total("win"),
        "total_kills": kills,
        "total_deaths": deaths,
        "total_assists": assists,
        "total_gold_earned": total("goldEarned"),
        "total_minions_killed": total("totalMinionsKilled"),
        "total_neutral_minions_killed": total("neutralMinionsKilled"),
        "total_damage_dealt_to_champions": total("totalDamageDealtToChampions"),
        "unique_champions": len(champions),
        "unique_roles": len({row.get("role") for row in rows} - {None, ""}),
        "unique_lanes": len({row.get("lane") for row in rows} - {None, ""}),
        "most_played_champion": min(champion for champion, count in champions.items() if count == most),
        "most_played_champion_count": most,
        "win_rate": total("win") * 100 / games,
        "kda_ratio": (kills + assists) / deaths if deaths else kills + assists,
        "average_kills": kills / games,
        "average_deaths": deaths / games,
        "average_assists": assists / games,
        "average_gold": total("goldEarned") / games,
        "average_cs": (total("totalMinionsKilled") + total("neutralMinionsKilled")) / games,
    }


def stored_statistics(session: Session) -> tuple[Rows, Rows]:
    """What the ledger says, in the same form."""
    yearly = {
        (row.puuid, row.year, row.platform): row.model_dump(exclude={"puuid", "year", "platform"})
        for row in session.exec(select(YearlyStats))
    }
    breakdown = {
        (row.puuid, row.year, row.platform, str(row.dimension), row.value): row.model_dump(
            include={"games", "wins", "kills", "deaths", "assists"}
        )
        for row in session.exec(select(YearlyBreakdown))
    }
    return yearly, breakdown
