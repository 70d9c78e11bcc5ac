"""`clearinghouseState` and its kin: what an account holds at the newest block."""

from decimal import Decimal
from typing import Any

from deployments.sandbox.exchange.coins import SPOT_TOKEN, plain
from deployments.sandbox.exchange.fills import ZERO, rounded
from deployments.sandbox.exchange.ledger import default_leverage
from deployments.sandbox.exchange.world import World

_PRICE = Decimal("0.00000001")


def clearinghouse_state(world: World, index: int | None, dex: str) -> dict[str, Any]:
    """A trader's positions on the exchange's own perpetuals (`""`) or on a builder's."""
    positions = [] if index is None else _positions(world, index, dex)
    cash = ZERO if index is None else world.cash(index, dex)
    unrealised = sum((Decimal(one["position"]["unrealizedPnl"]) for one in positions), ZERO)
    notional = sum((Decimal(one["position"]["positionValue"]) for one in positions), ZERO)
    used = sum((Decimal(one["position"]["marginUsed"]) for one in positions), ZERO)
    value = cash + unrealised
    signed = sum(
        (Decimal(one["position"]["positionValue"]).copy_sign(Decimal(one["position"]["szi"])) for one in positions),
        ZERO,
    )
    summary = {
        "accountValue": plain(rounded(value)),
        "totalNtlPos": plain(rounded(notional)),
        "totalRawUsd": plain(rounded(value - signed)),
        "totalMarginUsed": plain(rounded(used)),
    }
    return {
        "marginSummary": summary,
        "crossMarginSummary": dict(summary),
        "crossMaintenanceMarginUsed": plain(rounded(used / 2)),
        "withdrawable": plain(rounded(max(ZERO, value - used))),
        "assetPositions": positions,
        "time": world.time,
    }


def _positions(world: World, index: int, dex: str) -> list[dict[str, Any]]:
    ledger = world.ledger()
    account = ledger.accounts.get(index)
    if account is None:
        return []
    return [
        _position(world, index, name)
        for name, coin in world.coins.items()
        if coin.dex == dex and not coin.is_spot and name in account.holdings and account.holdings[name].szi
    ]


def _position(world: World, index: int, name: str) -> dict[str, Any]:
    ledger, coin = world.ledger(), world.coins[name]
    holding, mark = ledger.accounts[index].holdings[name], world.mark(name)
    kind, value = ledger.accounts[index].leverages.get(name) or default_leverage(coin)
    notional = abs(holding.szi) * mark
    margin = notional / value
    unrealised = holding.unrealised(mark)
    leverage: dict[str, Any] = {"type": kind, "value": value}
    if kind == "isolated":
        leverage["rawUsd"] = plain(rounded(margin - holding.szi * mark))
    # As if it were alone in the account and isolated: the other positions do not come into it.
    liquidation = holding.entry * (1 - Decimal(1).copy_sign(holding.szi) * Decimal("0.95") / value)
    return {
        "type": "oneWay",
        "position": {
            "coin": name,
            "szi": plain(holding.szi),
            "leverage": leverage,
            "entryPx": plain(holding.entry.quantize(_PRICE)),
            "positionValue": plain(rounded(notional)),
            "unrealizedPnl": plain(rounded(unrealised)),
            "returnOnEquity": plain(rounded(unrealised / (abs(holding.szi) * holding.entry / value))),
            "liquidationPx": None if value == 1 and holding.szi > 0 else plain(liquidation.quantize(_PRICE)),
            "marginUsed": plain(rounded(margin)),
            "maxLeverage": coin.maximum_leverage,
            "cumFunding": {"allTime": "0.0", "sinceOpen": "0.0", "sinceChange": "0.0"},
        },
    }


def spot_state(world: World, index: int) -> dict[str, Any]:
    """A trader's balances."""
    ledger = world.ledger()
    balances = [{"coin": "USDC", "token": 0, "total": "0.0", "hold": "0.0", "entryNtl": "0.0"}]
    for number, (name, coin) in enumerate(world.coins.items(), start=150):
        if coin.is_spot:
            token = SPOT_TOKEN if name == "@107" else name.partition("/")[0]
            total = plain(ledger.holding(index, name).szi)
            balances.append({"coin": token, "token": number, "total": total, "hold": "0.0", "entryNtl": "0.0"})
    return {"balances": balances}


def meta(world: World, dex: str) -> dict[str, Any]:
    """The perpetuals there are."""
    universe = [
        {"szDecimals": coin.sz_decimals, "name": coin.name, "maxLeverage": coin.maximum_leverage, "marginTableId": 50}
        | ({"onlyIsolated": True} if coin.dex else {})
        for coin in world.coins.values()
        if coin.dex == dex and not coin.is_spot
    ]
    return {"universe": universe, "marginTables": [], "collateralToken": 0}


def contexts(world: World, dex: str) -> list[dict[str, Any]]:
    """Prices and interest of each of them, in the order of `meta`."""
    ledger, found = world.ledger(), []
    for asset in meta(world, dex)["universe"]:
        name = asset["name"]
        mark = plain(world.mark(name))
        held = (account.holdings.get(name) for account in list(ledger.accounts.values()))
        interest = sum((holding.szi for holding in held if holding and holding.szi > 0), ZERO)
        found.append(
            {
                "funding": "0.0000125",
                "openInterest": plain(interest),
                "prevDayPx": world.coins[name].px(world.coins[name].ticks),
                "dayNtlVlm": "0.0",
                "premium": "0.0",
                "oraclePx": mark,
                "markPx": mark,
                "midPx": mark,
                "impactPxs": [mark, mark],
                "dayBaseVlm": "0.0",
            }
        )
    return found


def mids(world: World, dex: str) -> dict[str, str]:
    """The price of each coin; the exchange's own perpetuals come with the spot pairs."""
    return {
        name: plain(world.mark(name))
        for name, coin in world.coins.items()
        if coin.dex == dex and (not dex or not coin.is_spot)
    }
