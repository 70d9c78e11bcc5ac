"""Fetching a past: whole, only what is new, the same after a stop anywhere, and honest about what is not to be had."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Table
from sqlmodel import SQLModel, select

from blocks.engine import session
from blocks.exchange.errors import ExchangeAnswerError, ExchangeRequestError, ExchangeUnavailableError
from tasks.traders import histories
from tasks.traders.core import fetched, paging
from tasks.traders.core.fetched import OVERLAP
from tasks.traders.core.history_tables import Day, Equity, Fill, Funding, History, LedgerUpdate
from tasks.traders.core.tables import DOMAIN, Trader
from tasks.traders.histories import HistoryResult, refresh_history, refresh_trader_history
from tests.traders.history_exchange import HOUR, START, HistoryExchange, StoppedError, deposit, fill, payment, period
from tests.traders.ledger_rows import add_traders, address

NOW = datetime.fromtimestamp((START + 100 * HOUR) / 1000, UTC)
TABLES: tuple[type[SQLModel], ...] = (Fill, Funding, LedgerUpdate, Equity, Day, History)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> int:
    """So that a few rows are many pages."""
    monkeypatch.setattr(paging, "CUT", 4)
    return 4


async def refresh(exchange: HistoryExchange, trader: int = 1, now: datetime = NOW) -> HistoryResult:
    return await refresh_history(exchange, trader, address(trader), now=now)


def everything() -> dict[str, list[dict[str, Any]]]:
    """All rows of all pasts."""
    found = {}
    with session(DOMAIN, read_only=True) as opened:
        for model in TABLES:
            rows = opened.exec(select(model).order_by(*table_of(model).primary_key)).all()
            found[table_of(model).name] = [row.model_dump() for row in rows]
    return found


def table_of(model: type[SQLModel]) -> Table:
    return model.metadata.tables[str(model.__tablename__)]


def forget(trader: int = 1) -> None:
    with session(DOMAIN) as opened:
        for table in map(table_of, TABLES):
            opened.connection().execute(table.delete().where(table.c.trader_id == trader))


def history() -> History:
    with session(DOMAIN, read_only=True) as opened:
        return opened.get_one(History, 1)


def busy(exchange: HistoryExchange) -> HistoryExchange:
    """Four days of a trader whose fills lie several to a millisecond."""
    exchange.updates = [deposit(1, "1000"), deposit(30, "500"), *(deposit(50 + hour / 2, "1") for hour in range(8))]
    exchange.payments = [payment(hour, "0.25", coin) for hour in range(2, 9) for coin in ("BTC", "ETH", "xyz:AAPL")]
    for hour in range(2, 26):
        for number in range(hour % 4):
            exchange.fills.append(fill(hour, 100 * hour + number, start=str(number)))
        if hour % 4:
            closing = {"sz": str(hour % 4), "closedPnl": "5", "start": str(hour % 4)}
            exchange.fills.append(fill(hour + 0.5, hour, "A", **closing))
    exchange.fills += [fill(40, None), fill(40, None), fill(40, None, "A", start="2", sz="2")]
    exchange.periods = {
        "perpAllTime": period((0, "0", "0"), (24, "1080", "80"), (50, "1600", "100"), (74, "1610", "102")),
        "perpDay": period((60, "1604", "0"), (74, "1610", "2")),
    }
    return exchange


@pytest.mark.parametrize("newest_first", [False, True])
async def test_a_past_is_fetched_whole_and_makes_days(
    traders_ledger: str, small_pages: int, newest_first: bool
) -> None:
    add_traders(1)
    exchange = busy(HistoryExchange(page=small_pages, newest_first=newest_first))
    result = await refresh(exchange)
    found = everything()
    assert len(found["traders_fill"]) == result.fills == len(exchange.fills)
    assert {row["tid"] for row in found["traders_fill"] if row["tid"] > 0} == {
        one.tid for one in exchange.fills if one.tid
    }
    assert len(found["traders_funding"]) == result.funding == len(exchange.payments)
    assert len(found["traders_ledger_update"]) == result.ledger_updates == len(exchange.updates)
    assert len(found["traders_equity"]) == result.points == 5
    assert (result.days, result.truncated) == (3, False)
    assert result.round_trips == sum(bool(hour % 4) for hour in range(2, 26)) + 1
    (row,) = found["traders_history"]
    assert (row["fills_time"], row["ledger_time"]) == (START + 40 * HOUR, START + round(53.5 * HOUR))
    assert (row["refreshed_at"], row["portfolio_time"], row["pnl"]) == (NOW, START + 74 * HOUR, 102)


@pytest.mark.parametrize("newest_first", [False, True])
async def test_stopped_at_any_request_and_run_again_it_is_that_of_one_run(
    traders_ledger: str, small_pages: int, newest_first: bool
) -> None:
    add_traders(1)
    exchange = busy(HistoryExchange(page=small_pages, newest_first=newest_first))
    await refresh(exchange)
    expected, requests = everything(), len(exchange.asked)
    assert requests > 25
    for stopped in range(0, requests, 1 if traders_ledger == "sqlite" else 4):
        forget()
        exchange.left = stopped
        with pytest.raises(StoppedError):
            await refresh(exchange)
        exchange.left = None
        await refresh(exchange)
        assert everything() == expected


async def test_stopped_again_and_again_it_gets_on(traders_ledger: str, small_pages: int) -> None:
    add_traders(1)
    exchange = busy(HistoryExchange(page=small_pages))
    await refresh(exchange)
    expected = everything()
    forget()
    stops = 0
    while everything() != expected:
        exchange.left = 5
        stops += 1
        assert stops < 50
        try:
            await refresh(exchange)
        except StoppedError:
            continue
    assert stops > 3


async def test_again_only_what_is_new_is_asked_for(traders_ledger: str) -> None:
    add_traders(1)
    exchange = busy(HistoryExchange())
    await refresh(exchange)
    before = everything()
    exchange.asked.clear()
    await refresh(exchange)
    assert everything() == before
    assert exchange.asked == [
        ("updates", START + round(53.5 * HOUR) - OVERLAP),
        ("funding", START + 8 * HOUR - OVERLAP),
        ("fills", START + 40 * HOUR - OVERLAP),
        ("portfolio", 0),
    ]
    exchange.fills.append(fill(80, 9999))
    assert (await refresh(exchange)).fills == 4
    assert len(everything()["traders_fill"]) == len(exchange.fills)


async def test_a_fill_that_is_told_late_is_not_lost(traders_ledger: str) -> None:
    add_traders(1)
    exchange = HistoryExchange()
    exchange.fills = [fill(2, 1)]
    await refresh(exchange)
    exchange.fills.append(fill(2 - 1 / 60, 2))
    await refresh(exchange)
    assert {row["tid"] for row in everything()["traders_fill"]} == {1, 2}


async def test_of_ten_thousand_fills_there_were_more(traders_ledger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetched, "MOST_FILLS", 10)
    add_traders(1)
    exchange = HistoryExchange()
    exchange.most_fills = 10
    exchange.fills = [fill(hour, hour, start=str(hour)) for hour in range(1, 13)]
    assert (await refresh(exchange)).truncated
    assert history().fills_from == START + 3 * HOUR


@pytest.mark.parametrize("newest_first", [False, True])
async def test_a_hole_between_two_fetches_is_known(traders_ledger: str, small_pages: int, newest_first: bool) -> None:
    add_traders(1)
    exchange = HistoryExchange(page=small_pages, newest_first=newest_first)
    exchange.most_fills = 10
    exchange.fills = [fill(hour, hour) for hour in range(1, 6)]
    assert not (await refresh(exchange)).truncated
    exchange.fills += [fill(hour, hour) for hour in range(6, 30)]
    assert (await refresh(exchange)).truncated
    assert history().fills_from == START + 20 * HOUR
    assert len(everything()["traders_fill"]) == 15


async def test_a_millisecond_with_more_than_a_page_is_known(traders_ledger: str, small_pages: int) -> None:
    add_traders(1)
    exchange = HistoryExchange(page=small_pages)
    exchange.fills = [fill(1, 99), *(fill(2, number) for number in range(1, 8)), fill(3, 98)]
    assert (await refresh(exchange)).truncated
    assert history().fills_from == START + 2 * HOUR + 1
    assert {98, 99} <= {row["tid"] for row in everything()["traders_fill"]}


async def test_who_was_liquidated_and_who_took_the_other_side(traders_ledger: str) -> None:
    add_traders(1, 1)
    exchange = HistoryExchange()
    of_one = {
        "liquidation": {"liquidatedUser": address(1).upper().replace("X", "x"), "markPx": "1", "method": "market"}
    }
    exchange.fills = [fill(1, 1), fill(2, 2, "A", start="1", **of_one)]
    await refresh(exchange)
    await refresh(exchange, 2)
    found = {(row["trader_id"], row["tid"]): row["liquidated"] for row in everything()["traders_fill"]}
    assert [key for key, liquidated in found.items() if liquidated] == [(1, 2)]
    assert [row["liquidations"] for row in everything()["traders_history"]] == [1, 0]


@pytest.mark.parametrize("error", [ExchangeRequestError, ExchangeAnswerError])
async def test_a_trader_that_is_refused_is_noted_and_asked_for_later(
    traders_ledger: str, error: type[ExchangeRequestError | ExchangeAnswerError]
) -> None:
    add_traders(1)
    exchange = busy(HistoryExchange())
    exchange.left, exchange.failure = 2, error("fills of 0x0000…0001 are refused", item="fills")
    for failures in (1, 2):
        exchange.left = 2
        with pytest.raises(error):
            await refresh(exchange)
        assert (history().failures, history().reason) == (failures, "fills of 0x0000…0001 are refused")
        assert history().due_at is not None
        assert NOW < (history().due_at or NOW) <= NOW + timedelta(seconds=120)
    assert everything()["traders_ledger_update"]
    exchange.left = None
    await refresh(exchange)
    assert (history().failures, history().reason, history().due_at) == (0, None, None)


async def test_an_exchange_that_is_away_is_no_fault_of_a_trader(traders_ledger: str) -> None:
    add_traders(1)
    exchange = busy(HistoryExchange())
    exchange.left, exchange.failure = 2, ExchangeUnavailableError("away", item="fills")
    with pytest.raises(ExchangeUnavailableError):
        await refresh(exchange)
    assert (history().failures, history().refreshed_at) == (0, None)


async def test_who_never_did_anything_has_an_empty_past(traders_ledger: str) -> None:
    add_traders(1)
    result = await refresh(HistoryExchange())
    assert result == HistoryResult(
        trader_id=1, fills=0, funding=0, ledger_updates=0, points=0, days=0, round_trips=0, truncated=False
    )
    assert history().refreshed_at == NOW


async def test_the_task_makes_an_unknown_trader_known(traders_ledger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = busy(HistoryExchange())

    @asynccontextmanager
    async def client() -> AsyncIterator[HistoryExchange]:
        yield exchange

    monkeypatch.setattr(histories, "exchange_client", client)
    result = await refresh_trader_history.fn(address(0xABC).upper().replace("X", "x"))
    assert result.fills == len(exchange.fills)
    with session(DOMAIN, read_only=True) as opened:
        assert opened.get_one(Trader, result.trader_id).address == address(0xABC)
    with pytest.raises(ValueError, match="40 hexadecimal digits"):
        await refresh_trader_history.fn("0x5a")
