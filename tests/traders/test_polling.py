"""Polls and histories side by side: shares, failures, the end of time, and an exchange that is away."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlmodel import select

from blocks.engine import session
from blocks.exchange.answers import ClearinghouseState, Portfolio
from blocks.exchange.errors import ExchangeAnswerError, ExchangeRequestError, ExchangeUnavailableError
from blocks.settings import settings
from tasks.foundation.writing import Writer
from tasks.traders import polling
from tasks.traders.core.due import failed_polls
from tasks.traders.core.history_tables import Equity, History
from tasks.traders.core.tables import DOMAIN, Poll, Snapshot
from tasks.traders.polling import Polling
from tests.traders.history_exchange import HistoryExchange
from tests.traders.ledger_rows import TIME, add_traders, address


class Exchange(HistoryExchange):
    """Answers at once; some addresses have an answer of their own, made by a function."""

    def __init__(self, **answers: Callable[[], Any]) -> None:
        super().__init__()
        self.answers = {address(int(name[1:])): answer for name, answer in answers.items()}
        self.polled: list[str] = []
        self.weight: Counter[str] = Counter()

    async def clearinghouse_state(self, user: str, dex: str = "") -> ClearinghouseState:
        self.polled.append(user)
        self.weight["polls"] += 2
        await asyncio.sleep(0)
        if user in self.answers:
            told = self.answers[user]()
            return await told if asyncio.iscoroutine(told) else told  # type: ignore[no-any-return]
        return state(len(self.polled))

    async def portfolio(self, user: str) -> Portfolio:
        # With the three other questions of a history.
        self.weight["histories"] += 80
        await asyncio.sleep(0)
        return Portfolio({})


def state(value: int, **fields: Any) -> ClearinghouseState:
    position = {
        "position": {"coin": "BTC", "szi": "-0.5", "entryPx": "100.5", "leverage": {"type": "cross", "value": 3}}
    }
    told = {"marginSummary": {"accountValue": str(value)}, "assetPositions": [position], "time": TIME + 5, **fields}
    return msgspec.json.decode(msgspec.json.encode(told), type=ClearinghouseState)


def refused() -> ClearinghouseState:
    raise ExchangeRequestError("clearinghouseState was answered 422", item="x", status=422)


def unreadable() -> ClearinghouseState:
    raise ExchangeAnswerError("no JSON", item="x")


@pytest.fixture
def without_histories(monkeypatch: pytest.MonkeyPatch) -> None:
    async def none_due(_polling: object, _limit: int) -> list[Any]:
        return []

    monkeypatch.setattr(Polling, "_due_histories", none_due)


async def poll(exchange: Exchange, *, seconds: float = 60, **options: Any) -> Polling:
    async with Writer(DOMAIN) as writer:
        made = Polling(exchange, writer, settings().traders, seconds=seconds, **options)
        await made.run()
    return made


async def test_every_answer_is_stored_with_what_the_account_is_worth(
    traders_ledger: str, without_histories: None
) -> None:
    traders = add_traders(*[TIME] * 60)
    exchange = Exchange()
    done = (await poll(exchange)).done
    assert (done.polled, done.failed) == (60, 0)
    assert sorted(exchange.polled) == [address(number) for number in range(1, 61)]
    with session(DOMAIN, read_only=True) as opened:
        snapshots = opened.exec(select(Snapshot)).all()
        assert sorted(snapshot.trader_id for snapshot in snapshots) == traders
        points = opened.exec(select(Equity)).all()
        assert {(point.trader_id, point.account_value) for point in points} == {
            (snapshot.trader_id, float(snapshot.account_value or 0)) for snapshot in snapshots
        }
    # Nobody has traded since.
    assert (await poll(exchange)).done.polled == 0


async def test_failing_traders_wait_with_their_reason_and_the_rest_goes_on(
    traders_ledger: str, without_histories: None
) -> None:
    traders = add_traders(*[TIME] * 30)
    exchange = Exchange(
        a3=refused,
        a7=unreadable,
        a11=lambda: state(1, time=None),
        a13=lambda: state(1, assetPositions=[{"position": {"coin": "BTC", "szi": "1e50"}}]),
        a17=lambda: state(1, marginSummary=None),
    )
    done = (await poll(exchange)).done
    assert (done.polled, done.failed) == (27, 3)
    with session(DOMAIN, read_only=True) as opened:
        reasons = {failure.address: failure.reason for failure in failed_polls(opened, limit=9)}
        assert reasons == {
            address(3): "clearinghouseState was answered 422",
            address(7): "no JSON",
            address(11): "the answer does not say of what time it is",
        }
        # An account without margin summary has positions, and no known worth.
        poll_row = opened.get_one(Poll, (traders[16], ""))
        assert (poll_row.snapshot_time, poll_row.account_value) == (TIME + 5, None)
        assert traders[16] not in {point.trader_id for point in opened.exec(select(Equity))}
    before = len(exchange.polled)
    assert (await poll(exchange)).done.polled == 0
    assert len(exchange.polled) == before


async def test_a_batch_is_at_most_so_large_and_no_trader_is_in_it_twice(
    traders_ledger: str, without_histories: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "POLLS", 4)
    add_traders(*[TIME] * 40)
    exchange = Exchange(a1=refused)
    assert (await poll(exchange, batch_size=15)).done.polled == 14
    assert (await poll(exchange, batch_size=100, full=True)).done.polled == 39
    assert max(Counter(exchange.polled[15:]).values()) == 1


async def test_when_the_time_is_up_what_hangs_is_given_up_and_stays_due(
    traders_ledger: str, without_histories: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "_GRACE_SECONDS", 0.05)
    monkeypatch.setenv("QUINTET_TRADERS__REQUESTS_AT_ONCE", "3")
    settings.cache_clear()
    add_traders(*[TIME] * 9)
    hangs = asyncio.Event()
    exchange = Exchange(a2=hangs.wait, a5=hangs.wait, a9=hangs.wait)
    done = (await poll(exchange, seconds=0.3)).done
    assert (done.polled, done.failed) == (6, 0)
    exchange.answers.clear()
    assert (await poll(exchange)).done.polled == 3


async def test_an_exchange_that_is_away_ends_the_run_and_what_came_is_kept(
    traders_ledger: str, without_histories: None
) -> None:
    add_traders(*[TIME] * 50)

    def away() -> ClearinghouseState:
        raise ExchangeUnavailableError("gone for 900 s", item="x")

    exchange = Exchange(a30=away)
    with pytest.raises(ExchangeUnavailableError, match="gone"):
        await poll(exchange)
    with session(DOMAIN, read_only=True) as opened:
        stored = len(opened.exec(select(Snapshot)).all())
        # It is nobody's fault.
        assert failed_polls(opened, limit=9) == []
    assert stored == len(exchange.polled) - 1
    assert 29 <= stored < 50


async def test_a_run_that_may_not_go_on_begins_nothing(traders_ledger: str) -> None:
    add_traders(TIME)
    exchange = Exchange()
    assert (await poll(exchange, goes_on=lambda: False)).done == polling.Done()
    assert exchange.polled == []


@pytest.mark.parametrize("share", ["0.25", "0.6"])
async def test_histories_have_their_share_while_both_wait(
    traders_ledger: str, monkeypatch: pytest.MonkeyPatch, share: str
) -> None:
    monkeypatch.setenv("QUINTET_TRADERS__HISTORY_SHARE", share)
    # With more, polls go on while a slow machine still stores the history whose turn it is.
    monkeypatch.setenv("QUINTET_TRADERS__REQUESTS_AT_ONCE", "1")
    settings.cache_clear()
    add_traders(*[TIME] * 400)
    exchange = Exchange()
    both = await poll(exchange, goes_on=lambda: exchange.weight.total() < 780)
    assert both.done.histories > 0 and both.done.polled < 400
    part = exchange.weight["histories"] / exchange.weight.total()
    # To within the one history that was begun last.
    assert part == pytest.approx(float(share), abs=0.12)


async def test_what_only_one_kind_needs_it_gets(traders_ledger: str) -> None:
    add_traders(*[TIME] * 25)
    done = (await poll(Exchange())).done
    assert (done.polled, done.histories, done.failed_histories) == (25, 25, 0)
    with session(DOMAIN, read_only=True) as opened:
        assert len([row for row in opened.exec(select(History)) if row.refreshed_at is not None]) == 25


async def test_a_history_that_fails_is_counted_and_the_rest_goes_on(traders_ledger: str) -> None:
    add_traders(*[TIME] * 12)
    exchange = Exchange()
    exchange.left, exchange.failure = 20, ExchangeRequestError("refused", item="x", status=422)
    done = (await poll(exchange)).done
    assert done.polled == 12
    assert done.failed_histories > 0 and done.histories + done.failed_histories == 12
