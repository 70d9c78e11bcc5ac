"""The algebra of positions, against fractions that know no rounding."""

from collections import defaultdict
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.traders.core.coins import dex_of, is_spot
from tasks.traders.core.positions import (
    FLAT,
    ZERO,
    Net,
    PositionState,
    PublicTrade,
    apply_trade,
    average_px,
    netted,
    plain,
    realised_by,
    size_change,
)
from tasks.traders.core.tables import Change
from tests.traders.core.tape_rows import values

sizes = st.decimals("0.0001", "1000000", places=4).map(abs)
signed = st.tuples(sizes, st.booleans()).map(lambda pair: pair[0] if pair[1] else -pair[0])
prices = st.decimals("0.00001", "100000", places=5)
trades = st.lists(st.tuples(signed, prices), max_size=12)


def _close(ours: Decimal | None, exact: Fraction | None, scale: Fraction) -> bool:
    """Equal but for the rounding of averages, which a sum of large amounts carries along."""
    if ours is None or exact is None:
        return ours is None and exact is None
    return abs(Fraction(ours) - exact) <= scale / 10**17


@given(trades)
def test_against_fractions(listed: list[tuple[Decimal, Decimal]]) -> None:
    state, held, cost, realised, total = FLAT, Fraction(0), Fraction(0), Fraction(0), Fraction(1)
    for time, (size, px) in enumerate(listed):
        before = held
        state, change = apply_trade(state, size, px, time)
        assert change is not None
        assert (Fraction(change.size_before), Fraction(change.size_after)) == (before, before + Fraction(size))
        part, price = Fraction(size), Fraction(px)
        total += abs(part) * price + abs(cost)
        closed = min(abs(part), abs(held)) * (1 if held > 0 else -1) if part * held < 0 else Fraction(0)
        cost_of_closed = cost * closed / held if held else Fraction(0)
        gain = closed * price - cost_of_closed
        cost += (part + closed) * price - cost_of_closed
        held += part
        # A result belongs to one position: from its opening, by a flip as well, to its end.
        realised = realised + gain if before * held > 0 else Fraction(0)
        assert Fraction(state.szi) == held
        assert _close(change.realised, gain if closed else None, total)
        assert change.exit_px == (px if closed else None)
        if held:
            assert state.entry_px is not None
            assert _close(state.entry_px * abs(state.szi), abs(cost), total)
            assert _close(state.realised, realised, total)
        else:
            assert state == FLAT


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 4), sizes, prices), max_size=30))
def test_the_sum_of_all_traders_sizes_is_constant(listed: list[tuple[int, int, int, Decimal, Decimal]]) -> None:
    public = sorted(
        PublicTrade(time, coin, tid, px, sz, buyer, seller)
        for tid, (buyer, seller, time, sz, px) in enumerate(listed)
        for coin in ("BTC", "ETH")
    )
    states: dict[tuple[int, str], PositionState] = defaultdict(lambda: FLAT)
    last: tuple[int, str] | None = None
    for net in netted(public):
        if last is not None and (net.time, net.coin) != last:
            for coin in ("BTC", "ETH"):
                assert sum(state.szi for (_, held), state in states.items() if held == coin) == 0
        last = net.time, net.coin
        states[net.trader_id, net.coin], change = apply_trade(
            states[net.trader_id, net.coin], net.size, net.px, net.time
        )
        assert change is not None
    bought: dict[tuple[int, str], Decimal] = defaultdict(Decimal)
    for trade in public:
        bought[trade.buyer_id or 0, trade.coin] += trade.sz
        bought[trade.seller_id or 0, trade.coin] -= trade.sz
    assert {key: size for key, size in bought.items() if size} == {
        key: state.szi for key, state in states.items() if state.szi
    }


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), sizes, prices), min_size=1, max_size=8), st.randoms())
def test_the_order_within_a_block_does_not_matter(
    listed: list[tuple[int, int, Decimal, Decimal]], random: object
) -> None:
    block = [PublicTrade(7, "BTC", tid, px, sz, buyer, seller) for tid, (buyer, seller, sz, px) in enumerate(listed)]
    shuffled = list(block)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert list(netted(block)) == list(netted(shuffled))


def test_what_a_block_comes_to() -> None:
    def trade(tid: int, buyer: int, seller: int, sz: str, px: str) -> PublicTrade:
        return PublicTrade(7, "BTC", tid, Decimal(px), Decimal(sz), buyer, seller)

    # Trader 1 bought 3 and sold 1: the price is that of what it bought. Trader 3 traded with itself and with 1.
    nets = {
        net.trader_id: net
        for net in netted([trade(3, 1, 2, "2", "10"), trade(2, 1, 2, "1", "13"), trade(4, 3, 1, "1", "50")])
    }
    assert nets[1] == Net(1, 7, "BTC", Decimal(2), Decimal(11), 2)
    assert nets[2] == Net(2, 7, "BTC", Decimal(-3), Decimal(11), 2)
    assert nets[3] == Net(3, 7, "BTC", Decimal(1), Decimal(50), 4)
    assert list(netted([trade(1, 1, 1, "2", "10")])) == []
    assert list(netted([trade(1, 1, 2, "2", "10"), trade(2, 2, 1, "2", "11")])) == []
    assert list(netted([PublicTrade(7, "BTC", 1, Decimal(1), Decimal(1), None, None)])) == []


def test_what_is_not_known_stays_so() -> None:
    unknown = PositionState(Decimal(2))
    state, change = apply_trade(unknown, Decimal(1), Decimal(10), 5)
    assert change is not None and change.entry_px is None and state == PositionState(Decimal(3))
    state, change = apply_trade(unknown, Decimal(-1), Decimal(10), 5)
    assert change is not None and values(change.entry_px, change.exit_px, change.realised) == (None, 10, None)
    state, change = apply_trade(unknown, Decimal(-5), Decimal(10), 5)
    assert change is not None and values(change.entry_px, change.exit_px, change.realised) == (10, 10, None)
    assert state == PositionState(Decimal(-3), Decimal(10), ZERO, 5)
    assert apply_trade(unknown, ZERO, Decimal(10), 5) == (unknown, None)


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (0, 0, None),
        (0, 1, Change.OPEN),
        (0, -1, Change.OPEN),
        (2, 0, Change.CLOSE),
        (2, 3, Change.INCREASE),
        (-2, -3, Change.INCREASE),
        (3, 2, Change.DECREASE),
        (-3, -2, Change.DECREASE),
        (3, -2, Change.FLIP),
        (-3, 2, Change.FLIP),
    ],
)
def test_kinds_of_changes(before: int, after: int, change: Change | None) -> None:
    assert size_change(Decimal(before), Decimal(after)) is change


def test_nothing_hangs_on_the_threads_own_precision() -> None:
    with localcontext(prec=3):
        assert plain(Decimal("12345.678900")) == Decimal("12345.6789")
        assert average_px([(Decimal("1.23456"), Decimal("98765.4"))]) == Decimal("98765.4")
        assert realised_by(Decimal("98765.4"), Decimal("98766.4"), Decimal("1.23456")) == Decimal("1.23456")
        state, _ = apply_trade(PositionState(Decimal("100000.0001"), Decimal(1)), Decimal("0.0001"), Decimal(1), 5)
        assert state.szi == Decimal("100000.0002")
    assert [format(plain(Decimal(text)), "") for text in ("100", "0.00", "-1.50", "1E+3")] == [
        "100",
        "0",
        "-1.5",
        "1000",
    ]


@pytest.mark.parametrize(
    ("coin", "spot", "dex"),
    [("BTC", False, ""), ("kPEPE", False, ""), ("@107", True, ""), ("PURR/USDC", True, ""), ("xyz:AAPL", False, "xyz")],
)
def test_names_of_coins(coin: str, spot: bool, dex: str) -> None:
    assert (is_spot(coin), dex_of(coin)) == (spot, dex)
