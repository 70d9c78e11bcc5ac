"""Payloads of timelines: half a megabyte each, and yet hardly any work.

The frames of a game come from a few patterns that are made and compressed once, each up to an hour long. A timeline is
a head of its own (match id, players), the pattern's frames up to the game's last minute, and a tail of its own. The
compressed form is put together likewise: DEFLATE allows it where each part begins at a byte and refers to nothing
before itself, and only the checksum at the end has to be computed anew.
"""

import struct
import zlib
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import orjson

from deployments.sandbox.riot.corpus_calendar import Outline
from deployments.sandbox.riot.corpus_players import dice

MINUTE = 60_000
LONGEST = 60
#: How many patterns there are for each number of players.
VARIANTS = 4
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_STATS = {
    "abilityHaste": 60, "abilityPower": 300, "armor": 150, "armorPen": 20, "armorPenPercent": 0, "attackDamage": 250,
    "attackSpeed": 190, "bonusArmorPenPercent": 0, "bonusMagicPenPercent": 0, "ccReduction": 20, "cooldownReduction": 0,
    "health": 2500, "healthMax": 3200, "healthRegen": 150, "lifesteal": 10, "magicPen": 15, "magicPenPercent": 0,
    "magicResist": 110, "movementSpeed": 400, "omnivamp": 5, "physicalVamp": 0, "power": 900, "powerMax": 1200,
    "powerRegen": 60, "spellVamp": 0,
}  # fmt: skip
_WARDS = ("YELLOW_TRINKET", "CONTROL_WARD", "SIGHT_WARD", "BLUE_TRINKET")


@dataclass(frozen=True)
class _Pattern:
    """Frames from the second on, joined and compressed, and where each ends in either form."""

    plain: bytes
    packed: bytes
    plain_ends: tuple[int, ...]
    packed_ends: tuple[int, ...]


@dataclass(frozen=True)
class Encoded:
    """A body as it is sent with and without compression."""

    plain: bytes
    gzipped: bytes

    @property
    def size(self) -> int:
        """Bytes of both."""
        return len(self.plain) + len(self.gzipped)


def timeline_payload(outline: Outline, *, puuids: list[str], frames: int) -> Encoded:
    """What `.../timeline` answers under the key that has these puuids; `frames` is the most it has."""
    humans = [puuids[player] for player in outline.roster]
    metadata = {"dataVersion": "2", "matchId": outline.match_id, "participants": humans}
    end = {"realTimestamp": outline.start + outline.duration, "timestamp": outline.duration, "type": "GAME_END"}
    if outline.kind == "empty":
        events = [{**end, "gameId": outline.game_id, "winningTeam": 0}]
        info = {
            "endOfGameResult": "Abort_Unexpected",
            "frameInterval": 0,
            "frames": [{"events": events, "participantFrames": None, "timestamp": 0}],
            "gameId": 0,
            "participants": [],
        }
        plain = orjson.dumps({"metadata": metadata, "info": info})
        return Encoded(plain, join_gzip([(plain, None)]))
    bots = ["BOT"] * 5 if outline.kind == "bots" else []
    players = [{"participantId": number, "puuid": puuid} for number, puuid in enumerate([*humans, *bots], 1)]
    # The first frame and the last are the match's own.
    between = max(0, min(frames - 2, outline.duration // MINUTE, LONGEST))
    pattern = _pattern(len(players), outline.game_id % VARIANTS)
    begin = {"realTimestamp": outline.start, "timestamp": 0, "type": "PAUSE_END"}
    die = dice("frames", outline.match_id)
    head = orjson.dumps({"metadata": metadata})[:-1] + b',"info":'
    result = b"" if outline.start < 1_704_067_200_000 else b'"endOfGameResult":"GameComplete",'
    if outline.kind == "aborted":
        result = b'"endOfGameResult":"Abort_Unexpected",'
    head += b"{" + result + b'"frameInterval":60000,"frames":[' + orjson.dumps(_frame(die, len(players), 0, [begin]))
    last = _frame(die, len(players), outline.duration, [{**end, "gameId": outline.game_id, "winningTeam": 100}])
    tail = (
        b"," + orjson.dumps(last) + b'],"gameId":%d,"participants":' % outline.game_id + orjson.dumps(players) + b"}}"
    )
    middle = pattern.plain[: pattern.plain_ends[between]]
    packed = pattern.packed[: pattern.packed_ends[between]]
    return Encoded(head + middle + tail, join_gzip([(head, None), (middle, packed), (tail, None)]))


def join_gzip(parts: list[tuple[bytes, bytes | None]]) -> bytes:
    """One gzip stream of parts; those that are compressed already (raw, flushed) are taken as they are."""
    stream, checksum, size = [_GZIP_HEAD], 0, 0
    for number, (plain, packed) in enumerate(parts):
        if packed is None:
            packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
            packed = packer.compress(plain)
            packed += packer.flush(zlib.Z_FINISH if number == len(parts) - 1 else zlib.Z_FULL_FLUSH)
        stream.append(packed)
        checksum, size = zlib.crc32(plain, checksum), size + len(plain)
    stream.append(struct.pack("<II", checksum, size & 0xFFFFFFFF))
    return b"".join(stream)


@cache
def _pattern(players: int, variant: int) -> _Pattern:
    die = dice("timeline", players, variant)
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    plain, packed = bytearray(), bytearray()
    plain_ends, packed_ends = [0], [0]
    for minute in range(1, LONGEST + 1):
        events = _events(die, players, minute)
        frame = b"," + orjson.dumps(_frame(die, players, minute * MINUTE + die.randint(0, 40), events))
        plain += frame
        # Flushed, the stream may be cut after any frame.
        packed += packer.compress(frame) + packer.flush(zlib.Z_SYNC_FLUSH)
        plain_ends.append(len(plain))
        packed_ends.append(len(packed))
    return _Pattern(bytes(plain), bytes(packed), tuple(plain_ends), tuple(packed_ends))


def _frame(die: Random, players: int, timestamp: int, events: list[dict[str, Any]]) -> dict[str, Any]:
    minute = timestamp / MINUTE
    return {
        "events": events,
        "participantFrames": {str(number): _standing(die, number, minute) for number in range(1, players + 1)},
        "timestamp": timestamp,
    }


def _standing(die: Random, number: int, minute: float) -> dict[str, Any]:
    """Where one player stands after some minutes."""
    draw = die.random
    grown = min(1.0, 0.2 + minute / 35)
    damage: dict[str, int] = {}
    for suffix, scale in (("Done", 4500), ("DoneToChampions", 600), ("Taken", 900)):
        parts = {kind: int(minute * scale * draw()) for kind in ("magic", "physical", "true")}
        damage |= {f"{kind}Damage{suffix}": value for kind, value in parts.items()}
        damage[f"totalDamage{suffix}"] = sum(parts.values())
    gold = int(500 + minute * (300 + 120 * draw()))
    return {
        "championStats": {name: int(most * grown * (0.5 + draw() / 2)) for name, most in _STATS.items()},
        "currentGold": int(gold * draw() * 0.3),
        "damageStats": damage,
        "goldPerSecond": 0,
        "jungleMinionsKilled": int(minute * draw()),
        "level": min(18, 1 + int(minute * 0.55)),
        "minionsKilled": int(minute * 6 * draw()),
        "participantId": number,
        "position": {"x": int(14_800 * draw()), "y": int(14_800 * draw())},
        "timeEnemySpentControlled": int(minute * 9000 * draw()),
        "totalGold": gold,
        "xp": int(minute * (420 + 120 * draw())),
    }


def _events(die: Random, players: int, minute: int) -> list[dict[str, Any]]:
    """What happened in a minute, in order."""

    def pick() -> int:
        return die.randint(1, players)

    drawn: list[dict[str, Any]] = []
    for _ in range(die.randint(players // 2, players)):
        drawn.append({"creatorId": pick(), "type": "WARD_PLACED", "wardType": die.choice(_WARDS)})
        drawn.append(
            {"itemId": die.choice((1036, 1052, 2003, 2055, 3006)), "participantId": pick(), "type": "ITEM_PURCHASED"}
        )
    for _ in range(die.randint(players // 3, players)):
        drawn.append({"itemId": 2003, "participantId": pick(), "type": "ITEM_DESTROYED"})
        player = pick()
        drawn.append({"level": min(18, 1 + minute // 2), "participantId": player, "type": "LEVEL_UP"})
        drawn.append(
            {"levelUpType": "NORMAL", "participantId": player, "skillSlot": die.randint(1, 4), "type": "SKILL_LEVEL_UP"}
        )
    drawn += [
        {"killerId": pick(), "type": "WARD_KILL", "wardType": die.choice(_WARDS)} for _ in range(die.randint(0, 3))
    ]
    for _ in range(die.randint(0, 3) if players > 3 else 0):
        drawn.append(_kill(die, players))
    if players >= 10 and minute in (14, 20, 26):
        drawn.append(
            {
                "bounty": 0,
                "buildingType": "TOWER_BUILDING",
                "killerId": pick(),
                "laneType": die.choice(("TOP_LANE", "MID_LANE", "BOT_LANE")),
                "position": {"x": 10_504, "y": 1029},
                "teamId": die.choice((100, 200)),
                "towerType": "OUTER_TURRET",
                "type": "BUILDING_KILL",
            }
        )
    moments = sorted(die.randint((minute - 1) * MINUTE, minute * MINUTE) for _ in drawn)
    die.shuffle(drawn)
    for moment, event in zip(moments, drawn, strict=True):
        event["timestamp"] = moment
    return drawn


def _kill(die: Random, players: int) -> dict[str, Any]:
    """One champion's death, with what was dealt and received before."""
    killer, victim = die.sample(range(1, players + 1), 2)

    def blows(source: int, count: int) -> list[dict[str, Any]]:
        return [
            {
                "basic": die.random() < 0.4,
                "magicDamage": int(200 * die.random()),
                "name": die.choice(("Garen", "Jinx", "Lux", "Thresh", "Vi")),
                "participantId": source,
                "physicalDamage": int(300 * die.random()),
                "spellName": die.choice(("", "powerball", "lightbinding", "ascendance")),
                "spellSlot": die.randint(-1, 3),
                "trueDamage": int(40 * die.random()),
                "type": "OTHER",
            }
            for _ in range(count)
        ]

    return {
        "assistingParticipantIds": [number for number in range(1, players + 1) if number not in (killer, victim)][:2],
        "bounty": 300,
        "killStreakLength": die.randint(0, 4),
        "killerId": killer,
        "position": {"x": int(14_800 * die.random()), "y": int(14_800 * die.random())},
        "shutdownBounty": 0,
        "type": "CHAMPION_KILL",
        "victimDamageDealt": blows(victim, die.randint(2, 7)),
        "victimDamageReceived": blows(killer, die.randint(4, 10)),
        "victimId": victim,
    }
