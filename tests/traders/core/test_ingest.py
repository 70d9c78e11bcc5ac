"""Storing trades: what becomes of each, its counts, and what any number of replays and writers come to."""

import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlmodel import select

from blocks.engine import session
from tasks.traders.core.coverage import choose_coins, raise_whole
from tasks.traders.core.ingest import REJECTIONS_KEPT, Batch, Rejected, Stored, end_stream, store
from tasks.traders.core.tables import Coin, Cursor, Rejection, StreamKind
from tasks.traders.core.trade_rows import TradeRow
from tests.traders.core.trades import NOW, account, address, empty_ledger, new_stream, rows, stored, trade, traders

pytestmark = pytest.mark.usefixtures("traders_ledger")


def test_trades_are_stored_with_their_traders_and_counted() -> None:
    stream = new_stream()
    trades = [trade(1000), trade(3000, buyer=address(2), seller=address(3)), trade(2000, 7, "xyz:AAPL", side="A")]
    assert stored(stream, trades, frames=4, empty_frames=1, control_frames=1, rejected=2) == (3, 0, 2, 0)
    assert rows() == [
        (1000, "BTC", 1, "B", Decimal("100.5"), Decimal("0.25"), address(1), address(2)),
        (2000, "xyz:AAPL", 7, "A", Decimal("100.5"), Decimal("0.25"), address(1), address(2)),
        (3000, "BTC", 1, "B", Decimal("100.5"), Decimal("0.25"), address(2), address(3)),
    ]
    assert traders() == {address(1): (1000, 2000), address(2): (1000, 3000), address(3): (3000, 3000)}
    row = account(stream)
    assert (row.frames, row.empty_frames, row.control_frames, row.trades, row.stored, row.duplicates, row.rejected) == (
        (4, 1, 1, 5, 3, 0, 2)
    )
    assert row.written_at == NOW and row.ended_at is None


def test_what_comes_again_is_a_duplicate_within_a_batch_and_after_it() -> None:
    stream = new_stream()
    assert stored(stream, [trade(1000), trade(1000), trade(1000, 2)]) == (2, 1, 0, 0)
    assert stored(stream, [trade(1000), trade(1000, coin="ETH"), trade(1001)]) == (2, 1, 0, 0)
    assert len(rows()) == 4
    assert (account(stream).trades, account(stream).stored, account(stream).duplicates) == (6, 4, 2)


def test_older_trades_move_only_the_beginning_of_what_is_known_of_a_trader() -> None:
    stream = new_stream()
    stored(stream, [trade(5000)])
    stored(stream, [trade(4000)])
    assert traders() == {address(1): (4000, 5000), address(2): (4000, 5000)}


def test_a_trade_known_by_halves_is_completed_by_the_other_half_or_by_the_public_trade() -> None:
    stream = new_stream(StreamKind.USER_FILLS)
    bought, sold = trade(1000, seller=None), trade(1000, buyer=None)
    assert stored(stream, [bought, trade(1001, buyer=None)]) == (2, 0, 0, 0)
    assert [row[6:] for row in rows()] == [(address(1), None), (None, address(2))]
    # A half that is known already, the other one, and the whole.
    assert stored(stream, [bought]) == (0, 1, 0, 0)
    assert stored(stream, [sold]) == (0, 1, 0, 0)
    assert stored(stream, [trade(1001)]) == (0, 1, 0, 0)
    assert [row[6:] for row in rows()] == [(address(1), address(2))] * 2
    # In one batch, in any order.
    assert stored(stream, [trade(1002, buyer=None), trade(1002, seller=None), trade(1002)]) == (1, 2, 0, 0)
    assert rows()[-1][6:] == (address(1), address(2))


def test_a_known_party_is_never_replaced() -> None:
    stream = new_stream()
    stored(stream, [trade(1000)])
    stored(stream, [trade(1000, buyer=address(8), seller=address(9))])
    assert rows()[0][6:] == (address(1), address(2))


def test_late_are_trades_that_positions_have_gone_past_new_and_completed_ones() -> None:
    stream = new_stream()
    stored(stream, [trade(1000, seller=None)])
    with session("traders") as opened:
        choose_coins(opened, ["BTC"])
        raise_whole(opened, {"BTC": 2000})
        opened.add(Cursor(name="positions", time=1500))
    new, duplicate = trade(1200), trade(1000, seller=None)
    assert stored(stream, [new, trade(1800), trade(1000), trade(2500)]) == (3, 1, 0, 2)
    assert stored(stream, [duplicate, new]) == (0, 2, 0, 0)
    assert account(stream).late == 2


def test_the_newest_trade_of_each_coin_is_noted() -> None:
    with session("traders") as opened:
        choose_coins(opened, ["BTC", "ETH"])
    stream = new_stream()
    stored(stream, [trade(3000), trade(1000), trade(2000, coin="ETH"), trade(9000, coin="SOL")])
    stored(stream, [trade(2500)])
    with session("traders", read_only=True) as opened:
        assert {coin.coin: coin.seen_time for coin in opened.exec(select(Coin))} == {"BTC": 3000, "ETH": 2000}


def test_digits_and_names_stay_as_they_were_told() -> None:
    coin = r"a\tb\N"
    stored(new_stream(), [trade(1, coin=coin, px="0.000000000000000000000001", sz="123456789012345678901234.50")])
    assert rows()[0][1] == coin
    assert rows()[0][4:6] == (Decimal("0.000000000000000000000001"), Decimal("123456789012345678901234.50"))


def test_rejections_are_kept_printable_and_the_newest_of_each_stream() -> None:
    stream, other = new_stream(), new_stream()
    stored(other, [], rejections=[Rejected("x", "y")])
    for first in range(0, 150, 50):
        told = [Rejected(f"no {number}\x00\n", "\ud800" * 2000 + "é") for number in range(first, first + 50)]
        stored(stream, [], rejected=50, rejections=told)
    with session("traders", read_only=True) as opened:
        kept = opened.exec(select(Rejection.reason).where(Rejection.stream_id == stream)).all()
        assert len(opened.exec(select(Rejection)).all()) == REJECTIONS_KEPT + 1
    assert sorted(kept) == sorted(f"no {number}" for number in range(50, 150))
    assert account(stream).trades == account(stream).rejected == 150


def test_an_ended_stream_says_why_and_one_that_does_not_exist_takes_nothing() -> None:
    stream = new_stream()
    with session("traders") as opened:
        end_stream(opened, stream, "closed by the exchange (1006)\n" + "x" * 500, NOW)
    ended = account(stream)
    assert ended.ended_at == NOW and ended.ended_for is not None and len(ended.ended_for) == 200
    with pytest.raises(ValueError, match="no stream 77"):
        stored(77, [trade(1)])
    assert rows() == []


def test_nothing_is_written_where_the_transaction_fails() -> None:
    stream = new_stream()
    with pytest.raises(RuntimeError), session("traders") as opened:
        assert store(opened, Batch(stream, [trade(1)], frames=1), NOW) == (1, 0, 0, 0)
        raise RuntimeError
    assert rows() == [] and traders() == {} and account(stream).frames == 0
    # Ids of traders that were rolled back are no ids of others.
    stored(stream, [trade(1, buyer=address(5), seller=address(6))])
    stored(stream, [trade(2)])
    assert [row[6:] for row in rows()] == [(address(5), address(6)), (address(1), address(2))]


def test_writers_at_once_store_every_trade_once() -> None:
    trades = [trade(1000 + number // 3, number, buyer=address(number % 17), seller=address(number % 11 + 20))
              for number in range(900)]  # fmt: skip
    parts = [trades[::-1], trades[300:] + trades[:300], trades, trades[::2] + trades[1::2]]
    streams = [new_stream() for _ in parts]
    begin = threading.Barrier(len(parts))

    def write(stream: int, part: list[TradeRow]) -> list[Stored]:
        begin.wait()
        return [stored(stream, part[first : first + 300]) for first in range(0, len(part), 300)]

    with ThreadPoolExecutor(len(parts)) as pool:
        results = [each for several in pool.map(write, streams, parts) for each in several]
    assert sum(each.stored for each in results) == len(trades) == len(rows())
    assert sum(each.duplicates for each in results) == 3 * len(trades)
    assert len(traders()) == 28


_trades = st.lists(
    st.builds(
        trade,
        st.integers(1000, 1005),
        st.integers(1, 3),
        st.sampled_from(["BTC", "ETH"]),
        buyer=st.sampled_from([address(1), address(2), None]),
        seller=st.sampled_from([address(1), address(3)]),
    ),
    max_size=25,
    # A trade has one buyer and one seller, whoever tells of it.
    unique_by=lambda row: row[:3],
)


@given(_trades, st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_split_with_any_replays_gives_the_rows_of_one_batch(trades: list[TradeRow], data: st.DataObject) -> None:
    empty_ledger()
    stored(new_stream(), trades)
    expected = rows(), traders()
    empty_ledger()
    stream, received, total = new_stream(), 0, Stored()
    replays = data.draw(st.lists(st.sampled_from(trades), max_size=20)) if trades else []
    left = data.draw(st.permutations([*trades, *replays]))
    while left:
        size = data.draw(st.integers(1, len(left)))
        rejected = data.draw(st.integers(0, 2))
        now = stored(stream, list(left[:size]), rejected=rejected)
        assert now.stored + now.duplicates + now.rejected == size + rejected
        received += size + rejected
        total = Stored(*map(sum, zip(total, now, strict=True)))
        left = left[size:]
    assert (rows(), traders()) == expected
    row = account(stream)
    assert row.trades == received == row.stored + row.duplicates + row.rejected
    assert (row.stored, row.duplicates, row.rejected) == total[:3] and row.stored == len(trades)
