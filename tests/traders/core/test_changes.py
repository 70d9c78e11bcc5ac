"""Two states compared: every change between them, and nothing else."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.exchange.answers import ClearinghouseState
from tasks.traders.core.changes import detect_position_changes
from tasks.traders.core.positions import FLAT, PositionState, apply_trade
from tasks.traders.core.snapshots import SnapshotPosition, UnreadablePositionError, from_json, positions_of, to_json
from tasks.traders.core.tables import Change, Position, Source
from tests.traders.core.tape_rows import values

amounts = st.integers(-5, 5).map(Decimal)
holdings = st.dictionaries(st.sampled_from(["BTC", "ETH", "xyz:AAPL"]), st.tuples(amounts, st.integers(1, 3)))


def _state(**positions: tuple[str, str, int] | str) -> dict[str, Any]:
    """A `clearinghouseState`: size, entry and leverage of each coin."""
    return {
        "assetPositions": [
            {
                "type": "oneWay",
                "position": {
                    "coin": coin,
                    "szi": said if isinstance(said, str) else said[0],
                    **({} if isinstance(said, str) else {"entryPx": said[1], "liquidationPx": None}),
                    **({} if isinstance(said, str) else {"leverage": {"type": "cross", "value": said[2]}}),
                },
            }
            for coin, said in positions.items()
        ]
    }


def _rows(held: dict[str, tuple[Decimal, int]]) -> list[SnapshotPosition]:
    return [SnapshotPosition(coin, szi, Decimal(10), "cross", lev) for coin, (szi, lev) in held.items()]


def test_each_kind() -> None:
    before = _state(A=("1", "10", 3), B=("1", "10", 3), C=("-2", "10", 3), D=("2", "10", 3), E=("2", "10", 3))
    after = _state(B=("2", "11", 3), C=("-1", "10", 3), D=("-2", "12", 3), E=("2", "10", 5), F=("1", "9", 3))
    changes = detect_position_changes(before, after, datetime(2026, 1, 1, tzinfo=UTC), 7)
    assert [values(one.coin, one.change, one.entry_px, one.size_before, one.size_after) for one in changes] == [
        ("A", Change.CLOSE, 10, 1, 0),
        ("B", Change.INCREASE, 11, 1, 2),
        ("C", Change.DECREASE, 10, -2, -1),
        ("D", Change.FLIP, 12, 2, -2),
        ("E", Change.LEVERAGE, 10, 2, 2),
        ("F", Change.OPEN, 9, 0, 1),
    ]
    assert {(one.time, one.trader_id, one.source) for one in changes} == {(1767225600000, 7, Source.SNAPSHOT)}
    assert {(one.exit_px, one.realised, one.px, one.tid) for one in changes} == {(None, None, None, None)}
    assert (changes[4].leverage_before, changes[4].leverage_after) == (3, 5)


def test_another_leverage_and_another_size_are_two_changes() -> None:
    changes = detect_position_changes(_state(A=("1", "10", 3)), _state(A=("2", "10", 5)), 1, 1)
    assert [one.change for one in changes] == [Change.INCREASE, Change.LEVERAGE]
    assert values(changes[1].size_before, changes[1].size_after) == (2, 2)
    flipped = detect_position_changes(_state(A=("1", "10", 3)), _state(A=("-2", "10", 5)), 1, 1)
    assert [one.change for one in flipped] == [Change.FLIP]


def test_leverage_that_is_not_told_has_not_changed() -> None:
    assert detect_position_changes(_state(A="1"), _state(A=("1", "10", 5))) == []
    assert detect_position_changes(_state(A=("1", "10", 5)), _state(A="1")) == []


@given(holdings, holdings)
def test_what_is_found_leads_from_the_one_to_the_other(
    before: dict[str, tuple[Decimal, int]], after: dict[str, tuple[Decimal, int]]
) -> None:
    changes = detect_position_changes(_rows(before), _rows(after))
    held = {coin: (szi, lev) for coin, (szi, lev) in before.items() if szi}
    for change in changes:
        szi, leverage = held.get(change.coin, (Decimal(0), 0))
        assert change.size_before == szi or change.change is Change.LEVERAGE
        if change.change is Change.LEVERAGE:
            assert (change.leverage_before, change.size_after) == (leverage, szi)
            held[change.coin] = szi, change.leverage_after or 0
        elif change.size_after:
            kept = change.change in (Change.INCREASE, Change.DECREASE)
            held[change.coin] = change.size_after, leverage if kept else change.leverage_after or 0
        else:
            del held[change.coin]
    assert held == {coin: (szi, lev) for coin, (szi, lev) in after.items() if szi}


@given(amounts, amounts)
def test_comparing_finds_what_was_applied(before: Decimal, size: Decimal) -> None:
    entry = Decimal(10)
    state = PositionState(before, entry, Decimal(0), 1) if before else FLAT
    after, applied = apply_trade(state, size, Decimal(12), 2)
    found = detect_position_changes(
        [SnapshotPosition("A", state.szi, state.entry_px)], [SnapshotPosition("A", after.szi, after.entry_px)]
    )
    assert [(one.change, one.size_before, one.size_after, one.entry_px) for one in found] == (
        [] if applied is None else [(applied.change, applied.size_before, applied.size_after, applied.entry_px)]
    )


def test_states_in_any_form() -> None:
    said = _state(BTC=("-1.50", "100.0", 20))
    row = Position(
        trader_id=1, coin="BTC", szi=Decimal("-1.5"), entry_px=Decimal(100), changed_time=1, leverage_type="cross"
    )
    row.leverage = 20
    answer = msgspec.json.decode(msgspec.json.encode(said), type=ClearinghouseState)
    expected = (SnapshotPosition("BTC", Decimal("-1.5"), Decimal(100), "cross", 20),)
    assert positions_of(said) == positions_of(answer) == positions_of([row]) == positions_of(expected) == expected
    assert positions_of(said["assetPositions"]) == expected
    assert positions_of(None) == positions_of({}) == positions_of(_state(BTC="0.0")) == ()
    assert detect_position_changes(said, [row]) == []


@pytest.mark.parametrize(
    "state",
    [
        _state(BTC="x"),
        _state(BTC="NaN"),
        _state(BTC="Infinity"),
        _state(BTC=("1", "-Infinity", 3)),
        {"assetPositions": [{"position": {"coin": "BTC"}}]},
        {"assetPositions": [{"position": {"szi": "1"}}]},
        {"assetPositions": "BTC"},
        {"assetPositions": 5},
        _state(BTC=("1", "2", -1)),
        _state(BTC=("1", "2", 2**31)),
        _state(BTC=("1", "2", 10**30)),
    ],
)
def test_what_is_no_position(state: object) -> None:
    with pytest.raises(UnreadablePositionError):
        positions_of(state)


@given(
    st.lists(
        st.builds(
            SnapshotPosition,
            st.text(min_size=1),
            st.decimals(allow_nan=False, allow_infinity=False, places=8),
            st.none() | st.decimals("0", "1e9", places=6),
            st.none() | st.sampled_from(["cross", "isolated"]),
            st.none() | st.integers(1, 50),
            st.none() | st.decimals("0", "1e9", places=10),
        ),
        unique_by=lambda position: position.coin,
    )
)
def test_rows_lose_nothing(positions: list[SnapshotPosition]) -> None:
    assert list(from_json(to_json(positions)).values()) == sorted(positions, key=lambda position: position.coin)
