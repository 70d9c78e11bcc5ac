"""Lists a player's matches: from the last listing on, held against the year where one is asked for.

Needs a key of the Riot API and the league ledger.
"""

import asyncio
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from blocks.engine import session
from blocks.riot.client import RiotClient
from blocks.riot.errors import RiotAnswerError, RiotNotFoundError, RiotRequestError
from blocks.riot.routes import is_match_id
from blocks.settings import settings
from tasks.foundation.core.columns import utc_now
from tasks.foundation.lifecycle import logger
from tasks.foundation.retries import PLAYER_SYNC
from tasks.league.account import Player
from tasks.league.api import riot_client
from tasks.league.core.fetches import known, record_listing
from tasks.league.core.listing import Pages, Span, YearPart, last_listed, part_of_year, span_to_list
from tasks.league.core.participants import UnreadablePayloadError, read_match
from tasks.league.core.storing import store_match
from tasks.league.core.tables import DOMAIN, Fetch, FetchKind, FetchState, Match


class Listed(BaseModel):
    """What a listing came to."""

    model_config = ConfigDict(frozen=True)

    #: Ids that the API listed, as far as they are of the year.
    listed: int
    #: Those that were never listed for this player before.
    new: int


@PLAYER_SYNC.task
async def list_matches(player: Player, year: int | None = None) -> Listed:
    """Ask for the ids of a player's matches, and write down those that are new, to be fetched.

    All of it is written in one transaction after the last page: killed before, nothing is, and nothing is forgotten
    after.

    Args:
        player: from `fetch_player`.
        year: only games of this UTC year; None for all that the API lists.

    Raises:
        ValueError: League was not played in that year.
        RiotForeignPuuidError: the puuid was given out to another key.
        RiotKeyError: the key is refused.
        RiotUnavailableError: Riot gave no answer.
    """
    began = utc_now()
    listed_at = await asyncio.to_thread(_last_listed, player.puuid, year)
    span = span_to_list(year, listed_at, overlap=timedelta(hours=settings().league.overlap_hours))
    if span is None:
        return Listed(listed=0, new=0)
    async with riot_client() as client:
        ids = await _list(client, player, span, year, incremental=listed_at is not None)

    def record() -> int:
        with session(DOMAIN) as opened:
            return record_listing(opened, player.puuid, year, ids, listed_at=began)

    return Listed(listed=len(ids), new=await asyncio.to_thread(record))


async def list_all(client: RiotClient, player: Player, year: int | None = None, *, keep: bool) -> list[str]:
    """All ids of a player's matches that the API lists, newest first, whatever was listed before.

    Args:
        client: an open client.
        player: from `fetch_player`, or known by a puuid.
        year: only games of this UTC year; None for all.
        keep: store the few matches that are fetched to tell their year; else nothing is written.

    Raises:
        ValueError: League was not played in that year.
        RiotForeignPuuidError: the puuid was given out to another key.
        RiotKeyError: the key is refused.
        RiotUnavailableError: Riot gave no answer.
    """
    span = span_to_list(year, None, overlap=timedelta(0)) or Span()
    return await _list(client, player, span, year, incremental=False, keep=keep)


async def _list(
    client: RiotClient, player: Player, span: Span, year: int | None, *, incremental: bool, keep: bool = True
) -> list[str]:
    pages, ids, more = Pages(incremental=incremental), list[str](), True
    while more:
        listed = await client.match_ids_by_puuid(
            player.puuid,
            regional=player.regional,
            start=pages.start,
            start_time=span.start_time,
            end_time=span.end_time,
        )
        page = [match_id for match_id in listed if is_match_id(match_id)]
        if len(page) < len(listed):
            # One is not worth the others, and there is nothing that could be asked for by it.
            logger(player=player.puuid[:8]).warning("Riot lists what is no match id", ids=len(listed) - len(page))
        fresh, more = pages.take(page, await asyncio.to_thread(_known, player.puuid, page), size=len(listed))
        if year is None:
            ids += fresh
            continue
        part = await _part_of_year(client, fresh, year, keep)
        ids += part.ids
        more = more and not part.past
    return ids


def _last_listed(puuid: str, year: int | None) -> datetime | None:
    with session(DOMAIN, read_only=True) as opened:
        return last_listed(opened, puuid, year)


def _known(puuid: str, page: list[str]) -> set[str]:
    with session(DOMAIN, read_only=True) as opened:
        return known(opened, puuid, page)


async def _part_of_year(client: RiotClient, page: list[str], year: int, keep: bool) -> YearPart:
    questions = part_of_year(page, year)
    answer: int | None = None
    while True:
        try:
            match_id = questions.send(answer)
        except StopIteration as end:
            part: YearPart = end.value
            return part
        answer = await _year_of(client, match_id, year, keep)


async def _year_of(client: RiotClient, match_id: str, wanted: int, keep: bool) -> int | None:
    """The year a match counts in: from the ledger, else from the API. One of the wanted year is kept at once."""

    def look() -> tuple[bool, int | None]:
        with session(DOMAIN, read_only=True) as opened:
            match = opened.get(Match, match_id)
            fetch = opened.get(Fetch, (match_id, FetchKind.MATCH))
            not_to_be_had = fetch is not None and fetch.state is not FetchState.PENDING
            return match is not None or not_to_be_had, None if match is None else match.year

    is_settled, year = await asyncio.to_thread(look)
    if is_settled:
        return year
    try:
        body = (await client.match(match_id)).body
    except (RiotNotFoundError, RiotAnswerError, RiotRequestError):
        # Who fetches it writes down why; here it only tells no year.
        return None

    def read() -> int | None:
        year: int | None = read_match(body, asked=match_id).match["year"]
        if keep and year == wanted:
            with session(DOMAIN) as opened:
                store_match(opened, body, match_id=match_id, now=utc_now())
        return year

    try:
        return await asyncio.to_thread(read)
    except UnreadablePayloadError:
        return None
