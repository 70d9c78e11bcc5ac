"""What is told of a past, as rows: each once, on both databases."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlmodel import Session, SQLModel, col, select

from blocks.engine import session
from tasks.traders.core import fetched
from tasks.traders.core.days import history_of, recompute_days
from tasks.traders.core.equity import Point, portfolio_points, store_points
from tasks.traders.core.fetched import OVERLAP, Kind, begin, move, note_first_end, note_hole
from tasks.traders.core.fills import DUST, ToldFill, numbered, store_fills
from tasks.traders.core.funding import ToldFunding, store_funding
from tasks.traders.core.history_tables import Day, Equity, EquitySource, Fill, Funding, History, LedgerUpdate
from tasks.traders.core.ledger_updates import ToldUpdate, perpetuals_usdc, store_updates
from tasks.traders.core.series import unpack
from tasks.traders.core.tables import DOMAIN
from tests.traders.ledger_rows import add_traders

ME = "0x" + "1" * 40
OTHER = "0x" + "2" * 40
HOUR = 3_600_000
START = 20_454 * 24 * HOUR


def fill(**changed: Any) -> ToldFill:
    return replace(ToldFill(START, "BTC", "B", Decimal("10.5"), Decimal("2"), "Open Long", Decimal(0), 7), **changed)


def rows(table: type[SQLModel]) -> list[dict[str, Any]]:
    with session(DOMAIN, read_only=True) as opened:
        columns = table.metadata.tables[str(table.__tablename__)].primary_key.columns
        return [row.model_dump() for row in opened.exec(select(table).order_by(*columns)).all()]


def update(kind: str, **details: Any) -> ToldUpdate:
    return ToldUpdate(START, "0xab", kind, details)


def test_a_fill_is_stored_once_and_exactly(traders_ledger: str) -> None:
    (trader,) = add_traders(1)
    told = fill(
        px=Decimal("0.00001234567890123456789"), fee=Decimal("-0.5"), fee_token="USDC", oid=2**53, liquidated=True
    )
    for _ in range(2):
        with session(DOMAIN) as opened:
            assert store_fills(opened, trader, [told, told]) == 1
    (row,) = rows(Fill)
    assert row["px"] == told.px
    assert (row["tid"], row["fee"], row["oid"], row["liquidated"]) == (7, Decimal("-0.5"), 2**53, True)


def test_texts_of_any_length_stop_nobody(traders_ledger: str) -> None:
    (trader,) = add_traders(1)
    with session(DOMAIN) as opened:
        store_fills(opened, trader, [fill(dir="d" * 200, fee_token="t" * 200)])
        store_updates(opened, trader, ME, [ToldUpdate(START, "h" * 200, "k" * 200, {})])
    assert [(row["dir"], row["fee_token"]) for row in rows(Fill)] == [("d" * 64, "t" * 32)]
    assert [row["kind"] for row in rows(LedgerUpdate)] == ["k" * 40]


def test_fills_without_a_tid_have_one_that_is_always_the_same() -> None:
    old = [fill(tid=None), fill(tid=None), fill(tid=None, sz=Decimal(3)), fill(tid=0, dir=DUST)]
    names = [one.tid for one in numbered(old)]
    assert len(set(names)) == 4
    assert all(name is not None and -(2**63) <= name < 0 for name in names)
    assert sorted(one.tid or 0 for one in numbered(old[::-1])) == sorted(name or 0 for name in names)
    again = [fill(tid=None, sz=Decimal("2.00"), px=Decimal("10.50")), *old[1:]]
    assert [one.tid for one in numbered(again)] == names


def test_both_sides_of_a_trade_with_oneself_are_kept() -> None:
    found = numbered([fill(), fill(side="A")])
    assert [one.side for one in found] == ["B", "A"]
    assert found[0].tid == 7
    assert (found[1].tid or 0) < 0


def test_funding_of_a_day_that_grows_is_replaced(traders_ledger: str) -> None:
    (trader,) = add_traders(1)
    for usdc in ("1.5", "4.5"):
        with session(DOMAIN) as opened:
            store_funding(
                opened, trader, [ToldFunding(START, "BTC", Decimal(usdc)), ToldFunding(START, "ETH", Decimal(-1))]
            )
    assert [(row["coin"], row["usdc"]) for row in rows(Funding)] == [("BTC", Decimal("4.5")), ("ETH", Decimal(-1))]


def test_updates_of_one_transaction_are_kept_apart_and_stored_once(traders_ledger: str) -> None:
    (trader,) = add_traders(1)
    told = [update("deposit", usdc=Decimal(5)), update("deposit", usdc=Decimal(5)), update("deposit", usdc=Decimal(6))]
    for turn in (told, told[::-1]):
        with session(DOMAIN) as opened:
            assert store_updates(opened, trader, ME, turn) == 3
    found = rows(LedgerUpdate)
    assert sorted(row["usdc"] for row in found) == [5, 5, 6]
    assert all(len(row["key"]) <= 80 for row in found)
    with session(DOMAIN) as opened:
        store_updates(opened, trader, ME, [ToldUpdate(START, "0x" + "f" * 64, "deposit", {"usdc": Decimal(1)})] * 3)
    assert max(len(row["key"]) for row in rows(LedgerUpdate)) <= 80


@pytest.mark.parametrize(
    ("kind", "details", "usdc"),
    [
        ("deposit", {"usdc": 5}, 5),
        ("withdraw", {"usdc": 5, "fee": 1}, -6),
        ("accountClassTransfer", {"usdc": 5, "to_perp": True}, 5),
        ("accountClassTransfer", {"usdc": 5, "to_perp": False}, -5),
        ("internalTransfer", {"usdc": 5, "fee": 1, "user": OTHER, "destination": ME}, 5),
        ("internalTransfer", {"usdc": 5, "fee": 1, "user": ME, "destination": OTHER}, -6),
        ("subAccountTransfer", {"usdc": 5, "user": ME, "destination": OTHER}, -5),
        ("subAccountTransfer", {"usdc": 5, "user": OTHER, "destination": ME.upper().replace("X", "x")}, 5),
        ("vaultCreate", {"usdc": 100, "fee": 10, "vault": OTHER}, -110),
        ("vaultDeposit", {"usdc": 5, "vault": OTHER}, -5),
        ("vaultDeposit", {"usdc": 5, "vault": ME}, 5),
        ("vaultWithdraw", {"net_withdrawn_usd": 4, "requested_usd": 5, "vault": OTHER, "user": ME}, 4),
        ("vaultWithdraw", {"net_withdrawn_usd": 4, "vault": ME, "user": OTHER}, -4),
        ("vaultDistribution", {"usdc": 5, "vault": OTHER}, 5),
        ("vaultLeaderCommission", {"usdc": 5}, 5),
        ("liquidation", {"account_value": 5}, 0),
        ("spotTransfer", {"usdc_value": 5, "user": ME, "destination": OTHER, "token": "PURR"}, 0),
        ("spotGenesis", {"amount": 5, "token": "PURR"}, 0),
        ("cStakingTransfer", {"amount": 5, "token": "HYPE"}, 0),
        ("send", {"user": ME, "destination": OTHER, "source_dex": "", "destination_dex": "", "usdc_value": 5}, -5),
        ("send", {"user": OTHER, "destination": ME, "source_dex": "spot", "destination_dex": "xyz", "amount": 5,
                  "token": "USDC:0x6d1e7cde53ba9467b783cb7c530ce054"}, 5),
        ("send", {"user": ME, "destination": ME, "source_dex": "spot", "destination_dex": "", "usdc_value": 5}, 5),
        ("send", {"user": ME, "destination": ME, "source_dex": "", "destination_dex": "xyz", "usdc_value": 5}, 0),
        ("send", {"user": ME, "destination": OTHER, "source_dex": "spot", "destination_dex": "spot", "amount": 5}, 0),
        ("send", {"user": ME, "destination": OTHER, "source_dex": "", "destination_dex": "", "token": "HYPE"}, None),
        ("rewardsClaim", {"amount": 5, "token": "USDC"}, None),
        ("whatComesNext", {"usdc": 5}, None),
        ("deposit", {}, None),
    ],
)  # fmt: skip
def test_what_an_update_does_to_the_account_of_perpetuals(kind: str, details: dict[str, Any], usdc: int | None) -> None:
    exact = {name: Decimal(value) if type(value) is int else value for name, value in details.items()}
    assert perpetuals_usdc(update(kind, **exact), ME) == usdc


def curve(*points: tuple[int, float, float]) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    return [(time, value) for time, value, _ in points], [(time, pnl) for time, _, pnl in points]


def test_periods_become_one_series_counted_from_the_beginning() -> None:
    found = portfolio_points(
        {
            "day": curve((35, 190, 0), (40, 200, 10)),
            "month": curve((20, 150, 0), (30, 170, 20), (40, 200, 50)),
            "allTime": curve((0, 0, 0), (10, 100, 5), (40, 200, 105)),
        }
    )
    assert found == [
        *(Point(0, 0, 0), Point(10, 100, 5), Point(20, 150, 55)),
        *(Point(30, 170, 75), Point(35, 190, 95), Point(40, 200, 105)),
    ]


def test_perpetuals_alone_are_preferred_and_what_meets_nothing_is_left_out() -> None:
    told = {
        "allTime": curve((0, 5, 5)),
        "perpAllTime": curve((0, 1, 1), (9, 2, 2)),
        "perpDay": curve((7, 1, 0), (8, 1, 0)),
    }
    assert portfolio_points(told) == [Point(0, 1, 1), Point(9, 2, 2)]
    assert portfolio_points({"perpDay": ([], []), "day": curve((1, 2, 3))}) == [Point(1, 2, 3)]
    assert portfolio_points({"day": ([(1, 2.0), (2, 3.0)], [(2, 0.0)])}) == [Point(2, 3, 0)]
    assert portfolio_points({}) == []


def test_an_old_balance_is_not_won() -> None:
    told = {"perpAllTime": curve((0, 0, 0), (1, 0, 0), (2, 900, 900), (3, 950, 910))}
    assert portfolio_points(told) == [Point(0, 0, 0), Point(1, 0, 0), Point(2, 900, 0), Point(3, 950, 10)]
    won = {"perpAllTime": curve((0, 0, 0), (2, 900, 100), (3, 0, 0), (4, 50, 50))}
    assert [point.pnl for point in portfolio_points(won)] == [0, 100, 0, 50]


def stored_points() -> list[tuple[int, float, float | None]]:
    return [(row["time"], row["account_value"], row["pnl"]) for row in rows(Equity)]


def test_points_grow_denser_and_a_result_that_is_counted_otherwise_makes_no_step(traders_ledger: str) -> None:
    first, second = add_traders(1, 1)
    with session(DOMAIN) as opened:
        opened.add(Equity(trader_id=first, time=5, source=EquitySource.SNAPSHOT, account_value=1.0))
        store_points(opened, second, [Point(1, 100, 7)])
        store_points(opened, first, [Point(1, 100, 0), Point(2, 110, 10), Point(4, 120, 20)])
    # Its period begins later now, and so does its result.
    later = [Point(2, 110, 0), Point(3, 115, 5), Point(6, 130, 20)]
    for _ in range(2):
        with session(DOMAIN) as opened:
            store_points(opened, first, later)
    expected = [(1, 100.0, -10.0), (2, 110.0, 0.0), (3, 115.0, 5.0), (4, 120.0, 10.0), (5, 1.0, None), (6, 130.0, 20.0)]
    assert stored_points() == [*expected, (1, 100.0, 7.0)]


def test_cursors_move_forward_only_and_the_overlap_is_asked_again(traders_ledger: str) -> None:
    (trader,) = add_traders(1)
    with session(DOMAIN, read_only=True) as opened:
        assert begin(opened, trader, Kind.FILLS).ask.start == 0
    with session(DOMAIN) as opened:
        move(opened, trader, Kind.FILLS, START)
        move(opened, trader, Kind.FILLS, START - 1)
    with session(DOMAIN, read_only=True) as opened:
        start = begin(opened, trader, Kind.FILLS)
        assert (start.ask.start, start.reached) == (START - OVERLAP, START)
        assert begin(opened, trader, Kind.LEDGER).reached is None


def test_as_many_fills_as_the_exchange_gives_are_hardly_all(
    traders_ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetched, "MOST_FILLS", 10)
    (trader,) = add_traders(1)
    with session(DOMAIN) as opened:
        store_fills(opened, trader, [fill(time=START + number) for number in range(9)])
        note_first_end(opened, trader)
        assert not history_of(opened, trader).truncated
        store_fills(opened, trader, [fill(time=START - 1)])
        note_first_end(opened, trader)
        history = history_of(opened, trader)
        assert (history.truncated, history.fills_from) == (True, START - 1)
        note_hole(opened, trader, START + 5)
        note_hole(opened, trader, START)
        assert history_of(opened, trader).fills_from == START + 5


def live(opened: Session, trader: int) -> None:
    """Two days of a trader: 1000 come, 100 are won with one round trip, another is still open, and spot is traded."""
    opened.add(History(trader_id=trader, refreshed_at=datetime.fromtimestamp((START + 50 * HOUR) / 1000, UTC)))
    opened.flush()
    store_updates(opened, trader, ME, [replace(update("deposit", usdc=Decimal(1000)), time=START + HOUR)])
    store_fills(
        opened,
        trader,
        [
            fill(time=START + 2 * HOUR, start_position=Decimal(0), fee=Decimal(1)),
            fill(time=START + 26 * HOUR, side="A", start_position=Decimal(2), closed_pnl=Decimal(102), fee=Decimal(1)),
            fill(time=START + 27 * HOUR, start_position=Decimal(0), sz=Decimal(1)),
            fill(time=START + 28 * HOUR, coin="@107", dir="Buy", px=Decimal(99), sz=Decimal(99), fee=Decimal(3)),
            fill(time=START + 29 * HOUR, coin="@107", dir=DUST, tid=0, side="A"),
        ],
    )
    store_funding(opened, trader, [ToldFunding(START + 3 * HOUR, "BTC", Decimal("0.5"))])
    points = [Point(START, 0, 0), Point(START + 24 * HOUR, 1009.5, 9.5), Point(START + 48 * HOUR, 1105, 105)]
    store_points(opened, trader, points)


def test_days_and_sums_of_a_past(traders_ledger: str) -> None:
    (trader,) = add_traders(1)
    with session(DOMAIN) as opened:
        live(opened, trader)
        assert recompute_days(opened, trader) == 2
    first, second = rows(Day)
    assert (first["day"], first["pnl"], first["net_flow"], first["fills"], first["volume"]) == (
        20_454,
        9.5,
        1000,
        1,
        21,
    )
    assert first["ret"] == pytest.approx(9.5 / 1000)
    assert (second["pnl"], second["equity"], second["fills"], second["closed_pnl"]) == (95.5, 1009.5, 2, 102)
    assert second["ret"] == pytest.approx(95.5 / 1009.5)
    assert (first["fees"], first["funding"]) == (1, 0.5)
    (history,) = rows(History)
    assert (history["round_trips"], history["wins"], history["liquidations"]) == (1, 1, 0)
    assert (history["gross_profit"], history["gross_loss"], history["max_profit"]) == (100.5, 0, 100.5)
    assert (history["pnl"], history["equity"], history["volume"]) == (105, 1105, 52.5)
    assert history["first_time"] == START + 2 * HOUR
    assert history["series_day"] == 20_454
    assert unpack(history["returns"]).tolist() == [first["ret"], second["ret"]]


def test_days_are_made_anew_and_the_same(traders_ledger: str) -> None:
    trader, other = add_traders(1, 1)
    with session(DOMAIN) as opened:
        live(opened, trader)
        opened.add(Day(trader_id=other, day=1, pnl=1.0))
        recompute_days(opened, trader)
    before = rows(Day), rows(History)
    with session(DOMAIN) as opened:
        # What somebody else left, and what is wrong, goes; other traders' days stay.
        opened.add(Day(trader_id=trader, day=3, pnl=5.0))
        opened.get_one(Day, (trader, 20_454)).pnl = 7.0
        opened.flush()
        recompute_days(opened, trader)
    assert (rows(Day), rows(History)) == before
    assert [row["trader_id"] for row in rows(Day)] == [trader, trader, other]


def test_who_has_nothing_has_no_days_and_no_numbers(traders_ledger: str) -> None:
    (trader,) = add_traders(1)
    with session(DOMAIN) as opened:
        assert recompute_days(opened, trader) == 0
    (history,) = rows(History)
    assert (history["pnl"], history["equity"], history["first_time"], history["returns"]) == (None, None, None, None)
    assert rows(Day) == []


def test_a_snapshot_that_is_newer_than_what_is_known_of_deposits_waits(traders_ledger: str) -> None:
    (trader,) = add_traders(1)
    known = datetime.fromtimestamp((START + 24 * HOUR) / 1000, UTC)
    with session(DOMAIN) as opened:
        opened.add(History(trader_id=trader, refreshed_at=known))
        for hours, value in ((0, 1000.0), (24, 1100.0), (25, 9000.0)):
            point = Equity(
                trader_id=trader, time=START + hours * HOUR, source=EquitySource.SNAPSHOT, account_value=value
            )
            opened.add(point)
        opened.flush()
        recompute_days(opened, trader)
        found = opened.exec(select(Day).where(col(Day.trader_id) == trader)).all()
    assert [row.pnl for row in found] == [100]
