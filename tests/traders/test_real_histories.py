"""Real pasts: answers of the exchange's own network, fetched, stored, and made into days and round trips."""

import json
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlmodel import col, func, select

from blocks.engine import session
from blocks.exchange.answers import LedgerUpdate as LedgerAnswer
from blocks.exchange.answers import Portfolio, PortfolioPeriod, UserFill, UserFunding
from tasks.traders.core import paging
from tasks.traders.core.history_tables import Day, Equity, Fill, Funding, History, LedgerUpdate
from tasks.traders.core.tables import DOMAIN
from tasks.traders.histories import HistoryResult, refresh_history
from tests.traders.history_exchange import HistoryExchange
from tests.traders.ledger_rows import NOW, add_traders

REAL = Path(__file__).parents[2] / "../shared/data/hyperliquid"
pytestmark = pytest.mark.skipif(not REAL.exists(), reason="../shared is not beside this clone")

DAY_MS = 86_400_000


def answer(name: str) -> Any:
    return json.loads((REAL / name).read_text())


async def refresh(exchange: HistoryExchange, address: str) -> HistoryResult:
    (trader,) = add_traders(1)
    return await refresh_history(exchange, trader, address, now=NOW)


def history() -> History:
    with session(DOMAIN, read_only=True) as opened:
        return opened.get_one(History, 1)


def ends_of_positions(fills: list[dict[str, Any]]) -> int:
    """Milliseconds after which a position is flat or on its other side, by what the fills say of where they start."""
    groups: defaultdict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for fill in fills:
        groups[fill["coin"], fill["time"]].append(fill)
    positions: dict[str, Decimal] = {}
    ends = 0
    for (coin, _), group in sorted(groups.items()):
        starts = [Decimal(fill["startPosition"]) for fill in group]
        begin = positions[coin] if positions.get(coin) in starts else starts[0]
        end = begin + sum(Decimal(fill["sz"]) * (1 if fill["side"] == "B" else -1) for fill in group)
        ends += bool(begin) and begin * end <= 0
        positions[coin] = end
    return ends


async def test_five_hundred_fills_of_2023_without_tids(traders_ledger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "CUT", 100)
    told = answer("sdk_get_user_fills_by_time.json")
    exchange = HistoryExchange(page=100, newest_first=True)
    exchange.fills = msgspec.convert(told["response"], list[UserFill], strict=False)
    result = await refresh(exchange, told["request"]["user"])
    assert (result.fills, result.truncated) == (500, False)
    with session(DOMAIN, read_only=True) as opened:
        rows = opened.exec(select(Fill)).all()
    assert len({row.tid for row in rows}) == 500
    assert all(row.tid < 0 for row in rows)
    assert sum(row.closed_pnl for row in rows) == sum(Decimal(fill["closedPnl"]) for fill in told["response"])
    # Fifteen coins, in each of which it had a position before the first of these fills: what ended that is not counted.
    assert result.round_trips == ends_of_positions(told["response"]) - 15 == 15
    assert history().wins <= result.round_trips
    assert history().gross_profit > 0


async def test_modern_fills_of_perpetuals_spot_dust_and_liquidations(traders_ledger: str) -> None:
    liquidated = "0x193bd350ec838b1e22d6f302da5343b920aa1c2b"
    told = [*answer("ccxt_fills.json"), *answer("nt_http_user_fills_dust_conversion.json")]
    told += answer("nt_ws_user_fill_liquidation.json")["data"]["fills"]
    exchange = HistoryExchange()
    exchange.fills = msgspec.convert(told, list[UserFill], strict=False)
    result = await refresh(exchange, liquidated)
    assert result.fills == len(told) == 9
    with session(DOMAIN, read_only=True) as opened:
        rows = {(row.coin, row.time): row for row in opened.exec(select(Fill))}
        days = opened.exec(select(Day)).all()
    # Both were closed by force; the other side of another's liquidation was not.
    assert sorted(coin for (coin, _), row in rows.items() if row.liquidated) == ["HYPE", "flx:CRCL"]
    assert history().liquidations == 2
    # Neither what was bought for spot tokens nor the dust is a result of a day.
    assert sum(day.fills for day in days) == 7
    assert history().volume == pytest.approx(
        sum(float(fill["px"]) * float(fill["sz"]) for fill in told if not fill["coin"].startswith("@"))
    )
    assert [row.tid < 0 for row in rows.values() if row.dir == "Spot Dust Conversion"] == [True]


async def test_funding_and_ledger_updates(traders_ledger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "CUT", 50)
    funding = answer("sdk_user_funding_history_without_end_time.json")
    updates = answer("sdk_user_non_funding_ledger_updates_without_end_time.json")
    exchange = HistoryExchange(page=50)
    exchange.payments = msgspec.convert(funding["response"], list[UserFunding], strict=False)
    exchange.updates = msgspec.convert(updates["response"], list[LedgerAnswer], strict=False)
    result = await refresh(exchange, updates["request"]["user"])
    assert (result.funding, result.ledger_updates) == (218, 5)
    with session(DOMAIN, read_only=True) as opened:
        paid = opened.exec(select(Funding)).all()
        moved = opened.exec(select(LedgerUpdate).order_by(col(LedgerUpdate.time))).all()
        assert opened.exec(select(func.sum(Day.funding))).one() == pytest.approx(float(sum(row.usdc for row in paid)))
    assert sum(row.usdc for row in paid) == sum(Decimal(row["delta"]["usdc"]) for row in funding["response"])
    assert [(row.kind, row.usdc) for row in moved] == [
        ("deposit", Decimal("2703997.4500000002")),
        ("accountClassTransfer", Decimal("-12.0")),
        ("spotTransfer", Decimal(0)),
        ("accountClassTransfer", Decimal("-2684105.0099999998")),
        ("deposit", Decimal("1099994.98")),
    ]


async def test_a_portfolio_of_two_years(traders_ledger: str) -> None:
    told = answer("sdk_portfolio.json")
    exchange = HistoryExchange()
    exchange.periods = msgspec.convert(dict(told["response"]), dict[str, PortfolioPeriod], strict=False)
    result = await refresh(exchange, told["request"]["user"])
    portfolio = Portfolio(exchange.periods)
    with session(DOMAIN, read_only=True) as opened:
        points = opened.exec(select(Equity).order_by(col(Equity.time))).all()
        days = opened.exec(select(Day).order_by(col(Day.day))).all()
    # Every moment of every period, and the month agrees with all time wherever they meet.
    moments = {time for name, one in portfolio.periods.items() if "perp" in name for time, _ in one.pnl_history}
    assert {point.time for point in points} == moments
    assert result.points == len(moments)
    stored = {point.time: point.pnl for point in points}
    shifts = [(stored[time] or 0) - float(pnl) for time, pnl in portfolio.periods["perpWeek"].pnl_history]
    assert max(shifts) - min(shifts) < 0.01
    # 38 million were there when the history of perpetuals began, and were not won.
    total = sum(day.pnl for day in days)
    assert total == pytest.approx(history().pnl)
    assert total == pytest.approx(41_400_103.30 - 38_126_391.51, abs=1)
    # A month of days has returns, and weeks between points have none: nothing tells how they went from day to day.
    month = [day for day in days if day.ret is not None]
    last = datetime(2025, 8, 22, tzinfo=UTC).timestamp() * 1000 // DAY_MS
    assert [day.day for day in month] == list(range(int(last) - 31, int(last) + 1))
    # Sixteen million came on the 18th, in which the account lost; its return is that of the loss.
    deposited = max(month, key=lambda day: day.net_flow)
    assert deposited.net_flow > 15e6
    assert deposited.ret is not None
    assert -0.01 < deposited.ret < 0
    assert all(abs(day.ret or 0) < 0.02 for day in month)
    for before, after in pairwise(month):
        assert after.equity == pytest.approx((before.equity or 0) + before.pnl + before.net_flow, abs=1.0 + 0.02)
