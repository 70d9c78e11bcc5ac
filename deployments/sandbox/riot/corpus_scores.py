"""What everyone did in a match: the numbers that statistics are made of, before they are put into a payload."""

from dataclasses import dataclass
from random import Random

from deployments.sandbox.riot.corpus_calendar import Outline
from deployments.sandbox.riot.corpus_players import dice

#: Champions as payloads call them.
CHAMPIONS = {
    1: "Annie", 2: "Olaf", 4: "TwistedFate", 5: "XinZhao", 11: "MasterYi", 12: "Alistar", 16: "Soraka", 17: "Teemo",
    22: "Ashe", 25: "Morgana", 31: "Chogath", 36: "DrMundo", 40: "Janna", 48: "Trundle", 51: "Caitlyn", 54: "Malphite",
    59: "JarvanIV", 62: "MonkeyKing", 64: "LeeSin", 67: "Vayne", 76: "Nidalee", 81: "Ezreal", 86: "Garen", 89: "Leona",
    90: "Malzahar", 99: "Lux", 103: "Ahri", 121: "Khazix", 136: "AurelionSol", 145: "Kaisa", 157: "Yasuo", 201: "Braum",
    222: "Jinx", 223: "TahmKench", 236: "Lucian", 254: "Vi", 266: "Aatrox", 350: "Yuumi", 412: "Thresh", 777: "Yone",
    887: "Gwen", 897: "KSante", 950: "Naafiri",
}  # fmt: skip
_IDS = tuple(CHAMPIONS)
#: Individual position, role and lane, in the order of a team.
POSITIONS = (
    ("TOP", "SOLO", "TOP"), ("JUNGLE", "NONE", "JUNGLE"), ("MIDDLE", "SOLO", "MIDDLE"), ("BOTTOM", "CARRY", "BOTTOM"),
    ("UTILITY", "SUPPORT", "BOTTOM"),
)  # fmt: skip


@dataclass
class Score:
    """One participant's line."""

    participant_id: int
    #: The player's index; None for a bot.
    player: int | None
    team: int
    champion: int
    #: Team position, individual position, role, lane.
    place: tuple[str, str, str, str]
    win: bool
    subteam: int = 0
    placement: int = 0
    kills: int = 0
    deaths: int = 0
    assists: int = 0
    gold: int = 0
    minions: int = 0
    neutral: int = 0
    damage: int = 0
    vision: int = 0
    level: int = 1

    @property
    def side(self) -> int:
        """Who plays with whom: the team, and in Arena the team of two."""
        return self.subteam or -self.team


def scores_of(seed: int, outline: Outline) -> list[Score]:
    """Everyone's line; nobody's where the match was aborted before it began."""
    if outline.kind == "empty":
        return []
    die = dice(seed, "scores", outline.match_id)
    if outline.kind == "arena":
        scores = _arena(die, outline)
    elif outline.kind.startswith("swarm"):
        won = die.random() < 0.4
        scores = [
            Score(number, player, 100, die.choice(_IDS), ("", "Invalid", "SUPPORT", "NONE"), won)
            for number, player in enumerate(outline.roster, 1)
        ]
    else:
        scores = _two_teams(die, outline)
    _prefer(seed, die, scores)
    for score in scores:
        _play(die, outline, score)
    _trade(die, scores)
    return scores


def _prefer(seed: int, die: Random, scores: list[Score]) -> None:
    """Players mostly play one of a few champions, if nobody else has it."""
    taken = {score.champion for score in scores}
    for score in scores:
        if score.player is None or die.random() > 0.8:
            continue
        favourites = dice(seed, "favourites", score.player).sample(_IDS, 7)
        wanted = favourites[min(int(die.expovariate(0.5)), 6)]
        if wanted not in taken:
            taken.add(wanted)
            score.champion = wanted


def _arena(die: Random, outline: Outline) -> list[Score]:
    """Eight teams of two, of which the first four places win; a big team means nothing."""
    champions = die.sample(_IDS, len(outline.roster))
    places = die.sample(range(1, 9), 8)
    return [
        Score(
            participant_id=number + 1,
            player=player,
            team=100 if number < 8 else 200,
            champion=champions[number],
            place=("", "Invalid", die.choice(("SOLO", "DUO", "SUPPORT")), die.choice(("TOP", "BOTTOM", "JUNGLE"))),
            win=places[number // 2] <= 4,
            subteam=number // 2 + 1,
            placement=places[number // 2],
        )
        for number, player in enumerate(outline.roster)
    ]


def _two_teams(die: Random, outline: Outline) -> list[Score]:
    """Two teams of equal size; in bot games the other one is bots."""
    players: list[int | None] = list(outline.roster)
    if outline.kind == "bots":
        players += [None] * 5
    half = len(players) // 2
    champions = die.sample(_IDS, len(players))
    winner = 100 if outline.kind == "bots" or die.random() < 0.5 else 200
    scores = []
    for number, player in enumerate(players):
        team = 100 if number < half else 200
        position, role, lane = POSITIONS[number % half]
        if outline.kind == "aram":
            place = ("", "Invalid", die.choice(("DUO", "SUPPORT", "CARRY")), die.choice(("MIDDLE", "BOTTOM")))
        elif outline.kind == "remake":
            place = ("", "Invalid", role, lane)
        else:
            # Riot guesses role and lane from where somebody stood; the guess is off now and then.
            place = (position, position, *((role, lane) if die.random() < 0.8 else ("DUO", "NONE")))
        scores.append(Score(number + 1, player, team, champions[number], place, team == winner))
    return scores


def _play(die: Random, outline: Outline, score: Score) -> None:
    """Gold, minions and damage, in keeping with how long it took."""
    minutes = outline.duration / 60_000
    jungle, support = score.place[0] == "JUNGLE", score.place[0] == "UTILITY"
    draw = die.random
    score.gold = int(500 + minutes * (230 + 220 * draw()))
    if outline.queue not in (1700, 1810, 1820, 1830):
        score.minions = int(minutes * (1.2 if jungle or support else 6.5) * (0.6 + 0.6 * draw()))
        score.neutral = int(minutes * (5.5 if jungle else 0.4) * (0.5 + 0.8 * draw()))
        score.vision = int(minutes * (2.0 if support else 0.8) * (0.4 + draw()))
    score.damage = int(minutes * (250 + 800 * draw()))
    score.level = min(18, max(1, int(1 + minutes * 0.55 + 2 * draw())))


def _trade(die: Random, scores: list[Score]) -> None:
    """Kills, and for each a death on another team and up to two assists."""
    for killer in scores:
        enemies = [other for other in scores if other.side != killer.side]
        friends = [other for other in scores if other.side == killer.side and other is not killer]
        if not enemies:
            # Swarm: monsters neither die nor kill in these columns' sense, yet somebody falls now and then.
            killer.deaths = int(3 * die.random())
            continue
        for _ in range(int(min(4.0, killer.gold / 2500) * 2.5 * die.random() ** 1.3)):
            killer.kills += 1
            enemies[int(die.random() * len(enemies))].deaths += 1
            for friend in friends:
                if die.random() < 0.35:
                    friend.assists += 1
