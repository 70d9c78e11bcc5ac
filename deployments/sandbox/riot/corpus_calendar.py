"""Which matches there were: when, where, of what kind, and who took part. Cheap; payloads are made when asked for."""

import time
from bisect import insort
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from deployments.sandbox.riot.corpus_players import MAIN, OTHER_TWIN, TWIN, Players, dice
from deployments.sandbox.riot.options import REGION_OF, OptionError, SandboxOptions

Availability = Literal["here", "late", "missing"]

DAY = 86_400_000
YEARS = 3
#: Queue, map, mode and players of each kind of match; New Year and twins are solo games.
KINDS: dict[str, tuple[int, int, str, int]] = {
    "solo": (420, 11, "CLASSIC", 10),
    "flex": (440, 11, "CLASSIC", 10),
    "draft": (400, 11, "CLASSIC", 10),
    "blind": (430, 11, "CLASSIC", 10),
    "quickplay": (490, 11, "CLASSIC", 10),
    "aram": (450, 12, "ARAM", 10),
    "arena": (1700, 30, "CHERRY", 16),
    "swarm-solo": (1810, 33, "STRAWBERRY", 1),
    "swarm-duo": (1820, 33, "STRAWBERRY", 2),
    "swarm-trio": (1830, 33, "STRAWBERRY", 3),
    "bots": (850, 11, "CLASSIC", 10),
    "custom": (0, 11, "CLASSIC", 2),
    "remake": (420, 11, "CLASSIC", 10),
    "aborted": (420, 11, "CLASSIC", 10),
    "empty": (420, 11, "CLASSIC", 10),
    "twins": (420, 11, "CLASSIC", 10),
    "old-milliseconds": (420, 11, "CLASSIC", 10),
    "old-names": (420, 11, "CLASSIC", 10),
    "old-year": (420, 11, "CLASSIC", 10),
    "new-year": (420, 11, "CLASSIC", 10),
    "over-new-year": (450, 12, "ARAM", 10),
    "elsewhere": (420, 11, "CLASSIC", 10),
}
_USUAL = ("solo", "flex", "draft", "blind", "quickplay", "aram")
_WEIGHTS = (50, 10, 10, 5, 10, 15)
#: One of each among the main player's matches; the first ones where the matches are too few for all.
EDGES = (
    "arena", "bots", "empty", "twins", "remake", "old-year", "new-year", "over-new-year", "aborted", "swarm-solo",
    "swarm-duo", "swarm-trio", "elsewhere", "old-milliseconds", "old-names", "custom", "old-milliseconds", "old-names",
    "elsewhere", "arena",
)  # fmt: skip
#: Neighbours on the same regional route, where the main player once played.
NEIGHBOUR = {"americas": ("la1", "br1"), "europe": ("eun1", "tr1"), "asia": ("jp1", "kr"), "sea": ("sg2", "vn2")}
REGIONS = ("americas", "europe", "asia", "sea")


@dataclass(frozen=True)
class Outline:
    """A match before its payload is made; moments are milliseconds of the Unix epoch."""

    match_id: str
    platform: str
    #: The regional route that lists it; its own is `REGION_OF[platform]`.
    listed_on: str
    kind: str
    creation: int
    start: int
    #: Milliseconds.
    duration: int
    #: Players by index, bots left out.
    roster: tuple[int, ...]
    match: Availability
    timeline: Availability

    @property
    def game_id(self) -> int:
        """The number in the match id."""
        return int(self.match_id.partition("_")[2])

    @property
    def queue(self) -> int:
        """Riot's number; bot games got another one in March 2024."""
        return 890 if self.kind == "bots" and self.start >= 1_710_460_800_000 else KINDS[self.kind][0]


class Calendar:
    """All matches of a corpus, by id and by player."""

    def __init__(self, options: SandboxOptions, players: Players, first: int, last: int) -> None:
        self._options = options
        self._players = players
        self._pools = {region: players.living(region) for region in REGIONS}
        self._seconds: set[int] = set()
        self.first, self.last = first, last
        self.by_id: dict[str, Outline] = {}
        self._of_player: dict[int, list[tuple[int, str]]] = {player.index: [] for player in players.everyone}
        self._fill()

    def of(self, player: int) -> list[Outline]:
        """A player's matches, newest first."""
        return [self.by_id[match_id] for _start, match_id in reversed(self._of_player[player])]

    def play(self, player: int, count: int, at: int | None) -> list[Outline]:
        """Add matches, an hour apart up to a moment or, without one, up to now; gives them newest first."""
        newest = int(time.time() * 1000) if at is None else at
        played = []
        for left in reversed(range(count)):
            die = dice(self._options.seed, "play", len(self.by_id))
            start = newest - left * 3_600_000
            if at is None:
                start = max(self.last + 60_000, start)
            self.last = max(self.last, start)
            home = self._players.everyone[player].platform
            played.append(self._add(player, die.choices(_USUAL, _WEIGHTS)[0], start, home, "here", "here"))
        return played[::-1]

    def _fill(self) -> None:
        options = self._options
        timed = self._timed_kinds()
        faults = self._faults_of_main(len(timed))
        region = REGION_OF[options.platform]
        for number, (start, kind) in enumerate(timed):
            platform = options.platform
            if kind == "elsewhere":
                platform = next(other for other in NEIGHBOUR[region] if other != platform)
            elif dice(options.seed, "region", number).random() < options.other_region_rate:
                platform = next(other for other in ("euw1", "na1") if REGION_OF[other] != region)
            self._add(MAIN, kind, start, platform, *faults[number])
        for other in REGIONS:
            if other != region and len(self._pools[other]) >= 16:
                self._fill_elsewhere(other)

    def _fill_elsewhere(self, region: str) -> None:
        """Matches of another region, as many as it has players."""
        leaders = self._pools[region][:4]
        for number in range(len(self._pools[region])):
            die = dice(self._options.seed, "others", region, number)
            leader = leaders[number % len(leaders)]
            kind = die.choices((*_USUAL, "arena"), (*_WEIGHTS, 5))[0]
            platform = self._players.everyone[leader].platform
            self._add(leader, kind, die.randint(self.first, self.last), platform, "here", "here")

    def _timed_kinds(self) -> list[tuple[int, str]]:
        """When the main player's matches start and of what kind they are, oldest first."""
        options = self._options
        for kind in options.kinds:
            if kind not in KINDS:
                raise OptionError(f"kinds: {kind} is none of {', '.join(KINDS)}")
        if len(options.kinds) > options.matches:
            raise OptionError("kinds: more than there are matches")
        edges = EDGES[: options.matches // 3] if options.edge_cases and not options.kinds else ()
        usual = dice(options.seed, "kinds").choices(_USUAL, _WEIGHTS, k=options.matches - len(edges))
        timed = []
        for number, kind in enumerate([*edges, *usual]):
            anywhere = dice(options.seed, "moment", number).randint(self.first, self.last)
            timed.append((self._own_date(kind, number) or anywhere, kind))
        timed.sort()
        for place, kind in enumerate(options.kinds):
            timed[-1 - place] = (self._own_date(kind, place) or timed[-1 - place][0], kind)
        return sorted(timed)

    def _own_date(self, kind: str, number: int) -> int | None:
        """When a match starts whose kind says so."""
        year = datetime.fromtimestamp(self.last / 1000, UTC).year
        midnight = _moment(year, 1, 1)
        # Two of an old kind are some days apart.
        return {
            "old-year": midnight - 30_000,
            "new-year": midnight + 30_000,
            "over-new-year": midnight + 10_000,
            "old-milliseconds": _moment(2021, 8, 14) + number * DAY,
            "old-names": _moment(2022, 5, 3) + number * DAY,
        }.get(kind)

    def _faults_of_main(self, matches: int) -> list[tuple[Availability, Availability]]:
        """Which matches and timelines are missing or late; one of each at least where its rate says so at all."""
        options = self._options
        faults: list[tuple[Availability, Availability]] = [("here", "here")] * matches
        free = list(range(matches))
        dice(options.seed, "faults").shuffle(free)
        wanted: tuple[tuple[float, tuple[Availability, Availability]], ...] = (
            (options.missing_match_rate, ("missing", "here")),
            (options.missing_timeline_rate, ("here", "missing")),
            (options.late_match_rate, ("late", "late")),
        )
        for rate, fault in wanted:
            count = round(rate * matches)
            if rate > 0 and matches >= 20:
                count = max(1, count)
            for _ in range(min(count, len(free))):
                faults[free.pop()] = fault
        return faults

    def _add(
        self, leader: int, kind: str, start: int, platform: str, match: Availability, timeline: Availability
    ) -> Outline:
        # No two matches start in the same second, so that order and ids are certain.
        while start // 1000 in self._seconds:
            start += 1000
        self._seconds.add(start // 1000)
        game_id = (start // 1000 - 1_500_000_000) * 17 + leader % 17
        match_id = f"{platform.upper()}_{game_id}"
        die = dice(self._options.seed, match_id)
        region = REGION_OF[self._players.everyone[leader].platform]
        lead = die.randint(12_000, 90_000)
        outline = Outline(
            match_id=match_id,
            platform=platform,
            listed_on=region,
            kind=kind,
            creation=start - lead,
            start=start,
            duration=_duration(kind, die.random()),
            roster=self._roster(kind, leader, region, match_id),
            match=match,
            timeline=timeline,
        )
        self.by_id[match_id] = outline
        for player in outline.roster:
            insort(self._of_player[player], (start, match_id))
        return outline

    def _roster(self, kind: str, leader: int, region: str, match_id: str) -> tuple[int, ...]:
        """Who took part: the leader among people of the region, in drawn order."""
        die = dice(self._options.seed, "roster", match_id)
        places = 5 if kind == "bots" else KINDS[kind][3]
        fixed = [leader, TWIN, OTHER_TWIN] if kind == "twins" else [leader]
        others = [player for player in die.sample(self._pools[region], places) if player not in fixed]
        roster = [*fixed, *others][:places]
        die.shuffle(roster)
        return tuple(roster)


def _moment(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1000


def _duration(kind: str, drawn: float) -> int:
    """Milliseconds: a remake ends after three minutes, an Arena game after about twenty."""
    low, high = {"remake": (185, 230), "aram": (840, 1500), "arena": (900, 1600), "empty": (0, 0)}.get(
        kind, (1000, 2500)
    )
    return int((low + drawn * (high - low)) * 1000)
