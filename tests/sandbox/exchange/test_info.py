"""`POST /info`: answers as the exchange gives them, and refusals as it words them."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.exchange.calls import NOON, Caller

REAL = Path(__file__).parents[4] / "shared" / "data" / "hyperliquid"
real = pytest.mark.skipif(not REAL.exists(), reason="../shared is not here")


def real_answer(name: str) -> Any:
    told = json.loads((REAL / name).read_text())
    return told["response"] if isinstance(told, dict) and "response" in told else told


async def test_a_state_has_what_was_traded_up_to_its_time() -> None:
    caller = Caller(days=10)
    for _ in range(30):
        played = await caller.tell("play", n=10)
        for index in (0, 1, 5):
            user = caller.addresses[index]
            states = [await caller.info("clearinghouseState", user=user, **dex) for dex in ({}, {"dex": "xyz"})]
            assert {state["time"] for state in states} == {played["time"]}
            held = {
                each["position"]["coin"]: each["position"]["szi"]
                for state in states
                for each in state["assetPositions"]
            }
            told = (await caller.truth("positions", user=user))["positions"].get(user, {})
            assert held == {coin: position["szi"] for coin, position in told.items()}
            assert all(each["position"]["coin"].startswith("xyz:") for each in states[1]["assetPositions"])


async def test_a_state_is_worth_its_cash_and_what_is_not_realised() -> None:
    caller = Caller(days=10)
    await caller.tell("play", n=500)
    for index in range(10):
        user = caller.addresses[index]
        state = await caller.info("clearinghouseState", user=user)
        cash = caller.exchange.world.cash(index, "")
        unrealised = sum(Decimal(each["position"]["unrealizedPnl"]) for each in state["assetPositions"])
        assert Decimal(state["marginSummary"]["accountValue"]) == pytest.approx(cash + unrealised, abs=Decimal("1e-5"))
        for each in state["assetPositions"]:
            position = each["position"]
            notional = abs(Decimal(position["szi"])) * Decimal(str(caller.exchange.world.mark(position["coin"])))
            assert Decimal(position["positionValue"]) == pytest.approx(notional, abs=Decimal("1e-6"))
            assert Decimal(position["marginUsed"]) == pytest.approx(
                notional / position["leverage"]["value"], abs=Decimal("1e-6")
            )
            assert ("rawUsd" in position["leverage"]) == (position["leverage"]["type"] == "isolated")


async def test_leverage_and_transfers_show_in_the_next_state() -> None:
    caller = Caller(days=0)
    buyer, seller = caller.addresses[:2]
    trade = {"coin": "BTC", "buyer": buyer, "seller": seller.upper().replace("X", "x"), "px": "100000.0", "sz": "0.5"}
    done = await caller.tell("trade", trades=[trade, {**trade, "sz": "0.25", "side": "A", "liquidation": True}])
    assert len(set(done["tids"])) == 2
    await caller.tell("leverage", user=buyer, coin="BTC", value=7, type="isolated")
    last = await caller.tell("transfer", user=buyer, usdc="250.5")
    state = await caller.info("clearinghouseState", user=buyer.upper().replace("X", "x"))
    (held,) = state["assetPositions"]
    assert state["time"] == last["time"]
    assert (held["position"]["szi"], held["position"]["entryPx"]) == ("0.75", "100000.0")
    assert held["position"]["leverage"]["type"] == "isolated"
    assert held["position"]["leverage"]["value"] == 7
    fees = Decimal("0.00045") * 50_000 + Decimal("0.00015") * 25_000
    assert Decimal(state["marginSummary"]["accountValue"]) == Decimal("250.5") - fees
    (update,) = await caller.info("userNonFundingLedgerUpdates", user=buyer, startTime=NOON)
    assert update["delta"] == {"type": "deposit", "usdc": "250.5"}
    (change,) = (await caller.truth("leverages"))["leverages"]
    assert (change["user"], change["before"], change["after"], change["szi"]) == (
        buyer,
        {"type": "cross", "value": 40},
        {"type": "isolated", "value": 7},
        "0.75",
    )
    (opened,) = (await caller.truth("changes", user=seller))["changes"]
    assert (opened["change"], opened["size_after"], opened["tids"]) == ("OPEN_POSITION", "-0.75", sorted(done["tids"]))


async def test_fills_come_by_the_page_and_by_time() -> None:
    caller = Caller(days=60, trips_a_day=14, short_history_rate=0, weight=1_000_000)
    user = caller.addresses[0]
    await caller.tell("play", n=40)
    everything = caller.exchange.world.fills(0)
    assert len(everything) > 2200
    newest = await caller.info("userFills", user=user)
    assert [fill["tid"] for fill in newest] == [fill.tid for fill in reversed(everything[-2000:])]
    first = await caller.info("userFillsByTime", user=user, startTime=0)
    assert [fill["tid"] for fill in first] == [fill.tid for fill in everything[:2000]]
    second = await caller.info("userFillsByTime", user=user, startTime=first[-1]["time"])
    assert {fill["tid"] for fill in [*first, *second]} == {fill.tid for fill in everything}
    begin, end = everything[10].time, everything[20].time
    inside = await caller.info("userFillsByTime", user=user, startTime=begin, endTime=end)
    assert [fill["tid"] for fill in inside] == [fill.tid for fill in everything if begin <= fill.time <= end]


async def test_only_the_newest_ten_thousand_fills_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.sandbox.exchange.info.FILLS_KEPT", 50)
    caller = Caller(days=30, short_history_rate=0)
    fills = await caller.info("userFillsByTime", user=caller.addresses[0], startTime=0)
    assert [fill["tid"] for fill in fills] == [fill.tid for fill in caller.exchange.world.fills(0)[-50:]]


async def test_funding_and_updates_come_by_five_hundred() -> None:
    caller = Caller(days=90, funding_hours=1, short_history_rate=0, weight=1_000_000)
    user, rows = caller.addresses[3], caller.exchange.world.fundings(3)
    assert len(rows) > 500
    found: list[dict[str, Any]] = []
    start = 0
    while len(page := await caller.info("userFunding", user=user, startTime=start)) == 500:
        found += page
        start = page[-1]["time"] + 1
    assert found + page == rows
    updates = await caller.info("userNonFundingLedgerUpdates", user=user, startTime=0)
    assert updates == caller.exchange.world.updates(3)


async def test_recent_trades_are_the_last_ones_newest_first() -> None:
    caller = Caller(days=0, recent=4)
    assert await caller.info("recentTrades", coin="BTC") == []
    await caller.tell("play", n=60)
    trades = (await caller.truth("trades", coin="BTC"))["trades"]
    recent = await caller.info("recentTrades", coin="BTC")
    assert [trade["tid"] for trade in recent] == [trade["tid"] for trade in reversed(trades[-4:])]
    assert recent[0]["users"] == [trades[-1]["buyer"], trades[-1]["seller"]]


async def test_coins_and_prices() -> None:
    caller = Caller(days=0)
    await caller.tell("play", n=100)
    mids = await caller.info("allMids")
    assert set(mids) == {"BTC", "ETH", "SOL", "AVAX", "SUI", "@107"}
    assert set(await caller.info("allMids", dex="xyz")) == {"xyz:AAPL"}
    last = (await caller.truth("trades", coin="BTC"))["trades"][-1]
    assert Decimal(mids["BTC"]) == Decimal(last["px"])
    meta, contexts = await caller.info("metaAndAssetCtxs")
    assert meta == await caller.info("meta")
    assert [asset["name"] for asset in meta["universe"]] == ["BTC", "ETH", "SOL", "AVAX", "SUI"]
    assert [each["markPx"] for each in contexts] == [mids[asset["name"]] for asset in meta["universe"]]
    longs = sum(
        max(Decimal(0), Decimal(positions["BTC"]["szi"]))
        for positions in (await caller.truth("positions"))["positions"].values()
        if "BTC" in positions
    )
    assert Decimal(contexts[0]["openInterest"]) == longs
    assert (await caller.info("exchangeStatus"))["time"] == (await caller.truth("market"))["market"]["time"]


async def test_spot_is_a_balance_and_no_position() -> None:
    caller = Caller(days=0)
    buyer, seller = caller.addresses[:2]
    await caller.tell("trade", trades=[{"coin": "@107", "buyer": buyer, "seller": seller, "px": "38.0", "sz": "2.5"}])
    assert (await caller.info("clearinghouseState", user=buyer))["assetPositions"] == []
    balances = {
        each["coin"]: each["total"] for each in (await caller.info("spotClearinghouseState", user=buyer))["balances"]
    }
    assert balances == {"USDC": "0.0", "HYPE": "1000002.5"}
    (bought,), (sold,) = [await caller.info("userFills", user=user) for user in (buyer, seller)]
    assert (bought["dir"], sold["dir"], bought["feeToken"], sold["feeToken"]) == ("Buy", "Sell", "HYPE", "USDC")
    assert (await caller.truth("changes"))["changes"] == []


async def test_nobody_is_answered_too() -> None:
    caller = Caller(weight=1_000_000)
    nobody = "0x" + "0" * 40
    state = await caller.info("clearinghouseState", user=nobody)
    assert (state["assetPositions"], state["marginSummary"]["accountValue"]) == ([], "0.0")
    for kind in ("userFills", "userFillsByTime", "userFunding", "userNonFundingLedgerUpdates"):
        assert await caller.info(kind, user=nobody, startTime=0) == []
    portfolio = dict(await caller.info("portfolio", user=nobody))
    assert portfolio["day"] == {"accountValueHistory": [], "pnlHistory": [], "vlm": "0.0"}
    roles = [await caller.info("userRole", user=user) for user in (nobody, caller.addresses[0], caller.addresses[38])]
    assert roles == [{"role": "missing"}, {"role": "user"}, {"role": "vault"}]


@pytest.mark.parametrize(
    "told",
    [
        {"type": "nonsense"},
        {"type": None},
        {},
        {"type": "clearinghouseState"},
        {"type": "clearinghouseState", "user": "0x12"},
        {"type": "clearinghouseState", "user": "0x" + "g" * 40},
        {"type": "clearinghouseState", "user": "0x" + "0" * 40, "dex": "nowhere"},
        {"type": "clearinghouseState", "user": "0x" + "0" * 40, "dex": 1},
        {"type": "userFillsByTime", "user": "0x" + "0" * 40},
        {"type": "userFillsByTime", "user": "0x" + "0" * 40, "startTime": "0"},
        {"type": "userFunding", "user": "0x" + "0" * 40, "startTime": 0, "endTime": -1},
        {"type": "recentTrades", "coin": "NONE"},
        ["allMids"],
    ],
)
async def test_what_cannot_be_read_is_422(told: object) -> None:
    answer = await Caller(days=0).raw(json.dumps(told).encode())
    assert (answer.status_code, answer.text) == (422, "Failed to deserialize the JSON body into the target type")


async def test_other_refusals() -> None:
    caller = Caller(days=0)
    assert (await caller.raw(b"{")).status_code == 400
    assert (await caller.raw(b"{}", "text/plain")).status_code == 415
    async with caller.from_host("10.0.0.1") as client:
        assert (await client.get("/info")).status_code == 405
        assert (await client.post("/nowhere")).status_code == 404


@real
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("userFillsByTime", "ccxt_fills.json"),
        ("userFunding", "sdk_user_funding_history_with_end_time.json"),
        ("recentTrades", "nt_http_recent_trades_btc.json"),
    ],
)
async def test_rows_have_the_fields_of_real_ones(kind: str, name: str) -> None:
    caller = Caller()
    await caller.tell("play", n=50)
    ours = (await caller.info(kind, user=caller.addresses[0], startTime=0, coin="BTC"))[-1]
    theirs = real_answer(name)[0]
    assert set(ours) == set(theirs) - {"builderFee", "cloid"}
    assert {key: type(value) for key, value in ours.items()} == {key: type(theirs[key]) for key in ours}


@real
async def test_a_portfolio_and_a_state_have_the_fields_of_real_ones() -> None:
    caller = Caller()
    await caller.tell("play", n=200)
    ours = await caller.info("portfolio", user=caller.addresses[0])
    theirs = real_answer("sdk_portfolio.json")
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    assert set(ours[0][1]) == set(theirs[0][1])
    state, known = (
        await caller.info("clearinghouseState", user=caller.addresses[0]),
        real_answer("sdk_get_user_state.json"),
    )
    assert set(known) <= set(state)
    assert set(known["marginSummary"]) == set(state["marginSummary"])
    # Sizes of orders that could still be made are not told any more.
    assert set(known["assetPositions"][0]["position"]) - {"maxTradeSzs"} <= set(state["assetPositions"][0]["position"])
