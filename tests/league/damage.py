"""Damage done to a league ledger behind its back, with plain SQL, and the runs that are to mend it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from blocks.engine import engine, session
from deployments.sandbox.riot.server import RunningSandbox
from tasks.league.core.dump import dump
from tasks.league.core.tables import DOMAIN, LeagueTable
from tasks.league.players import PlayerSync, sync_player_data
from tasks.league.recovery import RecoveryReport, recover_player_data

MATCH, TIMELINE = "match-v5.getMatch", "match-v5.getTimeline"

#: What is damaged: a match that is stored with its timeline, the player, and another who took part.
Victim = dict[str, Any]


@dataclass(frozen=True)
class Damage:
    """One way to damage a ledger, and what is to be done about it."""

    name: str
    do: Callable[[Connection, Victim], None]
    fetched: int = 0
    derived: int = 0
    mended: int = 0


def sql(*statements: str) -> Callable[[Connection, Victim], None]:
    def run(connection: Connection, victim: Victim) -> None:
        for statement in statements:
            connection.execute(text(statement), victim)

    return run


def flip(kind: str, place: int = 40) -> Callable[[Connection, Victim], None]:
    """Flip one bit of a payload."""

    def run(connection: Connection, victim: Victim) -> None:
        where = f"WHERE match_id = :id AND kind = '{kind}'"
        body = bytearray(connection.execute(text(f"SELECT body FROM league_payload {where}"), victim).scalar_one())
        body[place] ^= 1
        changed = {**victim, "body": bytes(body)}
        connection.execute(text(f"UPDATE league_payload SET body = :body {where}"), changed)

    return run


_GAME = (
    "DELETE FROM league_participant WHERE match_id = :id",
    "DELETE FROM league_match WHERE match_id = :id",
)
_PLAYER = (
    "DELETE FROM league_yearly_stats WHERE puuid = :{0}",
    "DELETE FROM league_yearly_breakdown WHERE puuid = :{0}",
)
_PLAYERS_OWN = tuple(
    f"DELETE FROM league_{table} WHERE puuid = :player"
    for table in ("yearly_stats", "yearly_breakdown", "listing", "watermark", "champion_mastery", "ranked_entry")
)

#: Of one game each.
TO_GAMES = (
    Damage("participants deleted", sql("DELETE FROM league_participant WHERE match_id = :id"), derived=1),
    Damage(
        "one participant deleted",
        sql("DELETE FROM league_participant WHERE match_id = :id AND participant_id = 1"),
        derived=1,
    ),
    Damage(
        "a participant's kills altered",
        sql("UPDATE league_participant SET kills = kills + 7 WHERE match_id = :id AND participant_id = 1"),
        derived=1,
    ),
    Damage(
        "a participant exchanged",
        sql("UPDATE league_participant SET puuid = :player WHERE match_id = :id AND puuid = :other"),
        derived=1,
    ),
    Damage("match row deleted", sql(*_GAME), derived=1),
    Damage("match moved to another year", sql("UPDATE league_match SET year = 2009 WHERE match_id = :id"), derived=1),
    Damage("older derivation", sql("UPDATE league_match SET derivation = 0 WHERE match_id = :id"), derived=1),
    Damage("timeline row deleted", sql("DELETE FROM league_timeline WHERE match_id = :id"), derived=1),
    Damage("timeline altered", sql("UPDATE league_timeline SET event_count = 0 WHERE match_id = :id"), derived=1),
    Damage(
        "match payload deleted", sql("DELETE FROM league_payload WHERE match_id = :id AND kind = 'MATCH'"), fetched=1
    ),
    Damage("both payloads deleted", sql("DELETE FROM league_payload WHERE match_id = :id"), fetched=2),
    Damage("match payload flipped", flip("MATCH"), fetched=1),
    Damage("timeline payload flipped", flip("TIMELINE"), fetched=1),
    Damage(
        "payload hash altered", sql("UPDATE league_payload SET content_sha256 = '' WHERE match_id = :id"), fetched=2
    ),
    Damage("payload size altered", sql("UPDATE league_payload SET size = size + 1 WHERE match_id = :id"), fetched=2),
    Damage(
        "another match's payload",
        sql(
            "UPDATE league_payload SET (body, size, content_sha256) = (SELECT body, size, content_sha256 "
            "FROM league_payload AS o WHERE o.match_id = :other_id AND o.kind = 'MATCH') "
            "WHERE match_id = :id AND kind = 'MATCH'"
        ),
        fetched=1,
    ),
    Damage("fetch pending", sql("UPDATE league_fetch SET state = 'PENDING' WHERE match_id = :id"), mended=2),
    Damage(
        "fetch missing, not due",
        sql("UPDATE league_fetch SET state = 'MISSING', due_at = '2999-01-01', failures = 3 WHERE match_id = :id"),
        mended=2,
    ),
    Damage(
        "fetch failed",
        sql("UPDATE league_fetch SET state = 'FAILED', reason = 'no' WHERE match_id = :id AND kind = 'TIMELINE'"),
        mended=1,
    ),
    Damage("fetch tells of failures", sql("UPDATE league_fetch SET failures = 2 WHERE match_id = :id"), mended=2),
    Damage("fetch removed by hand", sql("UPDATE league_fetch SET state = 'REMOVED' WHERE match_id = :id"), mended=2),
    Damage("fetch rows deleted", sql("DELETE FROM league_fetch WHERE match_id = :id"), mended=2),
    Damage("listing deleted", sql("DELETE FROM league_listing WHERE match_id = :id")),
    Damage(
        "all of a match deleted",
        sql(
            *_GAME,
            *(
                f"DELETE FROM league_{table} WHERE match_id = :id"
                for table in ("timeline", "payload", "fetch", "listing")
            ),
        ),
        fetched=2,
    ),
    Damage(
        "all of a match deleted, its fetches stored",
        sql(*_GAME, *(f"DELETE FROM league_{table} WHERE match_id = :id" for table in ("timeline", "payload"))),
        fetched=2,
    ),
)


#: Of players.
TO_PLAYERS = (
    Damage("statistics altered", sql("UPDATE league_yearly_stats SET wins = wins + 1 WHERE puuid = :player")),
    Damage("another's statistics altered", sql("UPDATE league_yearly_stats SET kda_ratio = 9 WHERE puuid = :other")),
    Damage("statistics deleted", sql("DELETE FROM league_yearly_stats WHERE puuid = :player")),
    Damage("breakdown deleted", sql("DELETE FROM league_yearly_breakdown WHERE puuid = :player")),
    Damage(
        "another's row deleted",
        sql(*(line.format("other") for line in _PLAYER), "DELETE FROM league_summoner WHERE puuid = :other"),
        derived=-1,
    ),
    Damage("watermark deleted", sql("DELETE FROM league_watermark")),
    Damage("masteries deleted", sql("DELETE FROM league_champion_mastery")),
    Damage("the player forgotten", sql(*_PLAYERS_OWN, "DELETE FROM league_summoner WHERE puuid = :player"), derived=-1),
)
#: With another damage beside them these are no contradiction any more, and what they say is believed.
_BELIEVED = ("fetch missing, not due", "fetch removed by hand")
#: Those that may be done in any number and order.
ANY = tuple(damage for damage in (*TO_GAMES, *TO_PLAYERS) if damage.name not in _BELIEVED)


def execute(*statements: str, **values: Any) -> None:
    """Run plain SQL behind the ledger's back."""
    with engine(DOMAIN).begin() as connection:
        for statement in statements:
            connection.execute(text(statement), values)


def apply(damage: Damage, victim: Victim) -> None:
    with engine(DOMAIN).begin() as connection:
        damage.do(connection, victim)


def choose(puuid: str) -> list[Victim]:
    """Matches with a timeline and ten people each, and who is in them."""
    with engine(DOMAIN).begin() as connection:
        whole = connection.execute(
            text(
                "SELECT p.match_id, min(p.puuid) FROM league_participant AS p "
                "JOIN league_timeline AS t ON t.match_id = p.match_id "
                "JOIN league_match AS m ON m.match_id = p.match_id "
                "JOIN league_listing AS l ON l.match_id = p.match_id AND l.puuid = :player "
                "WHERE m.year IS NOT NULL AND p.puuid NOT IN ('BOT', :player) "
                "GROUP BY p.match_id HAVING count(*) = 9 ORDER BY p.match_id"
            ),
            {"player": puuid},
        ).all()
    last = whole[-1].match_id
    return [{"id": match_id, "other_id": last, "player": puuid, "other": other} for match_id, other in whole[:-1]]


def rows() -> str:
    with session(DOMAIN, read_only=True) as opened:
        return dump(opened)


def everything() -> list[str]:
    """All rows of all tables with all columns, our clock's included; damaged payloads do not matter."""
    with session(DOMAIN, read_only=True) as opened:
        return sorted(
            f"{table.name} {tuple(row)}"
            for table in LeagueTable.metadata.sorted_tables
            for row in opened.connection().execute(table.select())
        )


def sync(sandbox: RunningSandbox, **options: Any) -> PlayerSync:
    player = {"game_name": sandbox.player["game_name"], "tag_line": sandbox.player["tag_line"], **options}
    return asyncio.run(sync_player_data.fn(**player))


def recover(sandbox: RunningSandbox, **options: Any) -> RecoveryReport:
    player = {"game_name": sandbox.player["game_name"], "tag_line": sandbox.player["tag_line"], **options}
    return asyncio.run(recover_player_data.fn(**player))


def asked(sandbox: RunningSandbox) -> dict[str, int]:
    """Requests by method since the last reset."""
    found: dict[str, int] = {}
    for route in sandbox.app.truth()["routes"].values():
        for method, record in route["methods"].items():
            found[method] = found.get(method, 0) + record["requests"]
    return found
