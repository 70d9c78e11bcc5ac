"""The players: who they are, where they live, what they were called when, and their puuids under each key."""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field
from random import Random

from deployments.sandbox.riot.options import REGION_OF, SandboxOptions

MAIN, IDLE, TWIN, OTHER_TWIN = 0, 1, 2, 3
BOT = "BOT"
#: Players who live away from the main player's platform do so on these, as far as they differ from it.
PLATFORMS = ("na1", "euw1", "kr", "jp1", "oc1")
_FIRST = (
    "Silent", "Röde", "Little", "Ünder", "Moon", "雪", "Gold", "Très", "Iron", "Кот", "Lucky", "바람", "Salty", "Dr",
    "El", "Night", "Ōkami", "Zed", "Blue", "Turbo",
)  # fmt: skip
_SECOND = (
    "Fox", "Bär", "Carry", "Ñandú", "Wolf", "の 夢", "Mage", "Café", "Yordle", "Лис", "Poro", "왕", "Jungler", "Støv",
    "Gato", "Owl", "Ziege", "Main", "Whale", "Ghost",
)  # fmt: skip


def dice(*parts: object) -> Random:
    """A source of numbers that the parts decide."""
    return Random("/".join(map(str, parts)))  # noqa: S311 - no secret depends on it


def puuid_of(key: str, seed: int, player: int) -> str:
    """What a player is called under a key: 78 characters, as at Riot."""
    digest = hmac.new(key.encode(), f"puuid/{seed}/{player}".encode(), hashlib.sha512).digest()
    return base64.urlsafe_b64encode(digest[:58]).decode().rstrip("=")


def summoner_id_of(puuid: str) -> str:
    """The 47 characters that old payloads call a summoner by."""
    return base64.urlsafe_b64encode(hashlib.sha512(puuid.encode()).digest()[:35]).decode().rstrip("=")


@dataclass(frozen=True)
class RiotId:
    """A name that was borne from a moment on."""

    since: int
    game_name: str
    tag_line: str

    @property
    def folded(self) -> tuple[str, str]:
        """The form in which Riot IDs are compared: case does not matter."""
        return self.game_name.casefold(), self.tag_line.casefold()


@dataclass
class Player:
    """One player; moments are milliseconds of the Unix epoch."""

    index: int
    platform: str
    names: list[RiotId]
    level: int
    icon: int

    def called(self, at: int) -> RiotId:
        """The Riot ID at a moment."""
        return next((name for name in reversed(self.names) if name.since <= at), self.names[0])


@dataclass
class Players:
    """All players of a corpus."""

    seed: int
    everyone: list[Player]
    _indices: dict[str, dict[str, int]] = field(default_factory=dict)
    _puuids: dict[str, list[str]] = field(default_factory=dict)

    def puuids(self, key: str) -> list[str]:
        """Everyone's puuid under a key, by player."""
        if key not in self._puuids:
            self._puuids[key] = [puuid_of(key, self.seed, player.index) for player in self.everyone]
            self._indices[key] = {puuid: index for index, puuid in enumerate(self._puuids[key])}
        return self._puuids[key]

    def by_puuid(self, key: str, puuid: str) -> Player | None:
        """The player whom a key calls so; None for what another key's puuid decrypts to."""
        self.puuids(key)
        index = self._indices[key].get(puuid)
        return None if index is None else self.everyone[index]

    def by_riot_id(self, game_name: str, tag_line: str) -> Player | None:
        """The player who bears a Riot ID now."""
        wanted = game_name.casefold(), tag_line.casefold()
        return next((player for player in self.everyone if player.names[-1].folded == wanted), None)

    def rename(self, player: Player, game_name: str, tag_line: str, *, since: int) -> None:
        """Give a player another Riot ID from a moment on."""
        player.names.append(RiotId(since, game_name, tag_line))

    def living(self, region: str) -> list[int]:
        """Players of a region who play, without the main player and the twins."""
        return [
            player.index
            for player in self.everyone
            if player.index > OTHER_TWIN and REGION_OF[player.platform] == region
        ]


def make_players(options: SandboxOptions, first: int, last: int) -> Players:
    """Everyone, with names that changed between the two moments."""
    elsewhere = [platform for platform in PLATFORMS if REGION_OF[platform] != REGION_OF[options.platform]]
    everyone = [
        _player(options, index, first, last, elsewhere if options.players >= 150 else [])
        for index in range(options.players)
    ]
    return Players(options.seed, everyone)


def _player(options: SandboxOptions, index: int, first: int, last: int, elsewhere: list[str]) -> Player:
    die = dice(options.seed, "player", index)
    platform = options.platform
    if index > OTHER_TWIN and elsewhere and index % 2:
        platform = elsewhere[index // 2 % len(elsewhere)]
    tag = platform.upper()[:5]
    level, icon = die.randint(30, 900), die.randint(1, 6500)
    if index == MAIN:
        names = [RiotId(0, options.game_name, options.tag_line)]
    elif index == IDLE:
        names = [RiotId(0, "Never Played", "IDLE")]
    elif index in (TWIN, OTHER_TWIN):
        names = [RiotId(0, "Twin Peak", "ONE" if index == TWIN else "TWO")]
    else:
        moments = [0, *sorted(die.randint(first, last) for _ in range(die.choice((0, 0, 0, 0, 1, 2))))]
        names = [
            RiotId(
                since, f"{die.choice(_FIRST)} {die.choice(_SECOND)} {index}"[:16], tag if not turn else f"{tag}{turn}"
            )
            for turn, since in enumerate(moments)
        ]
    return Player(index, platform, names, level, icon)
