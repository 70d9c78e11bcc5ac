"""Players: all matches and timelines of one, fetched at the rate that the key permits.

Needs a key of the Riot API and the league ledger.
"""

import asyncio
from collections.abc import Iterator
from itertools import groupby

from pydantic import BaseModel, ConfigDict

from blocks.engine import session
from blocks.settings import settings
from tasks.foundation.core.columns import utc_now
from tasks.foundation.lifecycle import logger
from tasks.foundation.retries import PLAYER_SYNC
from tasks.league.account import fetch_player
from tasks.league.api import riot_client
from tasks.league.batches import BatchResult, Failure, Item
from tasks.league.core.absence import listed_without
from tasks.league.core.fetches import counts, pending
from tasks.league.core.listing import check_year
from tasks.league.core.players import mark_synced
from tasks.league.core.tables import DOMAIN, FetchKind, FetchState
from tasks.league.listings import list_matches
from tasks.league.matches import sync_matches
from tasks.league.steps import run_step, side_by_side
from tasks.league.tracking import tracking

#: Batches at once: while one waits for its last answers, the next one uses the key.
_BATCHES_AT_ONCE = 2


class Standing(BaseModel):
    """What the ledger holds of all that was ever listed for a player."""

    model_config = ConfigDict(frozen=True)

    #: Match ids.
    listed: int
    #: Stored ones.
    matches: int
    timelines: int
    #: Matches and timelines that Riot does not have; asked for again, later each time.
    missing: int
    #: Matches and timelines that could not be fetched or read; tried again later.
    failed: int
    #: Still to be fetched.
    pending: int


class PlayerSync(BaseModel):
    """What syncing a player came to. Counts are of this sync, those in `standing` of all so far."""

    model_config = ConfigDict(frozen=True)

    puuid: str
    platform: str
    year: int | None
    #: Match ids that the API listed.
    listed: int
    #: Those that were never listed for this player before.
    new_matches: int
    #: Ids that had been listed in earlier syncs.
    existing: int
    matches_stored: int
    timelines_stored: int
    #: Matches and timelines that Riot answered 404 for.
    missing: int
    #: Matches and timelines that could not be fetched or read.
    failed_items: int
    #: The first of them, and why; the ledger has all.
    failed: tuple[Failure, ...] = ()
    #: Stored matches that Riot lists for the player and that do not have them, for they were fetched with another
    #: application's key: `recover_player_data` fetches them again.
    without_player: int = 0
    standing: Standing
    requests: int
    http_429: int


@PLAYER_SYNC.task
async def sync_player_data(
    game_name: str, tag_line: str, platform: str = "na1", routing: str = "americas", year: int | None = None
) -> PlayerSync:
    """Bring everything the API has of a player into the ledger: account, standing, matches, timelines, statistics.

    Asks only for what is new since the last time, and for what was missing or failing and is due again. Killed or
    stopped at any point and run again it ends in the rows of one clean run.

    Args:
        game_name: of the Riot ID, in any case.
        tag_line: what stands behind the #.
        platform: where the player plays.
        routing: a regional route; the platform's own is used, and one that differs is logged.
        year: only games of this UTC year; None for all that the API lists. What is still to be fetched from earlier
            syncs of the player is fetched in any case.

    Raises:
        PlayerNotFoundError: no account has this Riot ID, or it never played on this platform.
        UnknownRouteError: Riot has no such platform or region.
        ValueError: League was not played in that year.
        RiotKeyMissingError: there is no key.
        RiotKeyError: the key is refused.
        RiotUnavailableError: Riot gave no answer for long.
        LedgerError: the database cannot be used.
    """
    check_year(year)
    with tracking() as tracker:
        async with riot_client() as client:
            began = (client.counts.requests, client.counts.http_429)
            await tracker.step("account, ranked standing and masteries", 0, 2)
            player = await run_step(fetch_player, game_name, tag_line, platform, routing)
            await tracker.step("list matches", 2, 5)
            listed = await run_step(list_matches, player, year)
            items = await asyncio.to_thread(_to_fetch, player.puuid)
            await tracker.step("fetch matches and timelines", 5, 97, total=len(items))
            result = await _fetch(items)
            await tracker.step("standing", 97, 99)
            standing = await run_step(player_standing, player.puuid)
            without = await asyncio.to_thread(_without_player, player.puuid)
            await tracker.step("done", 100, 100)
            return PlayerSync(
                puuid=player.puuid,
                platform=player.platform,
                year=year,
                listed=listed.listed,
                new_matches=listed.new,
                existing=standing.listed - listed.new,
                matches_stored=result.matches_stored,
                timelines_stored=result.timelines_stored,
                missing=result.missing,
                failed_items=result.failed,
                failed=result.failures,
                without_player=without,
                standing=standing,
                requests=client.counts.requests - began[0],
                http_429=client.counts.http_429 - began[1],
            )


def _to_fetch(puuid: str) -> list[Item]:
    with session(DOMAIN, read_only=True) as opened:
        return [(row.match_id, row.kind) for row in pending(opened, puuid=puuid, now=utc_now())]


def _without_player(puuid: str) -> int:
    with session(DOMAIN, read_only=True) as opened:
        count = listed_without(opened, puuid)
    if count:
        logger(player=puuid[:8]).warning(
            "matches are stored without the player they are listed for, as fetched with another application's key: "
            "run league-recover-player",
            matches=count,
        )
    return count


def _batches(items: list[Item], size: int) -> Iterator[list[Item]]:
    """Batches of so many matches, each with its timeline."""
    batch, matches = list[Item](), 0
    for _, of_match in groupby(items, key=lambda item: item[0]):
        batch += of_match
        matches += 1
        if matches == size:
            yield batch
            batch, matches = [], 0
    if batch:
        yield batch


async def _fetch(items: list[Item]) -> BatchResult:
    """Hand out batches until none is left, or one fails: the others are then stopped where they are."""
    batches, results = _batches(items, settings().league.batch_size), list[BatchResult]()

    async def lane() -> None:
        for batch in batches:
            results.append(await run_step(sync_matches, batch))

    async with side_by_side() as lanes:
        for _ in range(_BATCHES_AT_ONCE):
            lanes.create_task(lane())
    return sum(results, BatchResult())


@PLAYER_SYNC.task
async def player_standing(puuid: str) -> Standing:
    """Count what the ledger holds of a player, and note when that was.

    Args:
        puuid: a stored player.

    Raises:
        LookupError: no such player is stored.
    """
    return await asyncio.to_thread(_standing, puuid)


def _standing(puuid: str) -> Standing:
    with session(DOMAIN) as opened:
        mark_synced(opened, puuid, now=utc_now())
        by_kind = counts(opened, puuid)

    def both(state: FetchState) -> int:
        return sum(states[state] for states in by_kind.values())

    return Standing(
        listed=sum(by_kind[FetchKind.MATCH].values()),
        matches=by_kind[FetchKind.MATCH][FetchState.STORED],
        timelines=by_kind[FetchKind.TIMELINE][FetchState.STORED],
        missing=both(FetchState.MISSING),
        failed=both(FetchState.FAILED),
        pending=both(FetchState.PENDING),
    )
