"""However trades, snapshots, folding and reconciling fall together, the same events and positions come of it.

A market is made of trades between a few traders, of whom some began with a position, and of snapshots that tell the
truth. It is then played twice: at once, and bit by bit in another order, with gaps that are filled late, snapshots that
come late, and steps of any size. An oracle that knows nothing of the ledger says what must come of both.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import select

from blocks.engine import session
from tasks.traders.core.fold import fold
from tasks.traders.core.reconcile import reconcile
from tasks.traders.core.snapshots import SnapshotPosition
from tasks.traders.core.tables import Change, Poll, Position, PositionEvent, Source
from tests.traders.core.tape_rows import (
    NOW,
    Swap,
    empty_ledger,
    people,
    settle,
    snapshot,
    store,
    stream,
    whole_up_to,
)

_TRADERS, _COINS, _END = 3, ("BTC", "ETH"), 40
Key = tuple[int, str]


@dataclass
class Market:
    """What truly happens."""

    #: What traders hold before anything is seen.
    bases: dict[Key, int]
    swaps: list[Swap]
    #: Trader and time of each snapshot, by time.
    polls: list[tuple[int, int]]
    #: From when on a trader's leverage of all coins is another.
    leverage: dict[int, int]
    #: Changes of each position: time, size before, size after, price of a net buy or sell.
    changes: dict[Key, list[tuple[int, int, int, Fraction]]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        held = dict(self.bases)
        blocks: dict[tuple[int, int, str], list[tuple[int, Fraction]]] = defaultdict(list)
        for one in self.swaps:
            if one.buyer != one.seller:
                for party, size in ((one.buyer, int(one.sz)), (one.seller, -int(one.sz))):
                    blocks[one.time, party, one.coin].append((size, Fraction(one.px)))
        for (time, party, coin), parts in sorted(blocks.items()):
            net = sum(size for size, _ in parts)
            if net:
                side = [(size, px) for size, px in parts if size * net > 0]
                px = sum((size * px for size, px in side), Fraction(0)) / sum(size for size, _ in side)
                before = held.get((party, coin), 0)
                held[party, coin] = before + net
                self.changes[party, coin].append((time, before, before + net, px))

    def shown(self, trader: int, time: int) -> list[SnapshotPosition]:
        """What a snapshot says."""
        positions = []
        for coin in _COINS:
            size, entry = self.bases.get((trader, coin), 0), Fraction(50)
            for at, before, after, px in self.changes[trader, coin]:
                if at <= time:
                    entry = _entry(before, after, entry, px)
                    size = after
            if size:
                leverage = 5 if time < self.leverage.get(trader, _END + 1) else 10
                rounded = Decimal(f"{float(entry):.6g}")
                positions.append(SnapshotPosition(coin, Decimal(size), rounded, "cross", leverage))
        return positions


def _entry(before: int, after: int, entry: Fraction, px: Fraction) -> Fraction:
    if before * after <= 0:
        return px
    return (entry * before + px * (after - before)) / after if abs(after) > abs(before) else entry


@st.composite
def markets(draw: st.DrawFn) -> Market:
    traders, times = st.integers(1, _TRADERS), st.integers(2, _END - 2)
    swaps = [
        Swap(time, coin, tid, Decimal(px), Decimal(sz), buyer, seller)
        for tid, (time, coin, px, sz, buyer, seller) in enumerate(
            draw(
                st.lists(
                    st.tuples(
                        times, st.sampled_from(_COINS), st.integers(90, 110), st.integers(1, 3), traders, traders
                    ),
                    max_size=18,
                )
            )
        )
    ]
    bases = draw(st.dictionaries(st.tuples(traders, st.sampled_from(_COINS)), st.integers(-3, 3), max_size=2))
    polls = draw(st.lists(st.tuples(traders, st.integers(1, _END - 1)), unique=True, max_size=6))
    leverage = draw(st.dictionaries(traders, times, max_size=2))
    # So that each has a baseline in the end.
    last = [(trader, _END) for trader in range(1, _TRADERS + 1)]
    return Market(bases, sorted(swaps), sorted(polls + last, key=lambda poll: (poll[1], poll[0])), leverage)


def _outcome() -> tuple[list[Any], list[Any], list[Any]]:
    with session("traders", read_only=True) as opened:
        events = opened.exec(select(PositionEvent)).all()
        positions = opened.exec(select(Position)).all()
        polls = opened.exec(select(Poll)).all()
    return (
        sorted((one.model_dump(exclude={"number", "found_at", "published_at"}) for one in events), key=_by_id),
        sorted((one.model_dump() for one in positions), key=lambda row: (row["trader_id"], row["coin"])),
        sorted((one.model_dump(exclude={"polled_at"}) for one in polls), key=lambda row: int(row["trader_id"])),
    )


def _by_id(row: dict[str, Any]) -> str:
    return str(row["id"])


def _begin() -> None:
    empty_ledger()
    with session("traders") as opened:
        people(opened, _TRADERS)
        stream(opened, *_COINS, whole=0)


def _played_at_once(market: Market) -> tuple[int, int]:
    _begin()
    with session("traders") as opened:
        store(opened, market.swaps)
        for trader, time in market.polls:
            snapshot(opened, trader, time, *market.shown(trader, time))
        whole_up_to(opened, _END)
    return settle()


def _played_in_bits(market: Market, chance: Random) -> None:
    _begin()
    waiting, polls = chance.sample(market.swaps, len(market.swaps)), list(market.polls)
    while waiting or polls:
        possible = ["store"] * bool(waiting) + ["poll"] * bool(polls) + ["fold", "reconcile"]
        action = chance.choice(possible)
        with session("traders") as opened:
            if action == "store":
                bit = chance.randint(1, 6)
                store(opened, waiting[:bit])
                waiting = waiting[bit:]
                whole_up_to(opened, min((one.time - 1 for one in waiting), default=_END))
            elif action == "poll":
                trader, time = polls.pop(0)
                snapshot(opened, trader, time, *market.shown(trader, time))
            elif action == "fold":
                fold(opened, now=NOW, limit=chance.randint(1, 4))
            else:
                reconcile(opened, now=NOW, limit=chance.randint(1, 3))
    with session("traders") as opened:
        whole_up_to(opened, _END)
    settle(limit=2)


def _from_trades(market: Market, rows: list[dict[str, Any]]) -> None:
    """The oracle: every change of every trader, at its true size; the rest of those who began with nothing."""
    changes = {(row["trader_id"], row["coin"], row["time"]): row for row in rows if row["source"] is Source.STREAM}
    expected = {
        (trader, coin, time): (before, after)
        for (trader, coin), listed in market.changes.items()
        for time, before, after, _ in listed
    }
    assert {key: (row["size_before"], row["size_after"]) for key, row in changes.items()} == expected
    for (trader, coin), listed in market.changes.items():
        entry, known = Fraction(0), not market.bases.get((trader, coin), 0)
        for time, before, after, px in listed:
            row = changes[trader, coin, time]
            closed = 0 if before * (after - before) >= 0 else before if before * after <= 0 else before - after
            assert (row["exit_px"] is None) == (not closed)
            if closed and known:
                assert abs(Fraction(row["realised"]) - (px - entry) * closed) < Fraction(1, 10**9)
            entry, known = _entry(before, after, entry, px), known or before * after <= 0
            if known and row["change"] in (Change.OPEN, Change.INCREASE, Change.FLIP):
                assert abs(Fraction(row["entry_px"]) - entry) < Fraction(1, 10**9)


def _without_entries(market: Market, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What cannot hang on when a snapshot came: who began with a position has an entry from snapshots only."""
    unknown = ("entry_px", "realised", "opened_time", "changed_time")
    return [
        {name: value for name, value in row.items() if name not in unknown}
        if market.bases.get((row["trader_id"], row["coin"]))
        else row
        for row in rows
    ]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(market=markets(), seed=st.integers(0, 2**32))
def test_any_interleaving_gives_the_same(book_ledger: str, market: Market, seed: int) -> None:
    compared, drifted = _played_at_once(market)
    events, positions, polls = _outcome()
    assert (drifted, sum(row["drifted"] for row in polls), sum(row["compared"] for row in polls)) == (0, 0, compared)
    _from_trades(market, events)
    assert {row["change"] for row in events if row["source"] is Source.SNAPSHOT} <= {Change.LEVERAGE}
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in positions:
        sums[row["coin"]] += row["szi"]
    assert all(
        total == sum(size for (_, held), size in market.bases.items() if held == coin) for coin, total in sums.items()
    )

    _played_in_bits(market, Random(seed))
    again = _outcome()
    assert _without_entries(market, again[0]) == _without_entries(market, events)
    assert _without_entries(market, again[1]) == _without_entries(market, positions)
    assert again[2] == polls
    settle()
    assert _outcome() == again


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(market=markets(), seed=st.integers(0, 2**32))
def test_drift_is_found_and_put_right_whenever_the_snapshot_comes(book_ledger: str, market: Market, seed: int) -> None:
    """Trades that nobody told us of: snapshots find them, once, and the positions end as they truly are."""
    chance = Random(seed)
    lost = chance.sample(market.swaps, min(len(market.swaps), 3))
    seen = Market(market.bases, [one for one in market.swaps if one not in lost], market.polls, market.leverage)
    # The snapshots still tell the truth.
    seen.changes = market.changes
    _played_in_bits(seen, chance)
    events, positions, _ = _outcome()
    held = {(row["trader_id"], row["coin"]): row["szi"] for row in positions if row["szi"]}
    truth = {
        (trader, shown.coin): shown.szi for trader in range(1, _TRADERS + 1) for shown in market.shown(trader, _END)
    }
    assert held == truth
    # Sizes add up from the first event to the last, whoever told them.
    for key, final in truth.items():
        mine = [
            row for row in events if (row["trader_id"], row["coin"]) == key and row["change"] is not Change.LEVERAGE
        ]
        moved = sum((row["size_after"] - row["size_before"] for row in mine), Decimal(0))
        # What a snapshot shows is later than the trades of its own time.
        first = min(mine, key=lambda row: (row["time"], row["source"] is Source.SNAPSHOT), default=None)
        assert first is None or moved == final - first["size_before"]
    settle()
    assert _outcome()[0] == events
