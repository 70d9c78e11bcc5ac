"""`quintet traders stream` and `limits`: how well the exchange is followed, and what it permits."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from deployments.commands.tables import plain_table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def stream(
    limit: Annotated[int, typer.Option(min=1, help="Connections and gaps shown at most.")] = 10, as_json: AsJson = False
) -> None:
    """Show who follows the stream, what became of everything received, and the gaps in it."""
    from sqlmodel import col, select

    from blocks.engine import session
    from tasks.traders.core.tables import DOMAIN, Coin, Cursor, Gap, Lease, Rejection, Stream

    with session(DOMAIN, read_only=True) as opened:
        lease = opened.get(Lease, "discovery")
        cursor = opened.get(Cursor, "positions")
        coins = opened.exec(select(Coin).order_by(col(Coin.coin))).all()
        streams = opened.exec(select(Stream).order_by(col(Stream.id).desc()).limit(limit)).all()
        gaps = opened.exec(select(Gap).order_by(col(Gap.id).desc()).limit(limit)).all()
        rejections = opened.exec(select(Rejection).order_by(col(Rejection.id).desc()).limit(limit)).all()
        if as_json:
            told: dict[str, Any] = {"lease": lease.model_dump(mode="json") if lease else None}
            told["applied_time"] = cursor.time if cursor else None
            for name, rows in (("coins", coins), ("streams", streams), ("gaps", gaps), ("rejections", rejections)):
                told[name] = [row.model_dump(mode="json") for row in rows]
            typer.echo(json.dumps(told))
            return
        _show(lease, coins, streams, gaps, rejections)


def _show(lease: Any, coins: Any, streams: Any, gaps: Any, rejections: Any) -> None:
    from tasks.foundation.core.columns import utc_now
    from tasks.traders.core.trader_view import moment_of
    from tasks.traders.leasing import shown

    def time(value: int | None) -> str:
        at = moment_of(value)
        return f"{at:%m-%d %H:%M:%S}" if at else ""

    console = Console(highlight=False)
    alive = lease is not None and lease.until_at > utc_now()
    console.print(Text(f"Followed by {shown(lease.owner)}." if alive else "Nobody follows the stream now."))
    rows: list[list[str]] = [
        [coin.coin, "yes" if coin.subscribed else "no", time(coin.seen_time), time(coin.whole_time)] for coin in coins
    ]
    if rows:
        console.print(plain_table("Coins", ("coin", "subscribed", "last trade", "whole up to"), rows))
    counted = ("frames", "trades", "stored", "duplicates", "rejected")
    rows = [
        [
            f"{found.started_at:%m-%d %H:%M:%S}",
            found.kind.value.lower().replace("_", " "),
            *(f"{getattr(found, name):,}" for name in counted),
            found.ended_for or ("" if found.ended_at else "running"),
        ]
        for found in streams
    ]
    if rows:
        headings: tuple[str, ...] = ("since", "kind", *counted, "ended")
        console.print(plain_table("Connections and fillings", headings, rows, numbers=set(counted)))
    rows = [
        [
            gap.coin,
            time(gap.from_time),
            time(gap.to_time),
            gap.state.value.lower(),
            f"{gap.recovered:,}",
            gap.reason or "",
        ]
        for gap in gaps
    ]
    if rows:
        headings = ("coin", "from", "to", "state", "recovered", "reason")
        console.print(plain_table("Gaps", headings, rows, numbers={"recovered"}))
    rows = [[f"{found.received_at:%m-%d %H:%M:%S}", found.reason, found.excerpt] for found in rejections]
    if rows:
        console.print(plain_table("Rejected", ("at", "reason", "what"), rows))


def limits(as_json: AsJson = False) -> None:
    """Show how much of the exchange's limits is used, by all processes that share an address and a ledger."""
    from blocks.exchange.block import Exchange
    from blocks.rate_ledger import read_rates

    exchange = Exchange.from_settings()
    found = read_rates(exchange.key_name, exchange.limits)
    if as_json:
        listed = [
            {
                "route": bucket.route,
                "windows": [{"limit": w.limit, "seconds": w.seconds, "used": used} for w, used in bucket.used],
                "in_flight": bucket.in_flight,
                "blocked_seconds": bucket.blocked_seconds,
            }
            for bucket in found
            if bucket.method is None
        ]
        typer.echo(json.dumps(listed))
        return
    rows = [
        [
            bucket.route,
            ", ".join(f"{used:,} of {w.limit:,} in {w.seconds:g} s" for w, used in bucket.used),
            str(bucket.in_flight),
            f"{bucket.blocked_seconds:.0f} s" if bucket.blocked_seconds > 0 else "",
        ]
        for bucket in found
        if bucket.method is None
    ]
    if rows:
        headings = ("limit of", "used", "in flight", "blocked")
        Console(highlight=False).print(plain_table("", headings, rows, numbers={"in flight"}))
    else:
        typer.echo(f"nothing was asked of {exchange.url} yet")
