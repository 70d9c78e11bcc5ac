"""Real answers are read as they are, and tolerance ends where somebody would reckon with nonsense."""

import json
import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.exchange import ExchangeAnswerError, limits, shapes
from blocks.exchange.answers import AHEAD, UserFill
from blocks.exchange.limits import Kind
from blocks.exchange.shapes import Shape, read_answer
from blocks.exchange.transport import Question
from blocks.patience import PassingError
from tests.blocks.exchange.stand_ins import DATA, USER, fill, needs_data, payload


def _read(shape: Shape[Any], told: object) -> Any:
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    return read_answer(Question("the item", limits.META, b""), shape, body)


SHAPES: dict[str, Shape[Any]] = {
    "allMids": shapes.mids,
    "candleSnapshot": shapes.CANDLES,
    "clearinghouseState": shapes.CLEARINGHOUSE_STATE,
    "meta": shapes.META,
    "portfolio": shapes.portfolio,
    "userFills": shapes.USER_FILLS,
    "userFillsByTime": shapes.USER_FILLS,
    "userFunding": shapes.USER_FUNDING,
    "userNonFundingLedgerUpdates": shapes.LEDGER_UPDATES,
}
# Endpoints that are never asked.
OTHERS = {
    "delegatorHistory",
    "extraAgents",
    "frontendOpenOrders",
    "fundingHistory",
    "historicalOrders",
    "l2Book",
    "openOrders",
    "userRateLimit",
    "userRole",
    "userTwapSliceFills",
    "userVaultEquities",
}


@needs_data
def test_recorded_answers_of_all_that_is_asked_are_read() -> None:
    read = set()
    for path in DATA.glob("sdk_*.json"):
        told = json.loads(path.read_text())
        kind = told["request"]["type"]
        if kind not in OTHERS:
            answer = _read(SHAPES[kind], told["response"])
            if isinstance(told["response"], list):
                assert len(answer.periods if kind == "portfolio" else answer) == len(told["response"]), path.name
            read.add(kind)
    assert read == set(SHAPES)


@needs_data
def test_a_recorded_account_is_what_was_sent() -> None:
    state = _read(shapes.CLEARINGHOUSE_STATE, payload("sdk_get_user_state"))
    assert state.account_value == Decimal("1182.312496")
    assert len(state.positions) == 12
    btc = state.positions[0]
    assert (btc.coin, btc.szi, btc.entry_px) == ("BTC", Decimal("-0.00785"), Decimal("26951.0"))
    assert (btc.leverage.type, btc.leverage.value, btc.liquidation_px) == ("cross", 20, Decimal("173198.69592357"))
    assert state.positions[1].liquidation_px is None
    # Answers of 2023 do not tell their time.
    assert state.time is None


@needs_data
def test_an_account_without_a_margin_summary_is_worth_what_its_cross_margin_is() -> None:
    state = _read(shapes.CLEARINGHOUSE_STATE, payload("nt_http_clearinghouse_state_negative_total_raw_usd"))
    assert state.margin_summary is None and state.positions == []
    assert state.account_value == Decimal("1736.030875")
    assert state.cross_margin_summary.total_raw_usd == Decimal("-22358.938225")
    assert state.time == 1_700_000_000_000


@needs_data
def test_old_fills_have_no_trade_id_and_flips_are_told_as_such() -> None:
    fills = _read(shapes.USER_FILLS, payload("sdk_get_user_fills"))
    assert {one.tid for one in fills} == {one.fee_token for one in fills} == {None}
    assert sum(one.dir in ("Long > Short", "Short > Long") for one in fills) == 22


@needs_data
def test_modern_fills_name_dex_liquidation_and_builder() -> None:
    fills = _read(shapes.USER_FILLS, payload("ccxt_fills"))
    by_coin = {one.coin: one for one in fills}
    assert by_coin["flx:CRCL"].liquidation.method == "market"
    assert by_coin["flx:CRCL"].fee_token == "USDH"
    assert [one.builder_fee for one in fills if one.builder_fee] == [Decimal("0.002424")]
    assert fills[0].tid == 882779857052503


@needs_data
def test_dust_and_netted_vaults_are_fills_too() -> None:
    fills = _read(shapes.USER_FILLS, payload("nt_http_user_fills_dust_conversion"))
    dust = next(one for one in fills if one.dir == "Spot Dust Conversion")
    assert (dust.coin, dust.tid, dust.sz) == ("@142", 0, Decimal("0.0000086141"))
    assert any(one.dir == "Net Child Vaults" for one in fills)


@needs_data
def test_a_liquidated_users_fill_is_read() -> None:
    (told,) = payload("nt_ws_user_fill_liquidation")["data"]["fills"]
    (one,) = _read(shapes.USER_FILLS, [told])
    assert one.cloid == told["cloid"]
    assert one.liquidation.mark_px == Decimal("66607.0")


@needs_data
def test_metas_of_builders_dexes_are_read() -> None:
    metas = [_read(shapes.META, told) for told in payload("nt_http_all_perp_metas_non_usdc_collateral")]
    assert [(one.universe[0].name, one.collateral_token) for one in metas] == [
        ("BTC", 0),
        ("km:US500", 360),
        ("hyna:BTC", 235),
    ]
    assert _read(shapes.META, payload("nt_http_meta_perp_sample")).universe[2].is_delisted is None


@needs_data
def test_mids_of_the_stream_have_the_shape_of_those_asked_for() -> None:
    told = payload("nt_ws_allmids")["data"]["mids"]
    assert _read(shapes.mids, told) == {coin: Decimal(price) for coin, price in told.items()}


@needs_data
def test_recorded_trades_whose_users_are_no_addresses_are_counted_as_rejected() -> None:
    trades = _read(shapes.recent_trades, payload("nt_http_recent_trades_btc"))
    assert (len(trades), trades.rejected, trades.received) == (0, 3, 3)
    assert "address" in trades.rejections[0].reason


@needs_data
def test_a_portfolio_keeps_every_point_exactly() -> None:
    told = dict(payload("sdk_portfolio"))
    periods = _read(shapes.portfolio, payload("sdk_portfolio")).periods
    assert list(periods) == list(told)
    for name, period in periods.items():
        assert [[at, str(value)] for at, value in period.pnl_history] == told[name]["pnlHistory"]
        assert str(period.vlm) == told[name]["vlm"]


def test_recent_trades_are_taken_one_by_one() -> None:
    good = {"coin": "BTC", "side": "B", "px": "1", "sz": "2", "time": 1, "tid": 3, "users": [USER, USER], "hash": "0x"}
    trades = _read(shapes.recent_trades, [good, good | {"px": "many"}, good | {"tid": 4}])
    assert ([trade.tid for trade in trades], trades.rejected) == ([3, 4], 1)


def test_what_isolated_positions_hide_is_not_guessed() -> None:
    position = {"coin": "BTC", "szi": "1", "leverage": {"type": "isolated", "value": 3, "rawUsd": "-9.5"}}
    told = {"assetPositions": [{"position": position}], "crossMarginSummary": {"accountValue": "5"}}
    assert _read(shapes.CLEARINGHOUSE_STATE, told).account_value is None
    told["marginSummary"] = {"accountValue": "7"}
    assert _read(shapes.CLEARINGHOUSE_STATE, told).account_value == 7


def test_new_fields_are_ignored_and_numbers_may_be_strings_or_not() -> None:
    (one,) = _read(shapes.USER_FILLS, [fill(px=100.5, tid="42", oid="7", new={"deep": [1]}, liquidation=None)])
    (other,) = _read(shapes.USER_FILLS, [fill()])
    assert one == other


def test_every_kind_of_ledger_update_is_read() -> None:
    deltas: list[dict[str, object]] = [
        {"type": "deposit", "usdc": "5.5"},
        {"type": "withdraw", "usdc": "1", "nonce": 1, "fee": "1.0"},
        {"type": "vaultWithdraw", "vault": USER, "user": USER, "requestedUsd": "3", "netWithdrawnUsd": "2.5"},
        {"type": "send", "user": USER, "destination": USER, "sourceDex": "", "destinationDex": "xyz", "amount": "1"},
        {
            "type": "liquidation",
            "liquidatedNtlPos": "9",
            "accountValue": "1",
            "leverageType": "Cross",
            "liquidatedPositions": [{"coin": "BTC", "szi": "-1"}],
        },
        {"type": "cStakingTransfer", "token": "HYPE", "amount": "1", "isDeposit": True},
        {"type": "something of tomorrow", "unheardOf": [1, 2]},
    ]
    updates = _read(shapes.LEDGER_UPDATES, [{"time": 1, "hash": "0x", "delta": delta} for delta in deltas])
    assert [one.delta.type for one in updates] == [delta["type"] for delta in deltas]
    assert updates[2].delta.net_withdrawn_usd == Decimal("2.5")
    assert (updates[3].delta.source_dex, updates[3].delta.destination_dex) == ("", "xyz")
    assert updates[4].delta.liquidated_positions[0].szi == -1


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30, places=12))
def test_every_number_comes_out_as_it_was_written(value: Decimal) -> None:
    text = f"{value:f}"
    (one,) = _read(shapes.USER_FILLS, [fill(startPosition=text)])
    assert f"{one.start_position:f}" == text


@pytest.mark.parametrize("number", ["NaN", "sNaN", "Infinity", "-inf", "1e999999", "0e-999999", "1" * 99, "", "many"])
@pytest.mark.parametrize("field", ["px", "closedPnl", "builderFee"])
def test_a_number_that_is_none_is_turned_away(number: str, field: str) -> None:
    with pytest.raises(ExchangeAnswerError, match=r"the answer to the item is not of the shape.*\$\[1\]") as caught:
        _read(shapes.USER_FILLS, [fill(), fill(**{field: number})])
    assert not number or number not in str(caught.value)


def test_a_time_in_the_future_is_turned_away() -> None:
    """Who goes on from the newest time that was told would never ask again."""
    ahead = time.time_ns() // 1_000_000 + 2 * AHEAD
    point = {"accountValueHistory": [[ahead, "1"]], "pnlHistory": [], "vlm": "0"}
    for shape, told in (
        (shapes.USER_FILLS, [fill(time=ahead)]),
        (shapes.CLEARINGHOUSE_STATE, {"assetPositions": [], "time": ahead}),
        (shapes.portfolio, [["day", point]]),
    ):
        with pytest.raises(ExchangeAnswerError, match="a time in the future"):
            _read(shape, told)
    assert _read(shapes.USER_FILLS, [fill(time=ahead - 2 * AHEAD)])


@pytest.mark.parametrize("leverage", [-3, 2**31, 10**30, 2.5, None])
def test_leverage_that_is_none_is_turned_away(leverage: object) -> None:
    position = {"coin": "BTC", "szi": "1", "leverage": {"type": "cross", "value": leverage}}
    with pytest.raises(ExchangeAnswerError, match=r"leverage\.value"):
        _read(shapes.CLEARINGHOUSE_STATE, {"assetPositions": [{"type": "oneWay", "position": position}]})


def test_numbers_of_points_and_mids_are_checked_too() -> None:
    point = {"accountValueHistory": [[1, "NaN"]], "pnlHistory": [], "vlm": "0"}
    with pytest.raises(ExchangeAnswerError):
        _read(shapes.portfolio, [["day", point]])
    with pytest.raises(ExchangeAnswerError):
        _read(shapes.mids, {"BTC": "Infinity"})


@pytest.mark.parametrize(
    "changes",
    [
        {"time": 2**63},
        {"time": -1},
        {"tid": 2**63},
        {"coin": "B\x00TC"},
        {"coin": ""},
        {"coin": "BTC\n"},
        {"dir": "Open\x00Long"},
        {"side": "C"},
        {"sz": None},
        {"hash": "x" * 1000},
    ],
    ids=str,
)
def test_what_no_column_holds_is_turned_away(changes: dict[str, object]) -> None:
    with pytest.raises(ExchangeAnswerError):
        _read(shapes.USER_FILLS, [fill(**changes)])


@pytest.mark.parametrize("name", [name for name in UserFill.__struct_encode_fields__ if name in ("coin", "px", "side")])
def test_an_error_names_the_field_that_is_missing(name: str) -> None:
    told = fill()
    del told[name]
    with pytest.raises(ExchangeAnswerError, match=rf"`{name}`.*\$\[0\]"):
        _read(shapes.USER_FILLS, [told])


@pytest.mark.parametrize("body", [b"<html><b>502</b></html>", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000, b"{}"])
def test_what_is_no_answer_is_an_error(body: bytes) -> None:
    for shape in SHAPES.values():
        if shape is shapes.mids and body == b"{}":
            continue
        with pytest.raises((ExchangeAnswerError, PassingError), match="the answer to the item is"):
            _read(shape, body)


def test_an_answer_that_ends_early_may_pass() -> None:
    with pytest.raises(PassingError, match="ends early, after 20 bytes") as caught:
        _read(shapes.USER_FILLS, json.dumps([fill()]).encode()[:20])
    assert isinstance(caught.value.final, ExchangeAnswerError)


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        (limits.CLEARINGHOUSE_STATE, 2),
        (limits.USER_FILLS_BY_TIME, 120),
        (limits.USER_FUNDING, 45),
        (limits.PORTFOLIO, 20),
        (limits.CANDLE_SNAPSHOT, 104),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else str(value),
)
def test_what_a_request_may_weigh(kind: Kind, most: int) -> None:
    assert kind.most == most


@given(st.integers(0, 2000))
def test_items_weigh_one_for_each_twenty_begun(items: int) -> None:
    weight = limits.USER_FILLS_BY_TIME.weight_of([None] * items)
    assert 20 + items / 20 <= weight < 21 + items / 20 + 1e-9
    assert weight <= limits.USER_FILLS_BY_TIME.most
    assert limits.PORTFOLIO.weight_of([None] * items) == 20
