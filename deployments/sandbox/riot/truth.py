"""What really happened and what the right result is: counted and computed by the sandbox alone."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from deployments.sandbox.riot.corpus import Corpus
from deployments.sandbox.riot.corpus_calendar import Outline
from deployments.sandbox.riot.corpus_matches import year_of
from deployments.sandbox.riot.corpus_players import IDLE, MAIN, OTHER_TWIN, TWIN, Player
from deployments.sandbox.riot.corpus_scores import Score
from deployments.sandbox.riot.endpoints import Answers
from deployments.sandbox.riot.options import REGION_OF

LimitType = Literal["application", "method", "service"]
LIMIT_TYPES: tuple[LimitType, ...] = ("application", "method", "service")
#: The method of requests that were refused before it was known or mattered.
REFUSED = "-"


@dataclass
class Record:
    """What was asked of one method on one route with one key."""

    statuses: Counter[str] = field(default_factory=Counter)
    limits: Counter[LimitType] = field(default_factory=Counter)
    #: Moments of the server's monotonic clock at which the buckets were asked.
    admitted: list[float] = field(default_factory=list)
    rejected: list[float] = field(default_factory=list)


class Register:
    """Counts requests."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str, str], Record] = defaultdict(Record)

    def record(self, key: str, route: str, method: str) -> Record:
        """The record of a method on a route, to be added to."""
        return self._records[key, route, method]

    def clear(self) -> None:
        """Forget everything."""
        self._records.clear()

    def told(self, key: str | None) -> dict[str, Any]:
        """Requests in all, and by route and method; of one key or of all."""
        # Copied, for a test may look while a thread counts.
        chosen = [(route, method, record) for (of, route, method), record in self._records.items() if key in (None, of)]
        routes: dict[str, Any] = {}
        for route in sorted({route for route, _method, _record in chosen}):
            here = [(method, record) for of, method, record in chosen if of == route]
            methods = {
                method: _sum(record for of, record in here if of == method)
                for method in sorted({method for method, _record in here})
            }
            routes[route] = {**_sum(record for _method, record in here), "methods": methods}
        return {"totals": _sum(record for _route, _method, record in chosen), "routes": routes}

    def times(self, key: str | None) -> dict[str, Any]:
        """When requests were admitted and rejected, by route (the application's bucket) and by method."""
        found: dict[str, Any] = {}
        for (of, route, method), record in list(self._records.items()):
            if key not in (None, of) or method == REFUSED:
                continue
            here = found.setdefault(route, {"admitted": [], "rejected": [], "methods": {}})
            there = here["methods"].setdefault(method, {"admitted": [], "rejected": []})
            for bucket in (here, there):
                bucket["admitted"] = sorted([*bucket["admitted"], *record.admitted])
                bucket["rejected"] = sorted([*bucket["rejected"], *record.rejected])
        return found


def _sum(records: Iterable[Record]) -> dict[str, Any]:
    statuses: Counter[str] = Counter()
    limits: Counter[LimitType] = Counter()
    admitted = rejected = 0
    for record in records:
        statuses.update(record.statuses)
        limits.update(record.limits)
        admitted += len(record.admitted)
        rejected += len(record.rejected)
    return {
        "requests": statuses.total(),
        "admitted": admitted,
        "rejected": rejected,
        "by_status": dict(sorted(statuses.items())),
        "http_429": {kind: limits[kind] for kind in LIMIT_TYPES},
    }


def account(corpus: Corpus, key: str, player: Player) -> dict[str, str]:
    """Who a player is to a key."""
    called = player.names[-1]
    return {
        "game_name": called.game_name,
        "tag_line": called.tag_line,
        "platform": player.platform,
        "regional": REGION_OF[player.platform],
        "puuid": corpus.players.puuids(key)[player.index],
    }


def accounts(corpus: Corpus, key: str) -> dict[str, Any]:
    """Players worth knowing: one without matches, two of one name, the most active one of each other platform."""
    everyone = corpus.players.everyone
    home = everyone[MAIN].platform
    elsewhere: dict[str, Player] = {}
    for player in everyone[OTHER_TWIN + 1 :]:
        known = elsewhere.get(player.platform)
        if player.platform != home and (
            known is None or len(corpus.calendar.of(player.index)) > len(corpus.calendar.of(known.index))
        ):
            elsewhere[player.platform] = player
    return {
        "main": account(corpus, key, everyone[MAIN]),
        "idle": account(corpus, key, everyone[IDLE]),
        "twins": [account(corpus, key, everyone[index]) for index in (TWIN, OTHER_TWIN)],
        "elsewhere": {platform: account(corpus, key, player) for platform, player in sorted(elsewhere.items())},
    }


def expected(corpus: Corpus, answers: Answers, key: str, player: Player) -> dict[str, Any]:
    """A player's matches, newest first, and the statistics that a sync of all of them must end in."""
    matches: list[dict[str, Any]] = []
    lines: list[tuple[Outline, Score]] = []
    late_lines: list[tuple[Outline, Score]] = []
    late_requests = corpus.options.late_requests
    for outline in corpus.calendar.of(player.index):
        match, timeline = (
            "late-still" if state == "late" and answers.is_late(kind, outline.match_id, late_requests) else state
            for kind, state in (("match", outline.match), ("timeline", outline.timeline))
        )
        empty = outline.kind == "empty"
        matches.append(
            {
                "match_id": outline.match_id,
                "platform": outline.platform,
                "game_creation": 0 if empty else outline.creation,
                "game_start": 0 if empty else outline.start,
                "year": None if empty else year_of(outline.start),
                "kind": outline.kind,
                "queue_id": 0 if empty else outline.queue,
                "match": match,
                "timeline": timeline,
            }
        )
        line = next((score for score in corpus.scores(outline) if score.player == player.index), None)
        if line is not None and outline.match != "missing":
            (late_lines if match == "late-still" else lines).append((outline, line))
    return {
        **account(corpus, key, player),
        "match_ids": [match["match_id"] for match in matches],
        "matches": matches,
        "missing_matches": [match["match_id"] for match in matches if match["match"] == "missing"],
        "missing_timelines": [match["match_id"] for match in matches if match["timeline"] == "missing"],
        "late": [match["match_id"] for match in matches if "late" in str(match["match"])],
        "late_still": [match["match_id"] for match in matches if match["match"] == "late-still"],
        #: With the late ones, and as far as they can be had now.
        "statistics": by_year(lines + late_lines),
        "statistics_now": by_year(lines),
    }


def by_year(lines: list[tuple[Outline, Score]]) -> list[dict[str, Any]]:
    """Yearly statistics by platform, oldest first; a game counts in the UTC year of its start."""
    groups: dict[tuple[int, str], list[tuple[Outline, Score]]] = defaultdict(list)
    for outline, score in lines:
        groups[year_of(outline.start), outline.platform].append((outline, score))
    return [
        {"year": year, "platform": platform, **_statistics(group)} for (year, platform), group in sorted(groups.items())
    ]


def _statistics(group: list[tuple[Outline, Score]]) -> dict[str, Any]:
    scores = [score for _outline, score in group]
    games, wins = len(scores), sum(score.win for score in scores)
    kills, deaths, assists = (sum(getattr(score, name) for score in scores) for name in ("kills", "deaths", "assists"))
    gold, minions, neutral = (sum(getattr(score, name) for score in scores) for name in ("gold", "minions", "neutral"))
    champions = Counter(score.champion for score in scores)
    favourite = min(champions, key=lambda champion: (-champions[champion], champion))
    return {
        "total_matches": games,
        "wins": wins,
        "losses": games - wins,
        "total_kills": kills,
        "total_deaths": deaths,
        "total_assists": assists,
        "total_gold_earned": gold,
        "total_minions_killed": minions,
        "total_neutral_minions_killed": neutral,
        "total_damage_dealt_to_champions": sum(score.damage for score in scores),
        "unique_champions": len(champions),
        "unique_roles": len({score.place[2] for score in scores}),
        "unique_lanes": len({score.place[3] for score in scores}),
        "most_played_champion": favourite,
        "most_played_champion_count": champions[favourite],
        "win_rate": 100 * wins / games,
        "kda_ratio": (kills + assists) / deaths if deaths else float(kills + assists),
        "average_kills": kills / games,
        "average_deaths": deaths / games,
        "average_assists": assists / games,
        "average_gold": gold / games,
        "average_cs": (minions + neutral) / games,
        "games_by": {
            "champion": _counted(str(score.champion) for score in scores),
            "role": _counted(score.place[2] for score in scores),
            "lane": _counted(score.place[3] for score in scores),
            "queue": _counted(str(outline.queue) for outline, _score in group),
        },
    }


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
