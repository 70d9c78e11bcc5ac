"""The operations used, by Riot's own names: what its method limits count by.

Names and paths are the `operationId`s and paths of Riot's OpenAPI schema; a test compares them.
"""

from dataclasses import dataclass
from urllib.parse import quote

from blocks.riot.errors import RiotRequestError

#: A puuid has 78 characters, a game name up to 16.
_LONGEST_PART = 200


@dataclass(frozen=True, slots=True)
class Method:
    """One operation of the API.

    Attributes:
        name: Riot's `operationId`, such as `match-v5.getMatch`.
        path: its path, with parameters in braces.
    """

    name: str
    path: str

    def path_of(self, **parts: str) -> str:
        """The path with its parameters filled in, each percent-encoded so that it stays one segment.

        Raises:
            RiotRequestError: a part is empty, too long, no valid Unicode, or `.` or `..` (which would change the path).
        """
        return self.path.format(**{name: _segment(name, part) for name, part in parts.items()})


def _segment(name: str, part: str) -> str:
    # Dots are never encoded, and clients and proxies resolve both, even where they are.
    if part in ("", ".", ".."):
        raise RiotRequestError(f"{name} must not be empty, one dot or two")
    if len(part) > _LONGEST_PART:
        raise RiotRequestError(f"{name} has {len(part)} characters, which none has")
    try:
        return quote(part, safe="")
    except UnicodeEncodeError:
        problem = f"{name} is no valid Unicode text"
    raise RiotRequestError(problem)


ACCOUNT_BY_RIOT_ID = Method("account-v1.getByRiotId", "/riot/account/v1/accounts/by-riot-id/{gameName}/{tagLine}")
ACCOUNT_BY_PUUID = Method("account-v1.getByPuuid", "/riot/account/v1/accounts/by-puuid/{puuid}")
SUMMONER_BY_PUUID = Method("summoner-v4.getByPUUID", "/lol/summoner/v4/summoners/by-puuid/{encryptedPUUID}")
LEAGUE_ENTRIES_BY_PUUID = Method(
    "league-v4.getLeagueEntriesByPUUID", "/lol/league/v4/entries/by-puuid/{encryptedPUUID}"
)
CHAMPION_MASTERIES_BY_PUUID = Method(
    "champion-mastery-v4.getAllChampionMasteriesByPUUID",
    "/lol/champion-mastery/v4/champion-masteries/by-puuid/{encryptedPUUID}",
)
MATCH_IDS_BY_PUUID = Method("match-v5.getMatchIdsByPUUID", "/lol/match/v5/matches/by-puuid/{puuid}/ids")
MATCH = Method("match-v5.getMatch", "/lol/match/v5/matches/{matchId}")
TIMELINE = Method("match-v5.getTimeline", "/lol/match/v5/matches/{matchId}/timeline")
PLATFORM_STATUS = Method("lol-status-v4.getPlatformData", "/lol/status/v4/platform-data")

METHODS: tuple[Method, ...] = (
    ACCOUNT_BY_RIOT_ID,
    ACCOUNT_BY_PUUID,
    SUMMONER_BY_PUUID,
    LEAGUE_ENTRIES_BY_PUUID,
    CHAMPION_MASTERIES_BY_PUUID,
    MATCH_IDS_BY_PUUID,
    MATCH,
    TIMELINE,
    PLATFORM_STATUS,
)
