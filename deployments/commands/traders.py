"""`quintet traders`: the leaderboard, single traders, changes of positions, and how well the exchange is followed."""

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.text import Text

from deployments.commands import traders_stream
from deployments.commands.tables import plain_table
from deployments.errors import ExpectedError

if TYPE_CHECKING:
    from tasks.traders.core.tables import PositionEvent
    from tasks.traders.core.trader_view import TraderView

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Traders: the leaderboard, single traders, changes of positions, the stream and its gaps.",
)
app.command("stream")(traders_stream.stream)
app.command("limits")(traders_stream.limits)

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="0x and 40 hexadecimal digits.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

#: What `schedules on` switches on.
DEPLOYMENTS = (
    "traders-discover/every-half-hour",
    "traders-track/every-75-seconds",
    "traders-leaderboard/every-ten-minutes",
    "traders-health/hourly",
    "traders-clean/weekly",
)


def _address(text: str) -> str:
    from tasks.traders.core.addresses import normal

    try:
        return normal(text)
    except ValueError as error:
        raise ExpectedError(str(error)) from error


@app.command()
def leaderboard(
    profile: Annotated[str, typer.Option(help="skill, balanced, conservative, aggressive or origin.")] = "skill",
    run: Annotated[int | None, typer.Option(help="The number of an earlier run; the newest where left out.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Places at most.")] = 25,
    as_json: AsJson = False,
) -> None:
    """Show the first places of the leaderboard, with rank changes since the run before."""
    from blocks.engine import session
    from tasks.traders.core.board_sections import HEADINGS, cells, not_eligible, summary
    from tasks.traders.core.board_view import board_view
    from tasks.traders.core.profiles import profile_named
    from tasks.traders.core.tables import DOMAIN

    try:
        profile_named(profile)
    except ValueError as error:
        raise ExpectedError(str(error)) from error
    with session(DOMAIN, read_only=True) as opened:
        board = board_view(opened, profile, run_id=run, limit=limit)
    if as_json:
        places = [
            {
                "rank": place.rank,
                "previous_rank": place.previous_rank,
                "address": place.address,
                "score": place.score,
                "components": dict(place.components),
                "metrics": {name: place.metrics[name] for name in place.metrics if name not in ("trader_id", "run_id")},
            }
            for place in board.places
        ]
        told = {"run": board.run_id, "profile": profile, "as_of": f"{board.as_of:%Y-%m-%d}", "traders": board.traders}
        typer.echo(json.dumps({**told, "eligible": board.eligible, "places": places}))
        return
    console = Console(highlight=False)
    console.print(Text(summary(board)))
    if remark := not_eligible(board):
        console.print(Text(remark, style="dim"))
    # A terminal has room for the most telling ones; the page in the Prefect UI has all.
    headings = ("rank", "change", "trader", "score", "days", "Sharpe", "± error", "ROI", "max drawdown", "win rate")
    at = [HEADINGS.index(heading) for heading in headings]
    rows = [[cells(place)[column] for column in at] for place in board.places]
    if rows:
        console.print(plain_table("", headings, rows, numbers=set(headings) - {"trader", "change"}))


@app.command()
def trader(address: Address, as_json: AsJson = False) -> None:
    """Show what is known of a trader: ranks, metrics, positions, last changes. Asks nobody else."""
    from blocks.engine import session
    from tasks.traders.core.tables import DOMAIN
    from tasks.traders.core.trader_view import trader_view

    with session(DOMAIN, read_only=True) as opened:
        view = trader_view(opened, _address(address))
        if as_json:
            typer.echo(json.dumps(_document(view)))
            return
        _show(view)


def _document(view: "TraderView") -> dict[str, Any]:
    def of(row: Any, *without: str) -> dict[str, Any]:
        dumped: dict[str, Any] = row.model_dump(mode="json", exclude={"trader_id", "run_id", "returns", *without})
        return dumped

    return {
        "trader": of(view.trader, "id"),
        "metrics": of(view.metrics) if view.metrics else None,
        "standings": [of(standing) | {"components": json.loads(standing.components)} for standing in view.standings],
        "positions": [of(position) for position in view.positions],
        "events": [of(event, "number") for event in view.events],
        "polls": [of(poll) for poll in view.polls],
        "history": of(view.history) if view.history else None,
    }


def _show(view: "TraderView") -> None:
    from tasks.traders.core.board_sections import COLUMNS, written
    from tasks.traders.core.trader_view import moment_of

    console = Console(highlight=False)
    console.print(Text(view.trader.address, style="bold"))
    seen = moment_of(view.trader.seen_time)
    ignored = " Ignored: neither polled nor ranked." if view.trader.ignored else ""
    console.print(Text((f"Last seen trading {seen:%Y-%m-%d %H:%M:%S} UTC." if seen else "Not seen trading.") + ignored))
    ranks = ", ".join(f"{standing.rank} in {standing.profile}" for standing in view.standings)
    reason = view.metrics.reason if view.metrics else "the leaderboard was not calculated since it is known"
    console.print(Text(f"Rank: {ranks}." if ranks else f"Not among the first: {reason or 'others are better'}."))
    if view.metrics is not None:
        stored = view.metrics.model_dump()
        rows = [(heading, written(stored.get(metric), form)) for heading, (metric, form) in COLUMNS.items()]
        console.print(plain_table("Metrics", ("metric", "value"), [row for row in rows if row[1]], numbers={"value"}))
    if view.positions:
        rows_of = [
            (
                position.coin,
                f"{position.szi:f}",
                _decimal(position.entry_px),
                f"{position.leverage or ''} {position.leverage_type or ''}".strip(),
                _decimal(position.liquidation_px),
            )
            for position in view.positions
        ]
        headings = ("coin", "size", "entry", "leverage", "liquidation")
        console.print(plain_table("Positions", headings, rows_of, numbers={"size", "entry", "liquidation"}))
    if view.events:
        console.print(_events_table([(event, None) for event in view.events]))


def _decimal(value: Any) -> str:
    return "" if value is None else f"{value:f}"


@app.command()
def events(
    of: Annotated[str | None, typer.Option("--trader", metavar="ADDRESS", help="Only of this trader.")] = None,
    coin: Annotated[str | None, typer.Option(help="Only of this coin.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show the newest changes of positions, newest first."""
    from blocks.engine import session
    from tasks.traders.core.tables import DOMAIN
    from tasks.traders.core.trader_view import find_trader, newest_events

    with session(DOMAIN, read_only=True) as opened:
        trader_id = None if of is None else find_trader(opened, _address(of)).id
        found = newest_events(opened, limit=limit, trader_id=trader_id, coin=coin)
        if as_json:
            rows = [
                event.model_dump(mode="json", exclude={"number", "trader_id"}) | {"address": address}
                for event, address in found
            ]
            typer.echo(json.dumps(rows))
        elif found:
            Console(highlight=False).print(_events_table(found))
        else:
            typer.echo("no change of a position was found yet")


def _events_table(found: Any) -> Any:
    from tasks.traders.core.addresses import short
    from tasks.traders.core.trader_view import moment_of

    named = any(address is not None for _, address in found)
    headings = ["time (UTC)", *(["trader"] if named else []), "coin", "change", "before", "after", "entry", "exit"]
    headings.append("result")

    def row(event: "PositionEvent", address: str | None) -> list[str]:
        at = moment_of(event.time)
        told = [f"{at:%m-%d %H:%M:%S}", *([short(address or "")] if named else []), event.coin]
        what = event.change.value.removesuffix("_POSITION").removesuffix("_CHANGE").lower()
        if event.leverage_after is not None and event.leverage_after != event.leverage_before:
            what += f" {event.leverage_before or '?'} to {event.leverage_after}"
        numbers = [event.entry_px, event.exit_px, event.realised]
        return [*told, what, f"{event.size_before:f}", f"{event.size_after:f}", *map(_decimal, numbers)]

    numbers = {"before", "after", "entry", "exit", "result"}
    return plain_table("Changes", headings, [row(event, address) for event, address in found], numbers=numbers)


@app.command()
def add(address: Address) -> None:
    """Add a trader who was not seen trading, to be polled and ranked like the others."""
    from tasks.traders.traders import get_or_create_trader

    known = asyncio.run(get_or_create_trader.fn(_address(address)))
    typer.echo("added; `traders-track` polls it and fetches its history" if known.created else "known already")


@app.command()
def ignore(
    address: Address,
    undo: Annotated[bool, typer.Option("--undo", help="Poll and rank it again.")] = False,
) -> None:
    """Neither poll nor rank a trader any more: a vault, a market maker."""
    from blocks.engine import session
    from tasks.traders.core.tables import DOMAIN
    from tasks.traders.core.trader_view import find_trader

    with session(DOMAIN) as opened:
        found = find_trader(opened, _address(address))
        found.ignored = not undo
        opened.add(found)
        opened.commit()
    typer.echo("polled and ranked again" if undo else "ignored from now on")


@app.command()
def schedules(state: Annotated[Literal["on", "off"], typer.Argument(help="on or off.")]) -> None:
    """Switch the schedules of discovery, tracking, leaderboard, health and cleaning on or off.

    They go out to a public exchange, so they are off until somebody wants them.
    """
    changed, started = asyncio.run(_switch(state == "on"))
    for name in changed:
        typer.echo(f"{name}: {state}")
    for name in started:
        typer.echo(f"{name}: started, as soon as a worker takes it")


async def _switch(active: bool) -> tuple[list[str], list[str]]:
    """Switch all, and start what is to go on for ever; gives the names of both."""
    from prefect.exceptions import ObjectNotFound

    from deployments.apply.server import connect
    from deployments.services.warm_worker.first_runs import start_now

    changed, started = [], []
    async with connect() as client:
        for name in DEPLOYMENTS:
            try:
                found = await client.read_deployment_by_name(name)
            except ObjectNotFound as error:
                raise ExpectedError(f"the Prefect server has no deployment {name}: run `quintet apply`") from error
            for schedule in found.schedules:
                await client.update_deployment_schedule(found.id, schedule.id, active=active)
            changed.append(name)
            if active and await start_now(client, await client.read_deployment_by_name(name)) is not None:
                started.append(name)
    return changed, started
