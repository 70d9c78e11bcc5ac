"""The client of the Riot API: one method for each operation that is used."""

from typing import Literal

from blocks.riot import answers, methods
from blocks.riot.answers import (
    AccountDto,
    Answer,
    ChampionMasteryDto,
    LeagueEntryDto,
    MatchDto,
    PlatformDataDto,
    SummonerDto,
    TimelineDto,
)
from blocks.riot.connection import RiotConnection
from blocks.riot.routes import account_route, platform_host, regional_route

# A greater number is no time in seconds before the year 5138: somebody passed milliseconds, to which Riot answers
# nothing or everything, without an error.
_LATEST_SECONDS = 99_999_999_999
_LARGEST_PAGE = 100


class RiotClient(RiotConnection):
    """Asks the Riot API: typed answers, within the key's limits, retried while there is patience.

    Use it as an asynchronous context manager in one event loop, for several routes and any number of calls at once.

    Every method waits for its turn in the limiter and raises, besides what it names itself: `RiotKeyError` (the key is
    of no use), `RiotNotFoundError` (404), `RiotRequestError` (refused), `RiotAnswerError` (not the shape that Riot
    documents) and `RiotUnavailableError` (429, 5xx and lost connections outlasted the patience).
    """

    async def account_by_riot_id(self, game_name: str, tag_line: str, *, regional: str) -> AccountDto:
        """The account that has this Riot ID now.

        Raises:
            RiotNotFoundError: nobody has it.
            UnknownRouteError: there is no such region.
        """
        return await self.ask(
            methods.ACCOUNT_BY_RIOT_ID,
            account_route(regional),
            answers.ACCOUNT,
            names=(game_name, tag_line),
            gameName=game_name,
            tagLine=tag_line,
        )

    async def account_by_puuid(self, puuid: str, *, regional: str) -> AccountDto:
        """The account of a puuid.

        Raises:
            RiotForeignPuuidError: the puuid was given out to another key.
            UnknownRouteError: there is no such region.
        """
        return await self.ask(methods.ACCOUNT_BY_PUUID, account_route(regional), answers.ACCOUNT, puuid=puuid)

    async def summoner_by_puuid(self, puuid: str, *, platform: str) -> SummonerDto:
        """A player's icon and level on a platform.

        Raises:
            RiotNotFoundError: the player never was on this platform.
            UnknownRouteError: there is no such platform.
        """
        return await self.ask(
            methods.SUMMONER_BY_PUUID, platform_host(platform), answers.SUMMONER, encryptedPUUID=puuid
        )

    async def league_entries_by_puuid(self, puuid: str, *, platform: str) -> list[LeagueEntryDto]:
        """A player's standings in ranked queues; empty without one.

        Raises:
            UnknownRouteError: there is no such platform.
        """
        return await self.ask(
            methods.LEAGUE_ENTRIES_BY_PUUID, platform_host(platform), answers.LEAGUE_ENTRIES, encryptedPUUID=puuid
        )

    async def champion_masteries_by_puuid(self, puuid: str, *, platform: str) -> list[ChampionMasteryDto]:
        """A player's mastery of each champion played.

        Raises:
            UnknownRouteError: there is no such platform.
        """
        return await self.ask(
            methods.CHAMPION_MASTERIES_BY_PUUID,
            platform_host(platform),
            answers.CHAMPION_MASTERIES,
            encryptedPUUID=puuid,
        )

    async def match_ids_by_puuid(
        self,
        puuid: str,
        *,
        regional: str,
        start: int = 0,
        count: int = 100,
        start_time: int | None = None,
        end_time: int | None = None,
        queue: int | None = None,
        type: Literal["ranked", "normal", "tourney", "tutorial"] | None = None,
    ) -> list[str]:
        """One page of a player's match ids, the newest first, as Riot lists them.

        Riot does not always heed the times: filter again. Nothing but what has the form of a match id is one.

        Args:
            puuid: the player.
            regional: the region of the platform, as `regional_of` gives it.
            start: how many ids to skip.
            count: how many to give, 1 to 100.
            start_time: only games from then on, in epoch seconds.
            end_time: only games before then, in epoch seconds.
            queue: only this queue.
            type: only this type of game; together with `queue` both must fit.

        Raises:
            UnknownRouteError: there is no such region.
            ValueError: a page of another size, or times in milliseconds.
        """
        if start < 0 or not 1 <= count <= _LARGEST_PAGE:
            raise ValueError(f"a page starts at 0 or later and has 1 to {_LARGEST_PAGE} ids, not {start} and {count}")
        for time in (start_time, end_time):
            if time is not None and not 0 <= time <= _LATEST_SECONDS:
                raise ValueError(f"{time} is no time in epoch seconds")
        wanted = {"startTime": start_time, "endTime": end_time, "queue": queue, "type": type}
        query = {name: value for name, value in wanted.items() if value is not None}
        return await self.ask(
            methods.MATCH_IDS_BY_PUUID,
            regional_route(regional),
            answers.MATCH_IDS,
            query={"start": start, "count": count, **query},
            puuid=puuid,
        )

    async def match(self, match_id: str) -> Answer[MatchDto]:
        """A match, from the region that its id tells.

        Raises:
            RiotNotFoundError: Riot has it not, not yet, or lists it and never gives it.
            UnknownRouteError: no platform has such ids.
        """
        return await self.ask_of_match(methods.MATCH, match_id, answers.MATCH)

    async def timeline(self, match_id: str) -> Answer[TimelineDto]:
        """The timeline of a match; it may be there where the match is not, and the other way round.

        Raises:
            RiotNotFoundError: Riot has none.
            UnknownRouteError: no platform has such ids.
        """
        return await self.ask_of_match(methods.TIMELINE, match_id, answers.TIMELINE)

    async def platform_status(self, platform: str) -> PlatformDataDto:
        """Maintenances and incidents of a platform: a cheap question whether key and API work.

        Raises:
            UnknownRouteError: there is no such platform.
        """
        return await self.ask(methods.PLATFORM_STATUS, platform_host(platform), answers.PLATFORM_DATA)
