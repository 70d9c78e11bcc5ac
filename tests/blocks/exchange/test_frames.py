"""What a frame becomes: always one item, whose trades and rejections are all that it brought."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import blocks
from blocks.exchange.frames import EXCERPT, REASON, REJECTIONS, read_frame, read_trades
from blocks.exchange.items import Control, Empty, ErrorFrame, Frame, Trades, Unreadable
from tests.blocks.exchange.scripted_exchange import FRAMES, TIME, address, trade, trades_frame

DATA = Path(blocks.__file__).parent.parent.parent / "shared" / "data" / "hyperliquid"
LATEST = TIME + 10**9

BAD: dict[str, dict[str, object]] = {
    "nan price": {"px": "NaN"},
    "infinite price": {"px": "Infinity"},
    "negative price": {"px": "-1.5"},
    "no price": {"px": "0.000"},
    "price with an exponent": {"px": "1e5"},
    "price of other digits": {"px": "١٢"},
    "price with a line": {"px": "1.5\n"},
    "price without end": {"px": "9" * 2000},
    "price as a number": {"px": 31248.0},
    "negative size": {"sz": "-1"},
    "no size": {"sz": "0"},
    "empty size": {"sz": ""},
    "size null": {"sz": None},
    "side": {"side": "C"},
    "long side": {"side": "B" * 2000},
    "future": {"time": LATEST + 1},
    "before all times": {"time": 0},
    "time as a text": {"time": "1700000000000"},
    "time with a part": {"time": 1.5},
    "time true": {"time": True},
    "time beyond 64 bits": {"time": 2**64},
    "tid beyond 63 bits": {"tid": 2**63},
    "tid huge": {"tid": 10**400},
    "negative tid": {"tid": -1},
    "no user": {"users": []},
    "one user": {"users": [address(1)]},
    "three users": {"users": [address(1)] * 3},
    "users as a text": {"users": address(1)},
    "short address": {"users": ["0x5a", "0xdb"]},
    "no hex": {"users": [address(1), "0x" + "g" * 40]},
    "no prefix": {"users": [address(1), "0" * 42]},
    "address with a line": {"users": [address(1), address(2) + "\n"]},
    "space for an address": {"users": [address(1), " " * 42]},
    "coin empty": {"coin": ""},
    "coin with a space": {"coin": "B C"},
    "coin with nothing": {"coin": "B\x00C"},
    "coin long": {"coin": "B" * 65},
    "coin of other letters": {"coin": "ВТС"},
    # Fields that would together look like others.
    "moved": {"coin": "BTC 1", "px": "2", "sz": "3 " + address(1), "users": [address(2), ""]},
}


def read(frame: object) -> Frame:
    raw = frame if isinstance(frame, bytes) else json.dumps(frame).encode()
    return read_frame(raw, 7, 1.5, LATEST)


def channel(data: object) -> dict[str, object]:
    return {"channel": "trades", "data": data}


def received(frame: Trades) -> int:
    return len(frame.trades) + frame.rejected


def test_a_frame_of_good_trades_is_taken_as_it_is() -> None:
    frame = read(channel([trade(1), trade(2, coin="@107", side="B"), trade(3, coin="xyz:XYZ100", px="0.00000012")]))
    assert isinstance(frame, Trades)
    assert (frame.connection, frame.at, frame.rejected, frame.rejections) == (7, 1.5, 0, ())
    assert [(t.coin, t.side, t.px, t.sz, t.time, t.tid, t.users) for t in frame.trades] == [
        ("BTC", "A", "31248.0", "0.0009", TIME + 1, 1, (address(1), address(2))),
        ("@107", "B", "31248.0", "0.0009", TIME + 2, 2, (address(2), address(3))),
        ("xyz:XYZ100", "A", "0.00000012", "0.0009", TIME + 3, 3, (address(3), address(4))),
    ]


def test_addresses_become_lower_case() -> None:
    frame = read(channel([trade(1, users=["0X" + "AB" * 20, "0x" + "aB" * 20]), trade(2)]))
    assert isinstance(frame, Trades)
    assert frame.rejected == 0
    assert frame.trades[0].users == ("0x" + "ab" * 20, "0x" + "ab" * 20)


def test_fields_that_are_new_and_a_hash_that_is_missing_do_no_harm() -> None:
    new = trade(1, liquidation={"deep": [1, None]})
    del new["hash"]
    assert isinstance(read(channel([new]) | {"more": 1}), Trades)


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD)
def test_a_bad_trade_is_rejected_alone(fields: dict[str, object]) -> None:
    frame = read(channel([trade(1), trade(2, **fields), trade(3)]))
    assert isinstance(frame, Trades)
    assert [taken.tid for taken in frame.trades] == [1, 3]
    assert frame.rejected == 1
    (rejection,) = frame.rejections
    assert 0 < len(rejection.reason) <= REASON and rejection.reason.isprintable()
    assert rejection.excerpt.startswith('{"coin": ') and len(rejection.excerpt) <= EXCERPT
    assert rejection.excerpt.isprintable()


@pytest.mark.parametrize("field", ["coin", "side", "px", "sz", "time", "tid", "users"])
def test_a_trade_without_a_field_is_rejected_and_the_field_named(field: str) -> None:
    less = trade(2)
    del less[field]
    frame = read(channel([less]))
    assert isinstance(frame, Trades)
    assert (frame.trades, frame.rejected) == ([], 1)
    assert field in frame.rejections[0].reason


def test_of_very_many_bad_trades_all_are_counted_and_a_few_shown() -> None:
    frame = read(channel([0] * 100_000 + [trade(1)]))
    assert isinstance(frame, Trades)
    assert (len(frame.trades), frame.rejected, len(frame.rejections)) == (1, 100_000, REJECTIONS)


def test_a_trade_as_late_as_is_permitted_is_good() -> None:
    assert read(channel([trade(1, time=LATEST)])) == Trades(
        7, 1.5, read_trades(json.dumps([trade(1, time=LATEST)]).encode(), LATEST)[0]
    )


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"Websocket connection established.", Control(7, 1.5, "")),
        (b'{"channel":"pong"}', Control(7, 1.5, "pong")),
        (b'{"data":null,"channel":"pong"}', Control(7, 1.5, "pong")),
        (b'{"channel":"trades","data":[]}', Empty(7, 1.5)),
        (b'{"data":[],"channel":"trades"}', Empty(7, 1.5)),
        (b'{"channel":"somethingNew","data":{"a":1}}', Control(7, 1.5, "somethingNew")),
        (b'{"channel":"error","data":"Cannot track more."}', ErrorFrame(7, 1.5, "Cannot track more.")),
        (b'{"channel":"error","data":{"code":5}}', ErrorFrame(7, 1.5, '{"code":5}')),
        (b'{"channel":"error"}', ErrorFrame(7, 1.5, "null")),
    ],
)
def test_frames_that_are_about_the_connection(raw: bytes, expected: Frame) -> None:
    assert read(raw) == expected


def test_an_acknowledgement_names_its_coin() -> None:
    subscription = {"type": "trades", "coin": "xyz:AAPL"}
    answer = {"channel": "subscriptionResponse", "data": {"method": "subscribe", "subscription": subscription}}
    assert read(answer) == Control(7, 1.5, "subscriptionResponse", "xyz:AAPL")


@pytest.mark.parametrize(
    "data",
    [
        {"method": "unsubscribe", "subscription": {"type": "trades", "coin": "BTC"}},
        {"method": "subscribe", "subscription": {"type": "l2Book", "coin": "BTC"}},
        {"method": "subscribe", "subscription": {"type": "allMids"}},
        {"method": 5},
        None,
    ],
)
def test_an_answer_to_something_else_acknowledges_nothing(data: object) -> None:
    assert read({"channel": "subscriptionResponse", "data": data}) == Control(7, 1.5, "subscriptionResponse", None)


@pytest.mark.parametrize(
    "text",
    [
        'Invalid subscription {"type":"trades","coin":"NOPE"}',
        'Already subscribed: {"method": "subscribe", "subscription": {"coin" : "NOPE", "type": "trades"}}',
        r'Error parsing "{\"type\":\"trades\",\"coin\":\"NOPE\"}"',
    ],
)
def test_an_error_names_the_coin_of_the_request_that_it_quotes(text: str) -> None:
    frame = read({"channel": "error", "data": text})
    assert isinstance(frame, ErrorFrame)
    assert (frame.text, frame.coin) == (text, "NOPE")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"hello",
        b"[]",
        b"null",
        b"{}",
        b'{"channel":5}',
        b'{"channel":"trades"}',
        b'{"channel":"trades","data":{"coin":"BTC"}}',
        b'{"channel":"trades","data":[{"coin":"BTC"}',
        b'{"channel":"trades","data":[NaN]}',
        b'\xff\xfe{"channel":"pong"}',
        b'{"channel":"\xff"}',
        b'{"channel":"trades","data":' + b"[" * 200_000,
        b"[" * 200_000,
        b"\x00" * 5000,
    ],
)
def test_what_cannot_be_read_is_told_with_its_beginning(raw: bytes) -> None:
    frame = read(raw)
    assert isinstance(frame, Unreadable)
    assert 0 < len(frame.reason) <= REASON and frame.reason.isprintable()
    assert len(frame.excerpt) <= EXCERPT and (not frame.excerpt or frame.excerpt.isprintable())


def test_texts_of_the_exchange_are_bounded_and_printable() -> None:
    error = read({"channel": "error", "data": "a\x00\n\u202e" + "x" * 100_000})
    assert isinstance(error, ErrorFrame)
    assert len(error.text) == EXCERPT and error.text.startswith("a���x")
    control = read({"channel": "c\x00" + "x" * 100_000})
    assert isinstance(control, Control) and len(control.channel) == 64 and control.channel.isprintable()


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
good_trades = st.builds(
    trade,
    st.integers(0, 10**6),
    coin=st.sampled_from(["BTC", "@107", "PURR/USDC", "xyz:AAPL"]),
    side=st.sampled_from("AB"),
    px=st.decimals("0.000001", "1000000000", places=6).map("{:f}".format),
    users=st.tuples(st.integers(0, 16**40 - 1), st.integers(0, 16**40 - 1)).map(lambda two: [address(n) for n in two]),
)
bad_trades = st.sampled_from(sorted(BAD)).map(lambda name: trade(1, **BAD[name])) | json_values.filter(
    lambda value: not isinstance(value, dict)
)


@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise(raw: bytes) -> None:
    assert isinstance(read(raw), FRAMES)


@given(
    st.dictionaries(
        st.sampled_from(["channel", "data", "method"]),
        st.sampled_from(["trades", "error", "pong", "subscriptionResponse"]) | json_values,
    )
)
def test_no_shape_makes_it_raise(frame: dict[str, Any]) -> None:
    assert isinstance(read(frame), FRAMES)


@given(st.binary(max_size=5), st.integers(0, 600), st.integers(0, 10))
def test_no_damage_makes_it_raise(inserted: bytes, place: int, removed: int) -> None:
    raw = trades_frame([trade(1), trade(2)]).encode()
    frame = read(raw[:place] + inserted + raw[place + removed :])
    assert isinstance(frame, FRAMES)
    if isinstance(frame, Trades):
        assert received(frame) >= 1


@given(st.lists(st.tuples(st.booleans(), good_trades, bad_trades), max_size=12))
def test_what_was_received_is_taken_or_rejected_each_once(parts: list[tuple[bool, dict[str, Any], Any]]) -> None:
    frame = read(channel([good if is_good else bad for is_good, good, bad in parts]))
    if not parts:
        assert isinstance(frame, Empty)
        return
    assert isinstance(frame, Trades)
    assert received(frame) == len(parts)
    goods = [good for is_good, good, _ in parts if is_good]
    assert [(t.coin, t.px, t.tid, list(t.users)) for t in frame.trades] == [
        (good["coin"], good["px"], good["tid"], good["users"]) for good in goods
    ]


@given(st.lists(good_trades, min_size=1, max_size=5))
def test_the_quick_way_and_the_slow_way_take_the_same(trades: list[dict[str, Any]]) -> None:
    frame = read(channel(trades))
    assert isinstance(frame, Trades)
    assert (frame.trades, 0, ()) == read_trades(json.dumps(trades).encode(), LATEST)


@pytest.mark.skipif(not DATA.exists(), reason="../shared is not beside this clone")
def test_the_shapes_that_were_seen() -> None:
    """The one real frame of trades has abbreviated users, which are rejected as they are and good at full length."""
    lines = (DATA / "ws_frames.jsonl").read_bytes().splitlines()
    frames = [read_frame(line, 1, 0.0, 2 * 10**12) for line in lines]
    assert [type(frame) for frame in frames] == [Control, Control, ErrorFrame, ErrorFrame, Trades, Empty]
    assert frames[0] == Control(1, 0.0, "subscriptionResponse", "BTC")
    abbreviated = frames[4]
    assert isinstance(abbreviated, Trades)
    assert (abbreviated.trades, abbreviated.rejected) == ([], 1)
    full = json.loads(lines[4])
    for one in full["data"]:
        one["users"] = [address(int(user, 16)) for user in one["users"]]
    frame = read_frame(json.dumps(full).encode(), 1, 0.0, 2 * 10**12)
    assert isinstance(frame, Trades)
    assert (frame.rejected, frame.trades[0].coin, frame.trades[0].tid) == (0, "xyz:XYZ100", 270336010212158)
