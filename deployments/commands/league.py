"""`quintet league`: sync players, and look at their cards, at what failed and at the rate limits.

Players are named by their Riot ID, `NAME#TAG`, in quotes where the name has blanks.
"""

import asyncio
import json
import logging
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deployments.commands.tables import plain_table
from deployments.errors import ExpectedError

if TYPE_CHECKING:
    from sqlmodel import Session

    from tasks.league.core.card_model import PlayerCard
    from tasks.league.core.tables import Summoner

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="League of Legends: sync players, look at their cards, at failures and at rate limits.",
)

#: What `quintet league sync` starts.
DEPLOYMENT = "league-sync-player/on-demand"

#: Characters of a Riot ID at most: far more than Riot gives out.
_LONGEST = 100

RiotId = Annotated[str, typer.Argument(metavar="NAME#TAG", help="A Riot ID; in quotes where it has blanks.")]
Year = Annotated[int | None, typer.Option(help="Only games of this UTC year.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def split_riot_id(text: str) -> tuple[str, str]:
    """Game name and tag line of a Riot ID.

    Raises:
        ExpectedError: it is none.
    """
    from tasks.foundation.core.escaping import printable

    game_name, _, tag_line = (part.strip() for part in text.rpartition("#"))
    told = printable(text, length=_LONGEST)
    # Control characters would reach the terminal when the ID is shown again.
    if not game_name or not tag_line or "#" in game_name or len(text) > _LONGEST or not text.isprintable():
        raise ExpectedError(f"a Riot ID is a name, # and a tag, such as 'Blue Kitten#NA1', not {told!r}")
    return game_name, tag_line


@app.command()
def player(riot_id: RiotId, year: Year = None, as_json: AsJson = False) -> None:
    """Show a player's card as the ledger has it: ranks, years, champions, queues, last games. Asks nobody else."""
    from blocks.engine import session
    from tasks.league.core.card import player_card
    from tasks.league.core.tables import DOMAIN

    with session(DOMAIN, read_only=True) as opened:
        card = player_card(opened, _known(opened, riot_id).puuid, year)
    _show(card, as_json)


def _show(card: "PlayerCard", as_json: bool) -> None:
    from tasks.foundation.core.escaping import printable
    from tasks.league.core.card_sections import remarks, sections, summary

    if as_json:
        typer.echo(card.model_dump_json())
        return
    console = Console(highlight=False)
    console.print(Text(printable(card.riot_id), style="bold"))
    console.print(Text(summary(card)))
    for remark in remarks(card):
        console.print(Text(remark, style="dim"))
    for section in sections(card):
        console.print(plain_table(section.title, section.headings, section.rows, numbers=section.numbers))


def _known(opened: "Session", riot_id: str) -> "Summoner":
    """The player of a Riot ID; an error that names the next step where the ledger has none."""
    from sqlmodel import col, select

    from tasks.foundation.core.escaping import printable
    from tasks.league.core.players import find_player
    from tasks.league.core.tables import Summoner

    game_name, tag_line = split_riot_id(riot_id)
    found = find_player(opened, game_name, tag_line)
    if found is not None:
        return found
    alike = select(Summoner.tag_line).where(Summoner.game_name == game_name).order_by(col(Summoner.tag_line)).limit(5)
    others = [printable(f"{game_name}#{tag}") for tag in opened.exec(alike).all() if tag]
    named = f" It has {', '.join(others)}." if others else ""
    whole = printable(f"{game_name}#{tag_line}")
    raise ExpectedError(
        f"the league ledger has no player {whole}.{named} `quintet league sync '{whole}' --platform ...` fetches them."
    )


@app.command()
def failures(
    of: Annotated[
        str | None, typer.Option("--player", metavar="NAME#TAG", help="Only matches listed for this player.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show matches and timelines that failed or that Riot answered 404 for, why, and when they are tried again."""
    from blocks.engine import session
    from tasks.foundation.core.escaping import printable
    from tasks.league.core.card_sections import moment
    from tasks.league.core.failures import failure_counts, told
    from tasks.league.core.failures import failures as read_failures
    from tasks.league.core.tables import DOMAIN

    with session(DOMAIN, read_only=True) as opened:
        puuid = None if of is None else _known(opened, of).puuid
        found = read_failures(opened, puuid=puuid, limit=limit)
        counts = failure_counts(opened, puuid=puuid)
    if as_json:
        typer.echo(json.dumps([failure.model_dump(mode="json") for failure in found]))
        return
    console = Console(highlight=False)
    if found:
        table = Table()
        for heading in ("match", "kind", "state", "tries", "next try", "reason"):
            table.add_column(heading, overflow="fold", no_wrap=heading not in ("next try", "reason"))
        for row in found:
            cells = (row.match_id, row.kind.lower(), row.state.lower(), str(row.failures), moment(row.due_at))
            table.add_row(*cells, Text(printable(row.reason)))
        console.print(table)
    total = sum(counts.values())
    console.print(told(counts) + (f"; the first {len(found)} are shown" if len(found) < total else ""))


@app.command()
def limits(as_json: AsJson = False) -> None:
    """Show how much of each rate limit of the Riot API is used, by all processes of this home or database."""
    from blocks.rate_ledger import read_rates

    found = [(key, bucket) for key in _keys() for bucket in read_rates(key)]
    if as_json:
        listed = [
            {
                "key": key,
                "route": bucket.route,
                "method": bucket.method,
                "learned": bucket.learned,
                "windows": [{"limit": w.limit, "seconds": w.seconds, "used": used} for w, used in bucket.used],
                "in_flight": bucket.in_flight,
                "blocked_seconds": bucket.blocked_seconds,
            }
            for key, bucket in found
        ]
        typer.echo(json.dumps(listed))
        return
    several = len({key for key, _ in found}) > 1
    table = Table()
    for heading in (*(["key"] if several else []), "route", "limit of", "used", "in flight", "blocked"):
        # The method's whole name: two of them begin alike.
        table.add_column(heading, overflow="fold", no_wrap=heading in ("route", "used"))
    for key, bucket in found:
        used = "\n".join(f"{count:,} of {w.limit:,} in {w.seconds:g} s" for w, count in bucket.used)
        blocked = f"{bucket.blocked_seconds:.0f} s" if bucket.blocked_seconds > 0 else ""
        cells = [bucket.route, bucket.method or "application", used or "not known yet", str(bucket.in_flight), blocked]
        table.add_row(*([key[:8], *cells] if several else cells))
    Console(highlight=False).print(table if found else "nothing was asked of the Riot API yet")


def _keys() -> list[str]:
    """Fingerprints of the keys that were used."""
    from sqlmodel import col, select

    from blocks.engine import session
    from blocks.rate_mirror import DOMAIN
    from blocks.rate_tables import RateRoute

    with session(DOMAIN, read_only=True) as opened:
        return list(opened.exec(select(RateRoute.key_name).distinct().order_by(col(RateRoute.key_name))).all())


@app.command()
def sync(
    riot_id: RiotId,
    platform: Annotated[str, typer.Option(help="Where the player plays: na1, euw1, kr...")] = "na1",
    year: Year = None,
    here: Annotated[bool, typer.Option("--here", help="Run it in this process, and show the card at the end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch what is new of a player: account, ranks, mastery, matches and timelines.

    A worker does it (`quintet up` runs one), unless --here is given. The Prefect server is needed in both cases.
    """
    from blocks.riot.routes import platform_route, regional_of
    from tasks.league.core.listing import check_year

    game_name, tag_line = split_riot_id(riot_id)
    route = platform_route(platform)
    try:
        check_year(year)
    except ValueError as error:
        raise ExpectedError(str(error)) from error
    parameters = {"game_name": game_name, "tag_line": tag_line, "platform": route, "routing": regional_of(route)}
    wanted: dict[str, Any] = {**parameters, "year": year}
    if here:
        _show(asyncio.run(_sync_here(wanted)), as_json)
        return
    run = asyncio.run(_start(wanted))
    if as_json:
        typer.echo(json.dumps({"id": run[0], "name": run[1], "deployment": DEPLOYMENT}))
    else:
        card = f"quintet league player {shlex.quote(riot_id)}"
        typer.echo(f"{run[0]}\nFollow it with `quintet status {run[0]}`, then `{card}`.")


async def _sync_here(parameters: Mapping[str, Any]) -> "PlayerCard":
    from blocks.engine import session
    from deployments.apply.server import connect
    from flows.league.players import sync_player
    from tasks.league.core.card import player_card
    from tasks.league.core.tables import DOMAIN

    async with connect():
        with _no_traceback():
            result = await sync_player(**parameters)
    with session(DOMAIN, read_only=True) as opened:
        return player_card(opened, result.puuid, result.year)


@contextmanager
def _no_traceback() -> Iterator[None]:
    """Keep the flow's traceback off the terminal, where its message follows; the run in the UI has it."""

    def wanted(record: logging.LogRecord) -> bool:
        return record.exc_info is None or os.environ.get("QUINTET_DEBUG") in ("1", "true")

    # Another handler, which is none of a stream, sends the lines to the server.
    handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.StreamHandler)]
    for handler in handlers:
        handler.addFilter(wanted)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(wanted)


async def _start(parameters: Mapping[str, Any]) -> tuple[str, str]:
    """Id and name of the flow run that a worker takes up."""
    from prefect.exceptions import ObjectNotFound

    from deployments.apply.server import connect

    async with connect() as client:
        try:
            deployment = await client.read_deployment_by_name(DEPLOYMENT)
        except ObjectNotFound as error:
            raise ExpectedError(f"the Prefect server has no deployment {DEPLOYMENT}: run `quintet apply`") from error
        run = await client.create_flow_run_from_deployment(deployment.id, parameters=dict(parameters))
    return str(run.id), run.name
