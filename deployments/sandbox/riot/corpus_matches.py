"""Payloads of matches, as Riot sends them, from 2021's form to today's.

Numbers that no statistics are made of come from a few patterns that are drawn once; a payload costs about a
millisecond, since what asks for it runs on the same machine.
"""

from collections import Counter
from datetime import UTC, datetime
from functools import cache
from random import Random
from typing import Any

from deployments.sandbox.riot import corpus_fields as names
from deployments.sandbox.riot.corpus_calendar import KINDS, Outline
from deployments.sandbox.riot.corpus_players import BOT, Player, dice, summoner_id_of
from deployments.sandbox.riot.corpus_scores import CHAMPIONS, Score

PATTERNS = 48
Json = dict[str, Any]


def year_of(milliseconds: int) -> int:
    """The UTC year of a moment."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).year


def version_of(milliseconds: int) -> str:
    """The game version of a day: one every two weeks."""
    day = datetime.fromtimestamp(milliseconds / 1000, UTC)
    patch = (day.timetuple().tm_yday - 1) // 14 + 1
    return f"{day.year - 2010}.{min(patch, 24)}.{day.year % 100 * 20 + patch}.{1000 + day.timetuple().tm_yday * 7}"


def match_payload(
    outline: Outline, scores: list[Score], *, everyone: list[Player], puuids: list[str], seed: int
) -> Json:
    """What `/lol/match/v5/matches/{matchId}` answers under the key that has these puuids."""
    humans = [puuids[player] for player in outline.roster]
    metadata = {"dataVersion": "2", "matchId": outline.match_id, "participants": humans}
    if outline.kind == "empty":
        return {"metadata": metadata, "info": _empty(outline)}
    die = dice(seed, "match", outline.match_id)
    year = year_of(outline.start)
    _queue, map_id, mode, _places = KINDS[outline.kind]
    info: Json = {
        "endOfGameResult": "Abort_Unexpected" if outline.kind == "aborted" else "GameComplete",
        "gameCreation": outline.creation,
        "gameDuration": outline.duration // 1000,
        # Loading and pauses count here, and nowhere else.
        "gameEndTimestamp": outline.start + outline.duration + die.randint(500, 40_000),
        "gameId": outline.game_id,
        "gameMode": mode,
        "gameName": f"teambuilder-match-{outline.game_id}",
        "gameStartTimestamp": outline.start,
        "gameType": "CUSTOM_GAME" if outline.kind == "custom" else "MATCHED_GAME",
        "gameVersion": version_of(outline.start),
        "mapId": map_id,
        "participants": [_participant(outline, score, year, die, everyone=everyone, puuids=puuids) for score in scores],
        "platformId": outline.platform.upper(),
        "queueId": outline.queue,
        "teams": _teams(outline, scores, year, die),
        "tournamentCode": "",
    }
    _share_kills(info["participants"], scores)
    if year < 2024:
        del info["endOfGameResult"]
    if outline.kind == "old-milliseconds":
        del info["gameEndTimestamp"]
        info["gameDuration"] = outline.duration
    return {"metadata": metadata, "info": info}


def _empty(outline: Outline) -> Json:
    """A game that was aborted before it began: Riot knows next to nothing of it."""
    return {
        "endOfGameResult": "Abort_Unexpected",
        "gameCreation": 0,
        "gameDuration": 0,
        "gameEndTimestamp": outline.start + 7000,
        "gameId": 0,
        "gameMode": "",
        "gameName": "",
        "gameStartTimestamp": 0,
        "gameType": "",
        "gameVersion": "",
        "mapId": 0,
        "participants": [],
        "platformId": "",
        "queueId": 0,
        "teams": [],
        "tournamentCode": "",
    }


@cache
def _pattern(number: int, year: int) -> Json:
    """All fields of a participant but those that a score, a name or the match decides, as of a year."""
    die = dice("pattern", number)
    filled: Json = {
        name: int(most * die.random()) if most > 3 else die.randint(0, most) for name, most in names.COUNTS.items()
    }
    filled |= {name: die.random() < 0.1 for name in names.FLAGS}
    filled |= {f"item{slot}": die.choice(names.ITEMS) for slot in range(6)}
    filled |= {"item6": die.choice(names.TRINKETS), "championTransform": 0, "eligibleForProgression": True}
    filled |= {"profileIcon": die.randint(1, 6500), "summonerLevel": die.randint(30, 900), "perks": _perks(die)}
    filled |= {"summoner1Id": die.choice(names.SPELLS), "summoner2Id": die.choice(names.SPELLS)}
    filled |= {"teamEarlySurrendered": False, "gameEndedInEarlySurrender": False}
    if year < 2023:
        for name in names.SINCE_2023:
            del filled[name]
    if year < 2024:
        filled |= {"baitPings": 0, "bountyLevel": die.randint(0, 6)}
    else:
        filled |= {f"playerAugment{slot}": 0 for slot in range(1, 7)}
        filled |= {"retreatPings": 0, "missions": {f"playerScore{slot}": 0 for slot in range(12)}}
        filled |= {"placement": 0, "playerSubteamId": 0, "subteamPlacement": 0}
        filled |= {"totalAllyJungleMinionsKilled": 0, "totalEnemyJungleMinionsKilled": 0}
    if year >= 2026:
        filled |= {f"PlayerScore{slot}": 0 for slot in range(12)}
        filled |= {"PlayerBehavior": {"PlayerBehavior_IsHeroInCombat": 0}, "roleBoundItem": 1221}
        filled |= {"damageDealtToEpicMonsters": int(9000 * die.random())}
    return filled


@cache
def _challenges(number: int) -> Json:
    die = dice("challenges", number)
    filled: Json = {name: int(3 * die.random()) for name in names.CHALLENGE_COUNTS}
    filled |= {name: die.randint(0, 1) for name in names.CHALLENGE_FLAGS}
    filled |= {name: most * die.random() for name, most in names.CHALLENGE_RATES.items()}
    return filled | {"abilityUses": die.randint(100, 700), "legendaryItemUsed": [6655, 2522]}


def _perks(die: Random) -> Json:
    first, second = die.sample(list(names.RUNES), 2)

    def chosen(runes: tuple[int, ...]) -> list[Json]:
        return [{"perk": rune, "var1": int(1500 * die.random()), "var2": 0, "var3": 0} for rune in runes]

    return {
        "statPerks": {"defense": 5011, "flex": 5008, "offense": 5005},
        "styles": [
            {"description": "primaryStyle", "selections": chosen(names.RUNES[first]), "style": first},
            {"description": "subStyle", "selections": chosen(names.RUNES[second][1:3]), "style": second},
        ],
    }


def _participant(
    outline: Outline, score: Score, year: int, die: Random, *, everyone: list[Player], puuids: list[str]
) -> Json:
    number = int(die.random() * PATTERNS)
    seconds = outline.duration // 1000
    minutes = max(seconds, 1) / 60
    team_position, individual_position, role, lane = score.place
    remake = outline.kind == "remake"
    dto = _pattern(number, year) | {
        "assists": score.assists,
        "champLevel": score.level,
        "championId": score.champion,
        "championName": CHAMPIONS[score.champion],
        "deaths": score.deaths,
        "gameEndedInEarlySurrender": remake,
        "gameEndedInSurrender": not remake and outline.game_id % 5 == 0,
        "goldEarned": score.gold,
        "individualPosition": individual_position,
        "kills": score.kills,
        "lane": lane,
        "neutralMinionsKilled": score.neutral,
        "participantId": score.participant_id,
        "role": role,
        "teamEarlySurrendered": remake and not score.win,
        "teamId": score.team,
        "teamPosition": team_position,
        "timePlayed": seconds,
        "totalDamageDealtToChampions": score.damage,
        "totalMinionsKilled": score.minions,
        "visionScore": score.vision,
        "win": score.win,
    }
    if outline.kind == "arena":
        dto |= {"placement": score.placement, "playerSubteamId": score.subteam, "subteamPlacement": score.placement}
        dto |= {"playerAugment1": 92, "playerAugment2": 80, "summoner1Id": 2201, "summoner2Id": 2202}
    if year >= 2022:
        takedowns = score.kills + score.assists
        dto["challenges"] = _challenges(number) | {
            "damagePerMinute": score.damage / minutes,
            "deathsByEnemyChamps": score.deaths,
            "gameLength": outline.duration / 1000,
            "goldPerMinute": score.gold / minutes,
            "kda": takedowns / max(score.deaths, 1),
            "takedowns": takedowns,
        }
    return dto | _identity(outline, score, year, everyone=everyone, puuids=puuids)


def _share_kills(participants: list[Json], scores: list[Score]) -> None:
    """Who had a part in how many of the team's kills; not said where there were none."""
    kills: Counter[int] = Counter()
    for score in scores:
        kills[score.side] += score.kills
    for each, score in zip(participants, scores, strict=True):
        if "challenges" in each and kills[score.side]:
            each["challenges"]["killParticipation"] = (score.kills + score.assists) / kills[score.side]


def _identity(outline: Outline, score: Score, year: int, *, everyone: list[Player], puuids: list[str]) -> Json:
    """Who it was, as payloads of the year say it."""
    if score.player is None:
        found = {"puuid": BOT, "summonerId": BOT, "summonerName": f"{CHAMPIONS[score.champion]} bot"}
        return found if year < 2023 else found | {"riotIdGameName": "", "riotIdTagline": ""}
    puuid, called = puuids[score.player], everyone[score.player].called(outline.start)
    found = {"puuid": puuid, "summonerId": summoner_id_of(puuid)}
    if year < 2023:
        return found | {"summonerName": called.game_name}
    if year == 2023:
        # For a year the game name was there under another name, and the tagline mostly empty.
        return found | {"riotIdName": called.game_name, "riotIdTagline": "", "summonerName": called.game_name}
    return found | {
        "riotIdGameName": called.game_name,
        "riotIdTagline": called.tag_line,
        "summonerName": called.game_name if year == 2024 else "",
    }


def _teams(outline: Outline, scores: list[Score], year: int, die: Random) -> list[Json]:
    sides = [100] if outline.kind.startswith("swarm") else [100, 0] if outline.kind == "arena" else [100, 200]
    rift = outline.kind not in ("arena", "aram") and len(sides) == 2
    teams = []
    for side in sides:
        members = [score for score in scores if score.team == side] if rift or side != 100 else scores
        objectives: Json = {
            name: {"first": rift and die.random() < 0.5, "kills": die.randint(0, most) if rift else 0}
            for name, most in names.OBJECTIVES.items()
            if name != "horde" or year >= 2024
        }
        objectives["champion"] = {"first": side == 100, "kills": sum(score.kills for score in members)}
        banned = die.sample(list(CHAMPIONS), 5) if outline.queue in (400, 420, 440) else []
        turn = 1 if side == 100 else 6
        won = next((score.win for score in scores if score.team == side), False)
        team: Json = {
            "bans": [{"championId": champion, "pickTurn": turn + place} for place, champion in enumerate(banned)],
            "objectives": objectives,
            "teamId": side,
            "win": won if outline.kind != "arena" else side == 100,
        }
        if year >= 2025:
            team["feats"] = {name: {"featState": 0} for name in names.FEATS}
            team["objectives"]["atakhan"] = {"first": False, "kills": 0}
        teams.append(team)
    return teams
