"""What is fetched for gaps, in what order, at what weight, and what is said of them."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, cast

import pytest
from sqlalchemy.exc import InterfaceError

from blocks.engine import LedgerUnreadableError
from blocks.exchange.answers import UserFill
from blocks.exchange.errors import ExchangeRequestError, ExchangeUnavailableError
from blocks.exchange.info import ExchangeClient
from blocks.exchange.items import WsTrade
from blocks.exchange.shapes import RecentTrades
from tasks.foundation.lifecycle import logger
from tasks.traders import gap_filling
from tasks.traders.core.tables import GapState
from tasks.traders.discovery_plan import Ended, Fetched, Filled, Intake
from tasks.traders.discovery_transaction import OpenGap
from tasks.traders.gap_filling import GapFiller
from tests.traders.core.trades import address, new_stream, stored, trade

pytestmark = pytest.mark.usefixtures("traders_ledger")


def public(time: int, *, coin: str = "BTC", buyer: int = 5, seller: int = 6) -> WsTrade:
    return WsTrade(coin, "B", "100", "1", time, 1, (address(buyer), address(seller)))


def own(time: int, coin: str = "BTC") -> UserFill:
    return UserFill(
        coin=coin, px=Decimal(100), sz=Decimal(1), side="B", time=time, start_position=Decimal(0), dir="Open Long",
        closed_pnl=Decimal(0), crossed=True, tid=1,
    )  # fmt: skip


class StandIn:
    """Answers from what it was given, and notes who was asked for what."""

    def __init__(self, recent: dict[str, Any], fills: dict[str, Any] | None = None) -> None:
        self.recent, self.fills = recent, fills or {}
        self.asked: list[tuple[str, int, int | None]] = []

    async def recent_trades(self, coin: str) -> RecentTrades:
        return cast(RecentTrades, await self._answer(self.recent.get(coin, RecentTrades([]))))

    async def user_fills_by_time(self, user: str, start_time: int, end_time: int | None = None) -> list[UserFill]:
        self.asked.append((user, start_time, end_time))
        return cast(list[UserFill], await self._answer(self.fills.get(user, [])))

    async def _answer(self, answer: object) -> object:
        await asyncio.sleep(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def filled(client: StandIn, *gaps: OpenGap, weight: int = 600) -> list[Intake]:
    given: list[Intake] = []
    filler = GapFiller(cast(ExchangeClient, client), given.append, weight, logger())
    await filler.fill({gap.coin: gap for gap in gaps})
    return given


def endings(given: Sequence[Intake]) -> dict[str, tuple[GapState, int | None, str | None]]:
    return {each.coin: (each.state, each.to_time, each.reason) for each in given if isinstance(each, Filled)}


def fetched(given: Sequence[Intake]) -> list[tuple[str, int]]:
    return [(each.coin, row.time) for each in given if isinstance(each, Fetched) for row in each.trades]


async def test_recent_trades_that_reach_back_fill_a_gap() -> None:
    client = StandIn({"BTC": RecentTrades([public(3000), public(2000), public(1000)], 2)})
    given = await filled(client, OpenGap("BTC", 4, 1000), OpenGap("RARE", 4, 1000))
    assert endings(given) == {"BTC": (GapState.FILLED, 3000, None), "RARE": (GapState.FILLED, None, None)}
    assert sorted(fetched(given)) == [("BTC", 1000), ("BTC", 2000), ("BTC", 3000)]
    assert [each.rejected for each in given if isinstance(each, Fetched) and each.coin == "BTC"] == [2]
    assert {each.connection for each in given if isinstance(each, Filled)} == {4}
    assert isinstance(given[-1], Ended) and client.asked == []


async def test_else_those_who_traded_before_it_and_after_it_are_asked_for_what_is_between() -> None:
    stored(new_stream(), [trade(900, buyer=address(1), seller=address(2)), trade(950, buyer=address(2), seller=None)])
    fills = {address(2): [own(1500), own(999), own(1600, "SOL")], address(5): [own(1000), own(2500), own(2501)]}
    client = StandIn({"BTC": RecentTrades([public(2500)])}, fills)
    given = await filled(client, OpenGap("BTC", 4, 1000))
    assert client.asked == [(address(number), 1000, 2500) for number in (2, 1, 5, 6)]
    assert fetched(given) == [("BTC", 2500), ("BTC", 1500), ("BTC", 1000), ("BTC", 2500)]
    assert endings(given) == {"BTC": (GapState.PARTIAL, 2500, "fills of 4 traders")}


async def test_an_answer_for_several_gaps_is_counted_once_and_each_gap_takes_its_own() -> None:
    stored(new_stream(), [trade(900, buyer=address(1), seller=None)])
    recent = {"BTC": RecentTrades([public(2500)]), "ETH": RecentTrades([public(2600, coin="ETH")])}
    client = StandIn(recent, {address(1): [own(1500), own(1500, "ETH"), own(2550, "ETH"), own(2550)]})
    given = await filled(client, OpenGap("BTC", 4, 1000), OpenGap("ETH", 4, 1200))
    of_one = [each for each in given if isinstance(each, Fetched)][2:]
    assert [(each.coin, [row.time for row in each.trades], each.answers) for each in of_one[:2]] == [
        ("BTC", [1500], 1),
        ("ETH", [1500, 2550], 0),
    ]
    assert client.asked[0] == (address(1), 1000, 2600)


async def test_no_more_weight_is_spent_than_a_gap_may_cost() -> None:
    stored(new_stream(), [trade(900, buyer=address(2 * n), seller=address(2 * n + 1), tid=n) for n in range(1, 40)])
    client = StandIn({"BTC": RecentTrades([public(2500)])})
    # 20 each; what one more could cost, 120, must be left.
    await filled(client, OpenGap("BTC", 4, 1000), weight=200)
    assert len(client.asked) == 5
    client.asked.clear()
    assert endings(await filled(client, OpenGap("BTC", 4, 1000), weight=0))["BTC"][2] == "fills of 0 traders"
    assert client.asked == []


async def test_one_who_cannot_be_asked_is_passed_over_and_an_exchange_that_is_away_ends_it() -> None:
    trades = [trade(900 - n, buyer=address(n), seller=None) for n in range(1, 5)]
    stored(new_stream(), trades)
    refused = ExchangeRequestError("refused", item="userFillsByTime of 0x0000…0001", status=422)
    away = ExchangeUnavailableError("gave no answer", item="userFillsByTime of 0x0000…0003", status=502)
    client = StandIn({"BTC": RecentTrades([public(2500)])}, {address(1): refused, address(3): away})
    given = await filled(client, OpenGap("BTC", 4, 1000))
    assert [user for user, *_ in client.asked] == [address(1), address(2), address(3)]
    assert endings(given)["BTC"] == (GapState.PARTIAL, 2500, "fills of 1 traders; gave no answer")


async def test_where_recent_trades_cannot_be_had_fills_are_asked_for_up_to_now() -> None:
    stored(new_stream(), [trade(900, buyer=address(1), seller=None)])
    away = ExchangeUnavailableError("gave no answer", item="recentTrades of BTC", status=502)
    client = StandIn({"BTC": away}, {address(1): [own(1500)]})
    given = await filled(client, OpenGap("BTC", 4, 1000))
    assert client.asked == [(address(1), 1000, None)] and fetched(given) == [("BTC", 1500)]
    state, to_time, reason = endings(given)["BTC"]
    assert state is GapState.PARTIAL and to_time is None
    assert reason == "recentTrades: gave no answer; fills of 1 traders"


async def test_trades_of_another_coin_are_none_of_the_gaps() -> None:
    client = StandIn({"BTC": RecentTrades([public(900), public(950, coin="ETH")])})
    given = await filled(client, OpenGap("BTC", 4, 1000))
    assert fetched(given) == [("BTC", 900)]
    assert [each.rejected for each in given if isinstance(each, Fetched)] == [1]


@pytest.mark.parametrize("error", [LedgerUnreadableError("away"), InterfaceError("SELECT", {}, Exception("away"))])
async def test_a_database_that_is_away_delays_a_gap_and_does_not_end_the_filling(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    tried = 0

    def candidates(*_arguments: object) -> list[str]:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise error
        return []

    monkeypatch.setattr(gap_filling, "_candidates", candidates)
    monkeypatch.setattr(gap_filling, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(gap_filling, "GATHER_SECONDS", 0.0)
    told: asyncio.Queue[Intake] = asyncio.Queue()
    filler = GapFiller(
        cast(ExchangeClient, StandIn({"BTC": RecentTrades([public(2500)])})), told.put_nowait, 600, logger()
    )
    filler.want([OpenGap("BTC", 4, 1000)])
    running = asyncio.create_task(filler.run())
    while not isinstance(each := await told.get(), Filled):
        continue
    running.cancel()
    assert tried == 2 and each.state is GapState.PARTIAL
