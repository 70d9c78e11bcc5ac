"""Pasts of the sandbox exchange, fetched over HTTP, against what its own ledger says that they come to."""

from itertools import pairwise
from statistics import correlation, mean, pstdev
from typing import Any

import pytest
from sqlmodel import col, select

from blocks.engine import session
from deployments.sandbox.exchange.server import RunningExchange
from tasks.traders.core.history_tables import Day, History
from tasks.traders.core.tables import DOMAIN
from tasks.traders.histories import refresh_trader_history
from tests.traders.exchanges import exchange_in_use

#: 2026-03-01; the past before it is always the same.
NOON = 1_772_366_400_000
_SUMS = {"volume": 1e-9, "fills": 0.0, "fees": 1e-9, "funding": 1e-9, "closed_pnl": 1e-9, "net_flow": 1e-6, "pnl": 1e-3}


def truth_of(exchange: RunningExchange, address: str, part: str) -> list[dict[str, Any]]:
    told = exchange.truth(part, user=address)[part]
    return list(told[address] if isinstance(told, dict) else told)


async def fetched(address: str) -> tuple[list[Day], History]:
    result = await refresh_trader_history.fn(address)
    with session(DOMAIN, read_only=True) as opened:
        days = opened.exec(select(Day).where(Day.trader_id == result.trader_id).order_by(col(Day.day))).all()
        return list(days), opened.get_one(History, result.trader_id)


async def test_pasts_come_to_what_the_exchange_knows(traders_databases: str) -> None:
    told_sharpes, true_sharpes = [], []
    with exchange_in_use(days=60, edge_cases=True, flow_rate=0.15, traders=14, start_time=NOON) as exchange:
        for address in exchange.app.world.addresses:
            days, history = await fetched(address)
            true = truth_of(exchange, address, "days")
            for name, tolerance in _SUMS.items():
                expected = sum(day[name] for day in true)
                found = sum(getattr(day, name) for day in days)
                # The day that is not over is in ours alone, and nobody trades in it.
                assert found == pytest.approx(expected, rel=tolerance, abs=0.05), (name, address)
            nets = [trip["net"] for trip in truth_of(exchange, address, "round_trips")]
            assert (history.round_trips, history.wins) == (len(nets), sum(net > 0 for net in nets))
            assert history.gross_profit == pytest.approx(sum(net for net in nets if net > 0), abs=0.01)
            assert history.gross_loss == pytest.approx(-sum(net for net in nets if net < 0), abs=0.01)
            assert all(before.day < after.day for before, after in pairwise(days))
            by_day = {day.day: day.ret for day in days if day.ret is not None}
            both = [(by_day[day["day"]], day["ret"]) for day in true if day["day"] in by_day and day["ret"] is not None]
            # Of the last month nearly every day has a return; before, those that fills explain.
            assert len(both) >= 0.4 * len(true)
            if len(both) >= 25:
                told_sharpes.append(mean(told for told, _ in both) / pstdev(told for told, _ in both))
                true_sharpes.append(mean(real for _, real in both) / pstdev(real for _, real in both))
    assert len(told_sharpes) >= 8
    assert correlation(told_sharpes, true_sharpes) > 0.97
