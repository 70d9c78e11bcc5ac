"""What a trader's past comes to: its days and its round trips, computed from the rows alone."""

from decimal import Decimal
from typing import Any

from deployments.sandbox.exchange.fills import ZERO, Fill
from deployments.sandbox.exchange.past import DAY, Past

#: Fills that move no position.
SPOT_DIRECTIONS = ("Buy", "Sell", "Spot Dust Conversion")


def days(past: Past, end: int) -> list[dict[str, Any]]:
    """The UTC days since the account was made, idle ones too; `end` is the first moment that belongs to none.

    `ret` is the result over what the account was worth when the day began, deposits of the day added. Spot is left out,
    as it is in the portfolio here.
    """
    if past.created is None:
        return []
    found: dict[int, dict[str, Any]] = {}
    for day in range(past.created // DAY, end // DAY):
        before, last = day * DAY - 1, (day + 1) * DAY - 1
        equity, flow = past.worth(before), past.flow(last) - past.flow(before)
        pnl = past.result(last) - past.result(before)
        base = equity + max(flow, ZERO)
        found[day] = {
            "day": day,
            "equity": float(equity),
            "net_flow": float(flow),
            "pnl": float(pnl),
            "ret": float(pnl / base) if base > 0 else None,
            "volume": 0.0,
            "fills": 0,
            "closed_pnl": 0.0,
            "fees": 0.0,
            "funding": 0.0,
        }
    for fill in past.fills:
        if fill.dir not in SPOT_DIRECTIONS:
            here = found[fill.time // DAY]
            here["volume"] += float(fill.notional)
            here["fills"] += 1
            here["closed_pnl"] += float(fill.closed_pnl)
            here["fees"] += float(fill.fee)
    for row in past.fundings:
        found[row["time"] // DAY]["funding"] += float(row["delta"]["usdc"])
    return list(found.values())


def round_trips(fills: list[Fill], fundings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Positions from flat to flat, by time of closing; a flip ends one and begins one, and divides its fee by size."""
    found: list[dict[str, Any]] = []
    lives: dict[str, dict[str, Any]] = {}
    payments = [(row["time"], str(row["delta"]["coin"]), Decimal(row["delta"]["usdc"])) for row in reversed(fundings)]
    for fill in fills:
        if fill.dir in SPOT_DIRECTIONS:
            continue
        while payments and payments[-1][0] <= fill.time:
            _, coin, usdc = payments.pop()
            if coin in lives:
                lives[coin]["funding"] += usdc
        size = Decimal(fill.sz)
        after = fill.start_position + (size if fill.side == "B" else -size)
        flips = fill.start_position * after < 0
        fee = fill.fee * abs(fill.start_position) / size if flips else fill.fee
        life = lives.setdefault(fill.coin, _life(fill.coin, fill.time))
        life["closed_pnl"] += fill.closed_pnl
        life["fees"] += fee
        life["liquidated"] |= fill.liquidated is not None
        if flips or after == 0:
            found.append(_ended(lives.pop(fill.coin), fill.time))
        if flips:
            lives[fill.coin] = {**_life(fill.coin, fill.time), "fees": fill.fee - fee}
    return found


def _life(coin: str, time: int) -> dict[str, Any]:
    return {"coin": coin, "opened": time, "closed_pnl": ZERO, "fees": ZERO, "funding": ZERO, "liquidated": False}


def _ended(life: dict[str, Any], time: int) -> dict[str, Any]:
    net = life["closed_pnl"] - life["fees"] + life["funding"]
    sums = {name: float(life[name]) for name in ("closed_pnl", "fees", "funding")}
    return {**life, **sums, "closed": time, "net": float(net)}
