"""What each endpoint answers, given that the key is good and no limit is passed."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import orjson

from deployments.sandbox.riot.corpus import Corpus, encoded
from deployments.sandbox.riot.corpus_calendar import Outline
from deployments.sandbox.riot.corpus_players import IDLE, Player, dice
from deployments.sandbox.riot.corpus_scores import CHAMPIONS
from deployments.sandbox.riot.corpus_timelines import Encoded
from deployments.sandbox.riot.options import REGION_OF, SandboxOptions

REGIONS = frozenset(REGION_OF.values())
ACCOUNT_ROUTES = frozenset({"americas", "asia", "europe"})
PLATFORMS = frozenset(REGION_OF)
RANKED = (420, 440)
TYPES = ("ranked", "normal", "tourney", "tutorial")
_LONG = 2**63 - 1


class RefusalError(Exception):
    """An answer that is no 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def error_body(status: int, message: str) -> bytes:
    """Riot's error body."""
    return orjson.dumps({"status": {"message": message, "status_code": status}})


@dataclass(frozen=True)
class Endpoint:
    """One method of the API: where it is, and on which routes."""

    method: str
    path: re.Pattern[str]
    routes: frozenset[str]


@dataclass(frozen=True)
class Call:
    """A request that was let through."""

    key: str
    route: str
    parts: Mapping[str, str]
    query: Mapping[str, str]
    options: SandboxOptions


def _endpoint(method: str, path: str, routes: frozenset[str]) -> Endpoint:
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)
    return Endpoint(method, re.compile(pattern), routes)


ENDPOINTS = (
    _endpoint("match-v5.getMatch", "/lol/match/v5/matches/{match_id}", REGIONS),
    _endpoint("match-v5.getTimeline", "/lol/match/v5/matches/{match_id}/timeline", REGIONS),
    _endpoint("match-v5.getMatchIdsByPUUID", "/lol/match/v5/matches/by-puuid/{puuid}/ids", REGIONS),
    _endpoint("account-v1.getByRiotId", "/riot/account/v1/accounts/by-riot-id/{game_name}/{tag_line}", ACCOUNT_ROUTES),
    _endpoint("account-v1.getByPuuid", "/riot/account/v1/accounts/by-puuid/{puuid}", ACCOUNT_ROUTES),
    _endpoint("summoner-v4.getByPUUID", "/lol/summoner/v4/summoners/by-puuid/{puuid}", PLATFORMS),
    _endpoint("league-v4.getLeagueEntriesByPUUID", "/lol/league/v4/entries/by-puuid/{puuid}", PLATFORMS),
    _endpoint(
        "champion-mastery-v4.getAllChampionMasteriesByPUUID",
        "/lol/champion-mastery/v4/champion-masteries/by-puuid/{puuid}",
        PLATFORMS,
    ),
    _endpoint(
        "champion-mastery-v4.getTopChampionMasteriesByPUUID",
        "/lol/champion-mastery/v4/champion-masteries/by-puuid/{puuid}/top",
        PLATFORMS,
    ),
    _endpoint("lol-status-v4.getPlatformData", "/lol/status/v4/platform-data", PLATFORMS),
)


def find_endpoint(route: str, path: str) -> tuple[Endpoint, dict[str, str]]:
    """The endpoint of a path (as it was sent) on a route, and the parts of the path.

    Raises:
        RefusalError: there is none; like Riot, with the same 403 that a bad key gets.
    """
    for endpoint in ENDPOINTS:
        found = endpoint.path.fullmatch(path)
        if found and route in endpoint.routes:
            return endpoint, {name: unquote(part) for name, part in found.groupdict().items()}
    raise RefusalError(403, "Forbidden")


class Answers:
    """Answers calls from a corpus; remembers only how often late matches were asked for."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._asked: dict[tuple[str, str], int] = {}
        self._by_method: dict[str, Callable[[Call], Encoded]] = {
            "match-v5.getMatch": self._match,
            "match-v5.getTimeline": self._timeline,
            "match-v5.getMatchIdsByPUUID": self._match_ids,
            "account-v1.getByRiotId": self._account_by_riot_id,
            "account-v1.getByPuuid": self._account_by_puuid,
            "summoner-v4.getByPUUID": self._summoner,
            "league-v4.getLeagueEntriesByPUUID": self._league_entries,
            "champion-mastery-v4.getAllChampionMasteriesByPUUID": self._masteries,
            "champion-mastery-v4.getTopChampionMasteriesByPUUID": self._top_masteries,
            "lol-status-v4.getPlatformData": self._platform_data,
        }

    def of(self, method: str, call: Call) -> Encoded:
        """The body of a 200.

        Raises:
            RefusalError: another status.
        """
        return self._by_method[method](call)

    def forget(self) -> None:
        """Late matches are late again."""
        self._asked.clear()

    def is_late(self, kind: str, match_id: str, late_requests: int) -> bool:
        """Whether a late match or timeline would still be 404."""
        return self._asked.get((kind, match_id), 0) < late_requests

    def _match(self, call: Call) -> Encoded:
        return self._corpus.match(call.key, self._outline(call, "match"))

    def _timeline(self, call: Call) -> Encoded:
        return self._corpus.timeline(call.key, self._outline(call, "timeline"))

    def _outline(self, call: Call, kind: str) -> Outline:
        match_id = call.parts["match_id"]
        if not re.fullmatch(r"[A-Za-z0-9]+_\d+", match_id):
            raise RefusalError(400, "Bad Request - Invalid match id")
        outline = self._corpus.calendar.by_id.get(match_id)
        missing = RefusalError(404, f"Data not found - {kind} file not found")
        if outline is None or REGION_OF[outline.platform] != call.route:
            raise missing
        availability = outline.match if kind == "match" else outline.timeline
        if availability == "late":
            late = self.is_late(kind, match_id, call.options.late_requests)
            self._asked[kind, match_id] = self._asked.get((kind, match_id), 0) + 1
            if late:
                raise missing
        elif availability == "missing":
            raise missing
        return outline

    def _match_ids(self, call: Call) -> Encoded:
        """A player who never played on the route has an empty list there, not a 404."""
        start = _number(call, "start", 0, most=2**31 - 1)
        count = _number(call, "count", 20, most=100)
        since = _number(call, "startTime", None, most=_LONG)
        until = _number(call, "endTime", None, most=_LONG)
        queue = _number(call, "queue", None, most=2**31 - 1)
        kind = call.query.get("type")
        if kind is not None and kind not in TYPES:
            raise RefusalError(400, "Bad Request - Invalid value for type")
        player = self._player(call)
        if call.options.ignore_start_time:
            since = None
        found = [
            outline.match_id
            for outline in self._corpus.calendar.of(player.index)
            if outline.listed_on == call.route
            and (since is None or outline.start >= since * 1000)
            and (until is None or outline.start <= until * 1000)
            and (queue is None or outline.queue == queue)
            and (kind is None or _type_of(outline) == kind)
        ]
        return _json(found[start or 0 :][: 20 if count is None else count])

    def _player(self, call: Call) -> Player:
        puuid = call.parts["puuid"]
        player = self._corpus.players.by_puuid(call.key, puuid)
        if player is None:
            raise RefusalError(400, f"Bad Request - Exception decrypting {puuid}")
        return player

    def _resident(self, call: Call) -> Player | None:
        """The player, if there is such a summoner on the platform that is asked."""
        player = self._player(call)
        return player if player.platform == call.route else None

    def _account(self, call: Call, player: Player) -> Encoded:
        called = player.names[-1]
        puuid = self._corpus.players.puuids(call.key)[player.index]
        return _json({"puuid": puuid, "gameName": called.game_name, "tagLine": called.tag_line})

    def _account_by_riot_id(self, call: Call) -> Encoded:
        game_name, tag_line = call.parts["game_name"], call.parts["tag_line"]
        player = self._corpus.players.by_riot_id(game_name, tag_line)
        if player is None:
            name = f"{game_name}#{tag_line}"
            raise RefusalError(404, f"Data not found - No results found for player with riot id {name}")
        return self._account(call, player)

    def _account_by_puuid(self, call: Call) -> Encoded:
        return self._account(call, self._player(call))

    def _summoner(self, call: Call) -> Encoded:
        player = self._resident(call)
        if player is None:
            raise RefusalError(404, "Data not found - summoner not found")
        played = self._corpus.calendar.of(player.index)
        return _json(
            {
                "profileIconId": player.icon,
                "revisionDate": played[0].start if played else self._corpus.calendar.first,
                "puuid": call.parts["puuid"],
                "summonerLevel": player.level,
            }
        )

    def _league_entries(self, call: Call) -> Encoded:
        player = self._resident(call)
        if player is None or player.index == IDLE:
            return _json([])
        die = dice(self._corpus.options.seed, "league", player.index)
        entries: list[dict[str, Any]] = []
        for queue in ("RANKED_SOLO_5x5", "RANKED_FLEX_SR", "CHERRY"):
            entry: dict[str, Any] = {"puuid": call.parts["puuid"], "queueType": queue}
            if queue != "CHERRY":
                league = f"{die.getrandbits(128):032x}"
                entry["leagueId"] = "-".join((league[:8], league[8:12], league[12:16], league[16:20], league[20:]))
                entry |= {"tier": die.choice(("IRON", "GOLD", "EMERALD", "DIAMOND")), "rank": die.choice(("I", "IV"))}
            entry |= {"leaguePoints": die.randint(0, 99), "wins": die.randint(1, 200), "losses": die.randint(1, 200)}
            flags = ("veteran", "inactive", "freshBlood", "hotStreak")
            entries.append(entry | {flag: die.random() < 0.2 for flag in flags})
        return _json(entries)

    def _masteries(self, call: Call) -> Encoded:
        return _json(self._mastery_list(call))

    def _top_masteries(self, call: Call) -> Encoded:
        count = _number(call, "count", 3, most=2**31 - 1)
        return _json(self._mastery_list(call)[:count])

    def _mastery_list(self, call: Call) -> list[dict[str, Any]]:
        player = self._resident(call)
        if player is None or player.index == IDLE:
            return []
        die = dice(self._corpus.options.seed, "mastery", player.index)
        masteries = []
        for champion in die.sample(list(CHAMPIONS), 20):
            points = int(100 * 10 ** (4 * die.random()))
            masteries.append(
                {
                    "puuid": call.parts["puuid"],
                    "championId": champion,
                    "championLevel": 1 + points // 11_000,
                    "championPoints": points,
                    "lastPlayTime": self._corpus.calendar.last - die.randint(0, 90_000_000_000),
                    "championPointsSinceLastLevel": points % 11_000,
                    "championPointsUntilNextLevel": 11_000 - points % 11_000,
                    "markRequiredForNextLevel": 2,
                    "tokensEarned": die.randint(0, 2),
                    "championSeasonMilestone": die.randint(0, 3),
                    "nextSeasonMilestone": {
                        "requireGradeCounts": {"A-": 1},
                        "rewardMarks": 1,
                        "bonus": False,
                        "totalGamesRequires": 1,
                    },
                }
            )
        return sorted(masteries, key=lambda mastery: -int(str(mastery["championPoints"])))

    def _platform_data(self, call: Call) -> Encoded:
        return _json(
            {
                "id": call.route.upper(),
                "name": f"Sandbox {call.route.upper()}",
                "locales": ["en_US"],
                "maintenances": [],
                "incidents": [],
            }
        )


def _number(call: Call, name: str, default: int | None, *, most: int) -> int | None:
    """A whole number of the query.

    Raises:
        RefusalError: it is none, or out of bounds.
    """
    text = call.query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"\d{1,19}", text) or int(text) > most:
        raise RefusalError(400, f"Bad Request - Invalid value for {name}")
    return int(text)


def _type_of(outline: Outline) -> str | None:
    if outline.queue in RANKED:
        return "ranked"
    return None if outline.kind == "custom" else "normal"


def _json(value: object) -> Encoded:
    return encoded(orjson.dumps(value))
