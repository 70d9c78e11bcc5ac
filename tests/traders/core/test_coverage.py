"""How far coins are known to be whole, in the ledger, and the gaps that keep them from going on."""

import pytest
from sqlmodel import select

from blocks.engine import session
from tasks.traders.core.coverage import choose_coins, raise_whole, set_subscribed, whole_time
from tasks.traders.core.gaps import add_recovered, close_gap, gaps_of, open_gaps, traders_before
from tasks.traders.core.tables import Coin, Gap, GapState
from tests.traders.core.trades import NOW, address, new_stream, stored, trade

pytestmark = pytest.mark.usefixtures("traders_ledger")


def follow(**whole: int) -> None:
    with session("traders") as opened:
        choose_coins(opened, whole)
        set_subscribed(opened, whole, True)
        raise_whole(opened, whole)


def wholes() -> dict[str, int | None]:
    with session("traders", read_only=True) as opened:
        return {coin.coin: coin.whole_time for coin in opened.exec(select(Coin))}


def whole() -> int | None:
    with session("traders", read_only=True) as opened:
        return whole_time(opened)


def test_all_are_whole_as_far_as_the_coin_that_is_least() -> None:
    assert whole() is None
    follow(BTC=2000, ETH=1500)
    assert whole() == 1500
    with session("traders") as opened:
        raise_whole(opened, {"BTC": 1800, "ETH": 1900})
    assert wholes() == {"BTC": 2000, "ETH": 1900} and whole() == 1900


def test_a_coin_that_is_new_holds_the_others_back_only_once_it_is_subscribed() -> None:
    follow(BTC=2000)
    with session("traders") as opened:
        choose_coins(opened, ["BTC", "NEW"])
    assert whole() == 2000
    with session("traders") as opened:
        set_subscribed(opened, ["NEW"], True)
    assert whole() is None
    with session("traders") as opened:
        raise_whole(opened, {"NEW": 2100})
    assert whole() == 2000


def test_coins_that_are_not_chosen_any_more_or_refused_hold_nobody_back() -> None:
    follow(BTC=2000, ETH=1500, SOL=1000)
    with session("traders") as opened:
        choose_coins(opened, ["BTC", "ETH"])
        set_subscribed(opened, ["ETH"], False)
    assert whole() == 2000
    assert wholes() == {"BTC": 2000, "ETH": 1500, "SOL": 1000}


def test_a_gap_begins_where_the_coin_is_whole_and_holds_it_there_until_it_is_closed() -> None:
    follow(BTC=2000, ETH=1500)
    with session("traders") as opened:
        assert open_gaps(opened, ["BTC", "UNKNOWN"], NOW) == 1
        # One at a time.
        assert open_gaps(opened, ["BTC"], NOW) == 0
        raise_whole(opened, {"BTC": 5000, "ETH": 5000})
        assert [(gap.coin, gap.from_time) for gap in gaps_of(opened, ["BTC", "ETH"])] == [("BTC", 2000)]
    assert wholes() == {"BTC": 2000, "ETH": 5000}
    with session("traders") as opened:
        add_recovered(opened, "BTC", 3)
        assert close_gap(opened, "BTC", GapState.PARTIAL, to_time=4000, reason="x" * 300, now=NOW)
        assert not close_gap(opened, "BTC", GapState.FILLED, to_time=None, reason=None, now=NOW)
        raise_whole(opened, {"BTC": 5000})
        assert gaps_of(opened, ["BTC"]) == []
        gap = opened.exec(select(Gap)).one()
        assert (gap.state, gap.to_time, gap.recovered, gap.closed_at) == (GapState.PARTIAL, 4000, 3, NOW)
        assert gap.reason is not None and len(gap.reason) == 200
        assert open_gaps(opened, ["BTC"], NOW) == 1
        assert [gap.from_time for gap in gaps_of(opened, ["BTC"])] == [5000]


def test_what_was_missing_ends_where_the_next_gap_does() -> None:
    follow(BTC=2000, ETH=2000)
    for to_time in (None, None, 9000):
        with session("traders") as opened:
            open_gaps(opened, ["BTC", "ETH"], NOW)
            assert close_gap(opened, "BTC", GapState.PARTIAL, to_time=to_time, reason="no answer", now=NOW)
            assert {gap.to_time for gap in opened.exec(select(Gap).where(Gap.coin == "BTC"))} == {to_time}
    with session("traders") as opened:
        assert opened.exec(select(Gap.to_time).where(Gap.coin == "ETH")).one() is None


def test_a_coin_that_was_never_followed_has_no_gap() -> None:
    with session("traders") as opened:
        choose_coins(opened, ["BTC"])
        set_subscribed(opened, ["BTC"], True)
        assert open_gaps(opened, ["BTC"], NOW) == 0


def test_who_traded_shortly_before_a_gap_is_named_the_latest_first() -> None:
    trades = [
        trade(900, buyer=address(8), seller=address(9)),
        trade(1100, buyer=address(3), seller=address(4)),
        trade(1200, buyer=address(1), seller=None),
        trade(1300, coin="SOL", buyer=address(5), seller=address(6)),
        trade(1400, coin="ETH", buyer=address(3), seller=address(2)),
        trade(2000, buyer=address(7), seller=address(8)),
    ]
    stored(new_stream(), trades)
    with session("traders", read_only=True) as opened:
        named = traders_before(opened, ["BTC", "ETH"], 1500, limit=10, look_back=500)
        assert named == [address(3), address(2), address(1), address(4)]
        assert traders_before(opened, ["BTC", "ETH"], 1500, limit=2, look_back=500) == named[:2]
        assert traders_before(opened, [], 1500, limit=2, look_back=500) == []
