"""The weight of requests: what each costs, when it counts, and when it is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.sandbox.exchange.limits import Weigher, Window, surcharge, weight_of
from deployments.sandbox.exchange.options import ExchangeOptions
from tests.sandbox.exchange.calls import NOON, Caller


@pytest.mark.parametrize(
    ("kind", "weight"),
    [
        ("allMids", 2),
        ("clearinghouseState", 2),
        ("spotClearinghouseState", 2),
        ("exchangeStatus", 2),
        ("userRole", 60),
        ("meta", 20),
        ("metaAndAssetCtxs", 20),
        ("portfolio", 20),
        ("recentTrades", 20),
        ("userFills", 20),
        ("userFillsByTime", 20),
        ("userFunding", 20),
        ("userNonFundingLedgerUpdates", 20),
    ],
)
async def test_each_request_weighs_what_is_documented(kind: str, weight: int) -> None:
    caller = Caller(days=0)
    await caller.info(kind, user=caller.addresses[0], startTime=0, coin="BTC")
    assert (await caller.truth("requests"))["requests"]["weight"] == weight == weight_of(kind)


@pytest.mark.parametrize(("items", "more"), [(0, 0), (19, 0), (20, 1), (39, 1), (40, 2), (2000, 100)])
def test_items_cost_one_for_each_twenty(items: int, more: int) -> None:
    assert surcharge("userFills", items) == more
    assert surcharge("clearinghouseState", items) == 0


async def test_the_surcharge_is_charged_after_the_answer() -> None:
    caller = Caller(days=30, short_history_rate=0)
    fills = await caller.info("userFillsByTime", user=caller.addresses[0], startTime=0)
    uses = (await caller.truth("uses"))["uses"]["10.0.0.1"]
    assert len(fills) > 100
    assert [use["weight"] for use in uses] == [20, len(fills) // 20]


async def test_sliding_windows_refuse_the_first_request_too_many_and_forgive_to_the_moment() -> None:
    caller = Caller(weight=10, weight_window=60, days=0)
    for _ in range(5):
        assert (await caller.post("allMids")).status_code == 200
        caller.clock.now += 1
    refused = await caller.post("allMids")
    assert (refused.status_code, refused.content) == (429, b"null")
    caller.clock.now = 1000.0 + 59.999
    assert (await caller.post("allMids")).status_code == 429
    caller.clock.now = 1060.0
    assert (await caller.post("allMids")).status_code == 200
    assert (await caller.post("allMids")).status_code == 429
    caller.clock.now = 1061.0
    assert (await caller.post("allMids")).status_code == 200
    told = (await caller.truth("requests"))["requests"]
    assert told["http_429"] == {"weight": 3, "fault": 0}
    assert told["by_status"] == {"200": 7, "429": 3}
    assert told["hosts"] == {"10.0.0.1": {"weight": 14, "rejected_weight": 6, "peak": 10}}


async def test_fixed_windows_begin_with_the_first_request() -> None:
    caller = Caller(weight=4, weight_window=60, windows="fixed", days=0)
    statuses = []
    for moment in (1000, 1059, 1059.5, 1060, 1060, 1060, 1119.9, 1120):
        caller.clock.now = float(moment)
        statuses.append((await caller.post("allMids")).status_code)
    assert statuses == [200, 200, 429, 200, 200, 429, 429, 200]


async def test_a_heavy_request_waits_until_all_of_it_fits() -> None:
    caller = Caller(weight=61, days=0)
    user = caller.addresses[0]
    assert (await caller.post("allMids")).status_code == 200
    assert (await caller.post("userRole", user=user)).status_code == 429
    caller.clock.now += 60
    assert (await caller.post("userRole", user=user)).status_code == 200


async def test_what_an_answer_cost_may_go_beyond_the_limit_and_is_waited_for() -> None:
    caller = Caller(weight=22, days=30, short_history_rate=0)
    await caller.info("userFillsByTime", user=caller.addresses[0], startTime=0)
    assert (await caller.post("allMids")).status_code == 429
    assert (await caller.truth("requests"))["requests"]["hosts"]["10.0.0.1"]["peak"] > 22


async def test_refused_requests_count_where_they_are_to() -> None:
    caller = Caller(weight=2, count_rejected=True, days=0)
    statuses = []
    for moment in (1000, 1030, 1060, 1090.5, 1150.5):
        caller.clock.now = float(moment)
        statuses.append((await caller.post("allMids")).status_code)
    assert statuses == [200, 429, 429, 429, 200]


async def test_addresses_have_limits_of_their_own() -> None:
    caller = Caller(weight=2, days=0)
    assert (await caller.post("allMids")).status_code == 200
    assert (await caller.post("allMids")).status_code == 429
    async with caller.from_host("10.0.0.2") as other:
        assert (await other.post("/info", json={"type": "allMids"})).status_code == 200


async def test_limits_can_be_changed_and_forgotten() -> None:
    caller = Caller(weight=2, days=0)
    assert [(await caller.post("allMids")).status_code for _ in range(2)] == [200, 429]
    await caller.tell("set", weight=4)
    assert [(await caller.post("allMids")).status_code for _ in range(2)] == [200, 429]
    await caller.tell("reset")
    assert (await caller.truth("requests"))["requests"]["requests"] == 0
    assert (await caller.post("allMids")).status_code == 200
    # The market is not forgotten.
    assert (await caller.truth("market"))["market"]["start"] == NOON


async def test_requests_that_are_none_weigh_too() -> None:
    caller = Caller(weight=40, days=0)
    statuses = [(await caller.post(kind)).status_code for kind in ("nonsense", "userFills", "allMids")]
    assert statuses == [422, 422, 429]


@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from(["allMids", "meta", "userRole"])), max_size=60))
def test_no_sliding_window_ever_holds_more_than_is_permitted(asked: list[tuple[float, str]]) -> None:
    weigher, options, now = Weigher(), ExchangeOptions(weight=100, weight_window=60), 0.0
    for wait, kind in asked:
        now += wait
        weigher.admit(now, kind, options)
    admitted = [use for use in weigher.uses if use.admitted]
    for use in admitted:
        inside = sum(each.weight for each in admitted if use.at - 60 < each.at <= use.at)
        assert inside <= 100
    for use in weigher.uses:
        if not use.admitted:
            # Refused only where it would have been too much.
            assert use.weight + sum(each.weight for each in admitted if use.at - 60 < each.at <= use.at) > 100


@given(st.lists(st.floats(0, 30), max_size=40))
def test_fixed_windows_never_overlap(waits: list[float]) -> None:
    window, now, began, count = Window(), 0.0, float("-inf"), 0
    for wait in waits:
        now += wait
        if now - began >= 60:
            began, count = now, 0
        assert window.used(now, 60, "fixed") == count
        window.use(now, 1)
        count += 1
