"""Who traded on builders' dexes is remembered in the transaction that stores the trade."""

import pytest
from sqlmodel import select

from blocks.engine import session
from tasks.traders.core.tables import DOMAIN, Poll, Trader
from tests.traders.core.trades import address, new_stream, stored, trade

pytestmark = pytest.mark.usefixtures("traders_ledger")


def noted() -> set[tuple[str, str]]:
    with session(DOMAIN, read_only=True) as opened:
        names: dict[int | None, str] = {each.id: each.address for each in opened.exec(select(Trader))}
        return {(names[poll.trader_id], poll.dex) for poll in opened.exec(select(Poll))}


def test_both_parties_of_a_trade_on_a_builders_dex_are_noted_at_once() -> None:
    stream = new_stream()
    trades = [trade(1000), trade(1001, coin="@107"), trade(1002, coin="xyz:AAPL"), trade(1003, coin="xyz:TSLA")]
    stored(stream, [*trades, trade(1004, coin="abc:GOLD", buyer=address(3), seller=address(3))])
    assert noted() == {(address(1), "xyz"), (address(2), "xyz"), (address(3), "abc")}


def test_a_trade_known_by_halves_notes_the_party_that_is_known() -> None:
    stream = new_stream()
    stored(stream, [trade(1000, coin="xyz:AAPL", seller=None)])
    assert noted() == {(address(1), "xyz")}
    stored(stream, [trade(1000, coin="xyz:AAPL", buyer=None)])
    assert noted() == {(address(1), "xyz"), (address(2), "xyz")}


def test_what_is_known_of_a_poll_stays() -> None:
    stream = new_stream()
    stored(stream, [trade(1000, coin="xyz:AAPL")])
    with session(DOMAIN) as opened:
        for poll in opened.exec(select(Poll)):
            poll.reconciled_time = poll.baseline_time = 1500
    stored(stream, [trade(2000, coin="xyz:AAPL", buyer=address(4))])
    with session(DOMAIN, read_only=True) as opened:
        assert sorted(poll.reconciled_time or 0 for poll in opened.exec(select(Poll))) == [0, 1500, 1500]


def test_more_traders_than_one_statement_takes_are_noted() -> None:
    stream = new_stream()
    stored(
        stream,
        [trade(1000, number, "xyz:AAPL", buyer=address(number), seller=address(number + 1)) for number in range(1300)],
    )
    assert len(noted()) == 1301
