"""Recovery of a player: what the API lists is compared with what is stored, by content, and every difference is mended.

Needs a key of the Riot API and the league ledger. What is stored and whole costs no request, whatever the watermark
says; rows are derived anew from stored payloads without one.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from pydantic import BaseModel, ConfigDict
from sqlmodel import Session

from blocks.engine import session
from blocks.riot.client import RiotClient
from blocks.riot.errors import RiotNotFoundError
from blocks.riot.routes import platform_route
from blocks.settings import settings
from tasks.foundation.core.columns import utc_now
from tasks.foundation.lifecycle import logger
from tasks.foundation.retries import RECOVERY
from tasks.league.account import Player, PlayerNotFoundError, fetch_player
from tasks.league.api import riot_client
from tasks.league.batches import BatchResult, Failure, Item
from tasks.league.core import fetches
from tasks.league.core.cleanup import remove_unreferenced_players
from tasks.league.core.listing import check_year
from tasks.league.core.players import mark_synced
from tasks.league.core.recovery import (
    PLAYERS,
    Action,
    Finding,
    RecoveryPlan,
    check,
    derive,
    ids_to_check,
    parts,
    players_of,
    prepare_fetch,
    wrong_statistics,
)
from tasks.league.core.statistics import lock, recompute
from tasks.league.core.tables import DOMAIN, FetchKind
from tasks.league.listings import list_all
from tasks.league.matches import sync_matches
from tasks.league.routing import check_routing
from tasks.league.steps import run_step
from tasks.league.tracking import Tracker, tracking
from tasks.league.writing import Writer

#: A report lists at most so many findings; it counts all.
LISTED = 1000
#: Findings mended at once: what the writer takes into one transaction on SQLite, twice.
_AT_ONCE = 32


class RecoveryUnfinishedError(Exception):
    """After all was mended, comparing again found something that should have been."""


class PlannedItem(BaseModel):
    """What was wrong with one match or timeline, and what was (in a dry run: would be) done about it."""

    model_config = ConfigDict(frozen=True)

    match_id: str
    kind: FetchKind
    action: Action
    reason: str


class RecoveryReport(BaseModel):
    """What a recovery found and did; in a dry run, what it would have done."""

    model_config = ConfigDict(frozen=True)

    puuid: str
    platform: str
    year: int | None
    dry_run: bool
    #: Match ids that the API listed.
    listed: int
    #: Match ids compared: those listed, and others known of the player.
    checked: int
    #: Matches and timelines to be fetched.
    to_fetch: int
    #: Matches and timelines whose rows were written anew from their payloads.
    derived: int
    #: Fetch rows that contradicted what is stored.
    mended: int
    #: Missing at Riot's and not due yet, or cleaned away.
    left: int
    #: Players whose yearly statistics were wrong.
    statistics: int
    matches_stored: int = 0
    timelines_stored: int = 0
    missing: int = 0
    failed: int = 0
    failures: tuple[Failure, ...] = ()
    #: The first findings, newest games first.
    plan: tuple[PlannedItem, ...] = ()
    requests: int = 0
    http_429: int = 0


@RECOVERY.task
async def recover_player_data(
    game_name: str,
    tag_line: str,
    platform: str = "na1",
    routing: str = "americas",
    year: int | None = None,
    dry_run: bool = False,
    include_removed: bool = False,
) -> RecoveryReport:
    """Compare all matches of a player that the API lists with what is stored, and mend every difference.

    Fetches what is missing or damaged, derives rows that are not what their payloads give, sets fetch rows and the
    statistics of all who took part right, and compares once more. A player the ledger does not know is synced whole.

    Args:
        game_name: of the Riot ID, in any case.
        tag_line: what stands behind the #.
        platform: where the player plays.
        routing: a regional route; the platform's own is used, and one that differs is logged.
        year: only games of this UTC year; None for all.
        dry_run: change nothing, and report what would be done.
        include_removed: fetch again what `cleanup_old_data` removed.

    Raises:
        PlayerNotFoundError: no account has this Riot ID, or it never played on this platform.
        UnknownRouteError: Riot has no such platform or region.
        ValueError: League was not played in that year.
        RiotKeyMissingError: there is no key.
        RiotKeyError: the key is refused.
        RiotUnavailableError: Riot gave no answer for long.
        RecoveryUnfinishedError: something wrong came back while it was mended.
        LedgerError: the database cannot be used.
    """
    check_year(year)
    with tracking() as tracker:
        async with riot_client() as client:
            before = (client.counts.requests, client.counts.http_429)
            run = _Recovery(tracker, year, include_removed)
            player = await run.start(client, game_name, tag_line, platform, routing, dry_run=dry_run)
            listed = await run.list_matches(client, player, dry_run=dry_run)
            plan = await run.plan(player, listed, 10, 99 if dry_run else 40, statistics=dry_run)
            result, wrong = BatchResult(), list(plan.statistics)
            if not dry_run:
                result, wrong = await run.mend(player, plan)
            await tracker.step("done", 100, 100)
            return RecoveryReport(
                puuid=player.puuid,
                platform=player.platform,
                year=year,
                dry_run=dry_run,
                listed=len(listed),
                checked=len(plan.match_ids),
                to_fetch=len(plan.of(Action.FETCH)),
                derived=len(plan.of(Action.DERIVE)),
                mended=len(plan.of(Action.MEND)),
                left=len(plan.of(Action.LEAVE)),
                statistics=len(wrong),
                **result.model_dump(exclude={"failures"}),
                failures=result.failures,
                plan=tuple(_shown(finding) for finding in plan.findings[:LISTED]),
                requests=client.counts.requests - before[0],
                http_429=client.counts.http_429 - before[1],
            )


def _shown(finding: Finding) -> PlannedItem:
    return PlannedItem(match_id=finding.match_id, kind=finding.kind, action=finding.action, reason=finding.reason)


class _Recovery:
    """The steps of one recovery. Comparing and writing happen in threads, a part of the games at a time."""

    def __init__(self, tracker: Tracker, year: int | None, include_removed: bool) -> None:
        self._tracker = tracker
        self._year = year
        self._include_removed = include_removed

    async def start(
        self, client: RiotClient, game_name: str, tag_line: str, platform: str, routing: str, *, dry_run: bool
    ) -> Player:
        await self._tracker.step("account", 0, 2)
        if not dry_run:
            return await run_step(fetch_player, game_name, tag_line, platform, routing)
        platform = platform_route(platform)
        regional = check_routing(platform, routing=routing)
        try:
            account = await client.account_by_riot_id(game_name, tag_line, regional=regional)
        except RiotNotFoundError:
            raise PlayerNotFoundError("Riot knows no account of this game name and tag line") from None
        return Player(puuid=account.puuid, platform=platform, regional=regional)

    async def list_matches(self, client: RiotClient, player: Player, *, dry_run: bool) -> list[str]:
        await self._tracker.step("list matches", 2, 10)
        began = utc_now()
        listed = await list_all(client, player, self._year, keep=not dry_run)

        def record() -> None:
            with session(DOMAIN) as opened:
                fetches.record_listing(opened, player.puuid, self._year, listed, listed_at=began)

        if not dry_run:
            await asyncio.to_thread(record)
        return listed

    async def plan(
        self, player: Player, listed: Sequence[str], begins: float, ends: float, *, statistics: bool
    ) -> RecoveryPlan:
        """Compare; the players' statistics only where asked, since mending looks at them again."""
        match_ids = await asyncio.to_thread(self._ids, player, listed)
        await self._tracker.step("compare", begins, ends, total=len(match_ids))
        now, found = utc_now(), list[Finding]()
        for part in parts(match_ids):
            of_part = await asyncio.to_thread(self._check, player.puuid, part, now)
            found += of_part
            wrong = {finding.match_id for finding in of_part if finding.action is not Action.LEAVE}
            for match_id in part:
                await self._tracker.item(match_id, failed=match_id in wrong)
        puuids = await self._statistics(match_ids, mend=False) if statistics else []
        return RecoveryPlan(tuple(match_ids), tuple(found), tuple(puuids))

    def _ids(self, player: Player, listed: Sequence[str]) -> list[str]:
        with session(DOMAIN, read_only=True) as opened:
            return ids_to_check(opened, player.puuid, listed, year=self._year)

    def _check(self, puuid: str, part: Sequence[str], now: datetime) -> list[Finding]:
        with session(DOMAIN, read_only=True) as opened:
            return check(opened, part, now=now, include_removed=self._include_removed, puuid=puuid)

    async def mend(self, player: Player, plan: RecoveryPlan) -> tuple[BatchResult, list[str]]:
        """Do what the plan says; gives what fetching came to, and whose statistics were wrong."""
        await self._derive([*plan.of(Action.DERIVE), *plan.of(Action.MEND)])
        former = await asyncio.to_thread(_players, [item.match_id for item in plan.findings if item.absent])
        result = await self._fetch(plan.of(Action.FETCH))
        await self._tracker.step("statistics", 85, 90)
        wrong = await self._statistics(plan.match_ids, mend=True)
        await self._forget(former)
        again = await self.plan(player, plan.match_ids, 90, 99, statistics=True)
        if absent := [item for item in again.findings if item.absent and item.kind is FetchKind.MATCH]:
            logger(player=player.puuid[:8]).warning(
                "matches do not have the player they are listed for", count=len(absent)
            )
        if again.undone or again.statistics:
            first = f", first {again.undone[0].match_id}: {again.undone[0].reason}" if again.undone else ""
            raise RecoveryUnfinishedError(
                f"after the recovery {len(again.undone)} matches and timelines and the statistics of "
                f"{len(again.statistics)} players are wrong{first}: is another program changing the ledger?"
            )
        await asyncio.to_thread(_mark_synced, player.puuid)
        return result, wrong

    async def _derive(self, findings: Sequence[Finding]) -> None:
        await self._tracker.step("derive from payloads", 40, 50, total=len(findings))
        async with Writer() as writer:
            for start in range(0, len(findings), _AT_ONCE):
                part = findings[start : start + _AT_ONCE]
                await asyncio.gather(*(writer.do(partial(_derive_or_mend, finding=finding)) for finding in part))
                for finding in part:
                    await self._tracker.item(finding.match_id, failed=False)

    async def _fetch(self, findings: Sequence[Finding]) -> BatchResult:
        await self._tracker.step("fetch matches and timelines", 50, 85, total=len(findings))
        result, size = BatchResult(), settings().league.batch_size * len(FetchKind)
        for start in range(0, len(findings), size):
            part = findings[start : start + size]
            await asyncio.to_thread(_prepare, part)
            items: list[Item] = [(finding.match_id, finding.kind) for finding in part]
            result += await run_step(sync_matches, items)
        return result

    async def _forget(self, puuids: set[str]) -> None:
        """Remove those whom only answers to another application's key named."""
        async with Writer() as writer:
            for part in parts(sorted(puuids), PLAYERS):
                await writer.do(partial(_remove_unreferenced, puuids=part))

    async def _statistics(self, match_ids: Sequence[str], *, mend: bool) -> list[str]:
        players: set[str] = set()
        for part in parts(match_ids, PLAYERS):
            players |= await asyncio.to_thread(_players, part)
        wrong: list[str] = []
        async with Writer() as writer:
            for of_part in parts(sorted(players), PLAYERS):
                wrong += await writer.do(partial(_compare_statistics, puuids=of_part, mend=mend))
        return wrong


def _players(match_ids: Sequence[str]) -> set[str]:
    with session(DOMAIN, read_only=True) as opened:
        return players_of(opened, match_ids)


def _remove_unreferenced(opened: Session, puuids: Sequence[str]) -> int:
    # Locked before it is asked who refers to them: a game that is being stored then has them, or makes them anew.
    lock(opened, puuids)
    return remove_unreferenced_players(opened, puuids)


def _compare_statistics(opened: Session, puuids: Sequence[str], mend: bool) -> list[str]:
    wrong = wrong_statistics(opened, puuids)
    if wrong and mend:
        recompute(opened, puuid=wrong)
    return wrong


def _derive_or_mend(opened: Session, finding: Finding) -> None:
    if finding.action is Action.DERIVE:
        derive(opened, finding, now=utc_now())
    else:
        fetches.mark_stored(opened, finding.match_id, finding.kind, now=utc_now())


def _prepare(findings: Sequence[Finding]) -> None:
    with session(DOMAIN) as opened:
        prepare_fetch(opened, findings)


def _mark_synced(puuid: str) -> None:
    with session(DOMAIN) as opened:
        mark_synced(opened, puuid, now=utc_now())
