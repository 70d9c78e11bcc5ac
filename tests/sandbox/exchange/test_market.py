"""The market: what it makes up, and that the ledger's truth follows from the trades alone."""

from collections import Counter, defaultdict
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.sandbox.exchange.ledger import SPOT_BALANCE
from deployments.sandbox.exchange.options import ExchangeOptions
from deployments.sandbox.exchange.tape import Block, prepare, tid_of
from deployments.sandbox.exchange.truth import Requests, Truth
from deployments.sandbox.exchange.world import World
from tests.sandbox.exchange.calls import NOON

PERPETUALS = ("BTC", "ETH", "SOL", "AVAX", "SUI", "xyz:AAPL")


def a_world(blocks: int = 300, size: int = 3, **options: Any) -> World:
    world = World(ExchangeOptions(days=0, **{"self_trade_rate": 0.03, **options}), lambda: NOON)
    for _ in range(blocks):
        world.play(size)
    return world


def truth_of(world: World, *parts: str, **query: str) -> dict[str, Any]:
    # Nothing but the world is asked for.
    truth = Truth(world, None, Requests, ExchangeOptions)  # type: ignore[arg-type]
    return truth.told({"parts": ",".join(parts), **query})


@pytest.fixture(scope="module")
def world() -> World:
    return a_world()


def test_the_same_seed_makes_the_same_market_and_another_seed_another(world: World) -> None:
    assert a_world().blocks == world.blocks
    assert a_world(seed=2).blocks != world.blocks


def test_trades_are_numbered_once_and_blocks_come_one_after_the_other(world: World) -> None:
    trades = [trade for block in world.blocks for each in block.trades.values() for trade in each]
    assert len(trades) == world.played == 900
    assert len({trade.tid for trade in trades}) == 900
    assert all(0 <= trade.tid < 1 << 50 for trade in trades)
    times = [block.time for block in world.blocks]
    assert times == sorted(set(times))


@given(st.integers(0, (1 << 50) - 2))
def test_tids_of_neighbours_differ(number: int) -> None:
    assert tid_of(number) != tid_of(number + 1)


def test_the_market_has_everything_that_there_is_to_detect(world: World) -> None:
    told = truth_of(world, "changes", "leverages", "trades")
    kinds = Counter(change["change"] for change in told["changes"])
    assert set(kinds) == {f"{kind}_POSITION" for kind in ("OPEN", "CLOSE", "INCREASE", "DECREASE", "FLIP")}
    assert {change["coin"] for change in told["changes"]} == set(PERPETUALS)
    trades = told["trades"]
    assert any(trade["buyer"] == trade["seller"] for trade in trades)
    assert any(trade["liquidation"] for trade in trades)
    assert any(trade["coin"] == "@107" for trade in trades)
    assert max(Counter((trade["time"], trade["coin"]) for trade in trades).values()) > 1
    assert {change["after"]["type"] for change in told["leverages"]} == {"cross", "isolated"}


def test_what_everybody_has_of_a_coin_adds_up_to_nothing(world: World) -> None:
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    for positions in truth_of(world, "positions")["positions"].values():
        for coin, position in positions.items():
            sums[coin] += Decimal(position["szi"])
    assert dict(sums) == dict.fromkeys(PERPETUALS, Decimal(0))
    balances = [
        account.holdings["@107"].szi for account in world.ledger().accounts.values() if "@107" in account.holdings
    ]
    assert sum(balances) == SPOT_BALANCE * len(balances)


def test_positions_are_the_sums_of_signed_sizes(world: World) -> None:
    sums: defaultdict[tuple[str, str], Fraction] = defaultdict(Fraction)
    told = truth_of(world, "trades", "positions")
    for trade in told["trades"]:
        if trade["coin"] != "@107":
            sums[trade["buyer"], trade["coin"]] += Fraction(trade["sz"])
            sums[trade["seller"], trade["coin"]] -= Fraction(trade["sz"])
    known = {
        (user, coin): Fraction(position["szi"])
        for user, positions in told["positions"].items()
        for coin, position in positions.items()
    }
    assert known == {key: size for key, size in sums.items() if size}


def test_changes_replay_to_the_positions_and_their_entries(world: World) -> None:
    """Average entry by the rules, in exact fractions: not the ledger's code."""
    told = truth_of(world, "changes", "positions")
    held: dict[tuple[str, str], tuple[Fraction, Fraction]] = {}
    for change in told["changes"]:
        key = (change["user"], change["coin"])
        size, entry = held.get(key, (Fraction(0), Fraction(0)))
        after, px = Fraction(change["size_after"]), Fraction(change["px"])
        assert Fraction(change["size_before"]) == size
        assert after != size
        realised, closing = None, size * after <= 0 < abs(size) or abs(after) < abs(size)
        if closing:
            closed = size if size * after <= 0 else size - after
            realised = (px - entry) * closed
            assert float(realised) == pytest.approx(float(Fraction(change["realised"])), rel=1e-9, abs=1e-9)
            assert Fraction(change["exit_px"]) == px
        else:
            assert change["realised"] is change["exit_px"] is None
            entry = (entry * abs(size) + px * (abs(after) - abs(size))) / abs(after)
        if change["change"] in ("CLOSE_POSITION", "DECREASE_POSITION"):
            assert float(Fraction(change["entry_px"])) == pytest.approx(float(entry), rel=1e-12)
        elif change["change"] == "FLIP_POSITION":
            entry = px
        if not closing or change["change"] == "FLIP_POSITION":
            assert float(Fraction(change["entry_px"])) == pytest.approx(float(entry), rel=1e-12)
        if after:
            held[key] = (after, entry)
        else:
            held.pop(key, None)
    known = {
        (user, coin): Fraction(position["szi"])
        for user, positions in told["positions"].items()
        for coin, position in positions.items()
    }
    assert known == {key: size for key, (size, _) in held.items()}


def test_netting_and_going_through_the_trades_give_one_entry(world: World) -> None:
    for change in truth_of(world, "changes")["changes"]:
        if change["change"] in ("OPEN_POSITION", "INCREASE_POSITION", "FLIP_POSITION"):
            assert Decimal(change["entry_px"]) == pytest.approx(
                Decimal(change["exchange_entry_px"]), rel=Decimal("1e-20")
            )


def test_fills_are_both_sides_of_all_trades_and_tell_the_position_before(world: World) -> None:
    trades = {trade["tid"]: trade for trade in truth_of(world, "trades")["trades"]}
    sides: Counter[int] = Counter()
    for address, fills in truth_of(world, "fills")["fills"].items():
        positions: dict[str, Decimal] = {"@107": SPOT_BALANCE}
        for fill in fills:
            trade = trades[fill["tid"]]
            sides[fill["tid"]] += 1
            assert [fill[name] for name in ("coin", "px", "sz", "time")] == [
                trade[name] for name in ("coin", "px", "sz", "time")
            ]
            assert trade["buyer" if fill["side"] == "B" else "seller"] == address
            assert fill["crossed"] == (fill["side"] == trade["side"])
            assert ("liquidation" in fill) == trade["liquidation"]
            before = positions.get(fill["coin"], Decimal(0))
            assert Decimal(fill["startPosition"]) == before
            positions[fill["coin"]] = before + (Decimal(fill["sz"]) if fill["side"] == "B" else -Decimal(fill["sz"]))
    assert sides == dict.fromkeys(trades, 2)


def test_cash_is_what_fills_brought(world: World) -> None:
    for index, account in world.ledger().accounts.items():
        for dex in ("", "xyz"):
            brought = sum(
                Decimal(fill.closed_pnl) - fill.fee
                for fill in world.fills(index)
                if world.coins[fill.coin].dex == dex and not world.coins[fill.coin].is_spot
            )
            assert account.cash[dex] == brought


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.sampled_from([4, 5, 7, 40]), st.integers(1, 12))
def test_nobody_buys_and_sells_a_coin_in_one_block(seed: int, traders: int, size: int) -> None:
    for block in a_world(blocks=20, size=size, seed=seed, traders=traders, self_trade_rate=0.1).blocks:
        for trades in block.trades.values():
            others = [trade for trade in trades if trade.buyer != trade.seller]
            assert not {trade.buyer for trade in others} & {trade.seller for trade in others}
            # Who meets itself is alone.
            assert not others or len(others) == len(trades)


def test_sweeps_are_one_order_at_one_time(world: World) -> None:
    sweeps = 0
    for block in world.blocks:
        for trades in block.trades.values():
            by_order = Counter(trade.order for trade in trades)
            for order, count in by_order.items():
                here = [trade for trade in trades if trade.order == order]
                assert len({(trade.taker, trade.side) for trade in here}) == 1
                sweeps += count > 1
    assert sweeps > 10


def test_the_active_ones_trade_more(world: World) -> None:
    fills = [len(world.fills(index)) for index in range(40)]
    assert sum(fills[:10]) > 2 * sum(fills[-10:])


def test_dust_is_left_at_times() -> None:
    changes = truth_of(a_world(blocks=2000, flip_rate=0), "changes")["changes"]
    assert any(
        change["coin"] == "BTC" and abs(Decimal(change["size_after"])) == Decimal("0.00001") for change in changes
    )


def test_prepared_blocks_are_the_same_market(world: World) -> None:
    ahead = World(ExchangeOptions(days=0, self_trade_rate=0.03, prepare=900, rate=30, block_ms=100), lambda: NOON)
    assert [block.trades for block in reversed(ahead.prepared)] == [block.trades for block in world.blocks]
    first = ahead.play(0)
    assert (first.time, len(ahead.prepared)) == (NOON + 1, 299)


def test_a_prepared_frame_is_the_one_that_would_have_been_made(world: World) -> None:
    from deployments.sandbox.exchange.tape import frames_of

    block = world.blocks[3]
    copy = Block(0, block.trades)
    prepare(copy, world.addresses)
    copy.time = block.time
    assert frames_of(copy, block.trades, world.addresses) == frames_of(block, block.trades, world.addresses)


def test_the_last_block_trades_every_coin() -> None:
    world = a_world(blocks=3)
    assert sorted(world.last_block().trades) == sorted(world.coins)
    assert world.finished


def test_who_starts_with_positions_goes_on_with_them() -> None:
    options = ExchangeOptions(days=3, flat_start=False, overnight_rate=1, idle_day_rate=0, short_history_rate=0)
    world = World(options, lambda: NOON)
    carried = truth_of(world, "positions")["positions"]
    assert len(carried) >= 38
    for index, address in enumerate(world.addresses):
        opened = world.past(index).open
        assert {coin: position["szi"] for coin, position in carried.get(address, {}).items()} == {
            coin: f"{holding.szi.normalize():f}" if holding.szi % 1 else f"{holding.szi:.1f}"
            for coin, holding in opened.items()
        }
    for _ in range(50):
        world.play(5)
    for index in range(len(world.addresses)):
        ends: dict[str, Decimal] = {}
        for fill in world.fills(index):
            if fill.coin != "@107":
                assert ends.get(fill.coin, Decimal(0)) == fill.start_position
                ends[fill.coin] = fill.start_position + (Decimal(fill.sz) if fill.side == "B" else -Decimal(fill.sz))
