"""Compares yearly statistics with the games they are sums of, and sets them right.

Needs the league ledger, and asks the Riot API nothing.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

from pydantic import BaseModel, ConfigDict
from sqlmodel import Session, col, func, select

from blocks.engine import session
from tasks.foundation.retries import MAINTENANCE
from tasks.league.core.card import UnknownPlayerError
from tasks.league.core.players import find_player
from tasks.league.core.recovery import PLAYERS
from tasks.league.core.statistics import Difference, differences, recompute
from tasks.league.core.tables import DOMAIN, Summoner
from tasks.league.tracking import tracking
from tasks.league.writing import Writer

#: A report lists at most so many differences; it counts all.
LISTED = 200


class WrongStatistic(BaseModel):
    """A stored value that is not what the games add up to; a row that is missing or too many has column `*`."""

    model_config = ConfigDict(frozen=True)

    table: str
    #: The first eight characters.
    player: str
    year: int
    platform: str
    #: Dimension and value of a breakdown.
    of: str
    column: str
    stored: str
    expected: str


class StatisticsReport(BaseModel):
    """What was compared, and what was wrong; unless it was a dry run, all of it is right now."""

    model_config = ConfigDict(frozen=True)

    dry_run: bool
    #: Players compared.
    players: int = 0
    #: Players of whom something was wrong.
    wrong_players: int = 0
    #: Wrong values.
    differences: int = 0
    #: The first of them.
    listed: tuple[WrongStatistic, ...] = ()


def _told(difference: Difference) -> WrongStatistic:
    puuid, year, platform, *of = difference.key

    def shown(value: object) -> str:
        return "no such row" if value is None else "a row" if isinstance(value, dict) else str(value)

    return WrongStatistic(
        table=difference.table,
        player=str(puuid)[:8],
        year=year,
        platform=platform,
        of=" ".join(str(part) for part in of),
        column=difference.column,
        stored=shown(difference.stored),
        expected=shown(difference.expected),
    )


def _one(game_name: str, tag_line: str) -> str:
    with session(DOMAIN, read_only=True) as opened:
        player = find_player(opened, game_name, tag_line)
    if player is None:
        raise UnknownPlayerError("the ledger has no player of this Riot ID: sync it first")
    return player.puuid


def _count() -> int:
    with session(DOMAIN, read_only=True) as opened:
        return opened.exec(select(func.count()).select_from(Summoner)).one()


def _page(after: str) -> list[str]:
    wanted = select(Summoner.puuid).where(Summoner.puuid > after).order_by(col(Summoner.puuid)).limit(PLAYERS)
    with session(DOMAIN, read_only=True) as opened:
        return list(opened.exec(wanted).all())


def _compare(opened: Session, puuids: Sequence[str], *, dry_run: bool) -> list[Difference]:
    found = differences(opened, puuid=puuids)
    if found and not dry_run:
        recompute(opened, puuid={str(difference.key[0]) for difference in found})
    return found


@MAINTENANCE.task
async def recompute_statistics(
    game_name: str | None = None, tag_line: str | None = None, dry_run: bool = True
) -> StatisticsReport:
    """Derive yearly statistics anew from the stored games, and write those that were wrong; a few players at a time.

    Args:
        game_name: of one player's Riot ID; None for everybody, those included who only took part in a stored game.
        tag_line: of the same player.
        dry_run: change nothing, and report what is wrong.

    Raises:
        ValueError: half a Riot ID was given.
        UnknownPlayerError: the ledger has no such player.
    """
    if bool(game_name) != bool(tag_line):
        raise ValueError("give both game_name and tag_line, or neither for all players")
    only = [await asyncio.to_thread(_one, game_name, tag_line)] if game_name and tag_line else []
    report = StatisticsReport(dry_run=dry_run)
    with tracking() as tracker:
        await tracker.step("compare statistics", 0, 99, total=1 if only else await asyncio.to_thread(_count))
        async with Writer() as writer:
            page = only or await asyncio.to_thread(_page, "")
            while page:
                found = await writer.do(partial(_compare, puuids=page, dry_run=dry_run))
                report = StatisticsReport(
                    dry_run=dry_run,
                    players=report.players + len(page),
                    wrong_players=report.wrong_players + len({difference.key[0] for difference in found}),
                    differences=report.differences + len(found),
                    listed=(*report.listed, *map(_told, found[: LISTED - len(report.listed)])),
                )
                for puuid in page:
                    await tracker.item(puuid[:8], failed=False)
                page = [] if only else await asyncio.to_thread(_page, page[-1])
        await tracker.step("done", 100, 100)
    return report
