"""Up to when coins are known to be whole: never beyond what has surely come."""

from hypothesis import given
from hypothesis import strategies as st

from tasks.traders.core.watch import Watch

SETTLE = 2.0


def followed(*coins: str, at: float = 0.0, connection: int = 1) -> Watch:
    watch = Watch(SETTLE)
    watch.opened(connection)
    for coin in coins:
        watch.subscribed(connection, coin, at)
    return watch


def test_a_later_trade_of_any_coin_shows_that_an_earlier_time_has_passed() -> None:
    watch = followed("BTC", "ETH")
    watch.traded(1, 1.0, 10_000)
    assert watch.whole() == {}
    watch.traded(1, 1.5, 11_999)
    assert watch.whole() == {}
    watch.traded(1, 3.0, 12_000)
    assert watch.whole() == {"BTC": 10_000, "ETH": 10_000}


def test_however_late_the_connection_is_read() -> None:
    watch = followed("BTC")
    # The database was away for a minute, and what had been sent in the meantime is read at once.
    watch.traded(1, 1.0, 10_000)
    watch.traded(1, 61.0, 10_500)
    assert watch.whole() == {}


def test_a_quiet_moment_shows_it_as_well() -> None:
    watch = followed("BTC")
    watch.traded(1, 1.0, 10_000)
    watch.quiet(2.9)
    assert watch.whole() == {}
    watch.quiet(3.0)
    assert watch.whole() == {"BTC": 10_000}


def test_of_other_connections_trades_only_with_a_sign_of_life_after_a_quiet_moment() -> None:
    watch = followed("BTC")
    watch.opened(2)
    watch.subscribed(2, "RARE", 0.0)
    watch.traded(1, 1.0, 10_000)
    watch.heard(2)
    watch.quiet(3.0)
    # The second connection may be dead without anybody knowing yet.
    assert watch.whole() == {"BTC": 10_000}
    watch.heard(2)
    assert watch.whole() == {"BTC": 10_000, "RARE": 10_000}


def test_a_coin_counts_from_its_subscription_on() -> None:
    watch = followed("BTC")
    watch.traded(1, 1.0, 10_000)
    watch.subscribed(1, "ETH", 1.5)
    watch.traded(1, 4.0, 13_000)
    assert watch.whole() == {"BTC": 10_000}
    watch.traded(1, 7.0, 16_000)
    assert watch.whole() == {"BTC": 13_000, "ETH": 13_000}
    assert watch.connection_of("ETH") == 1


def test_a_closed_connection_leaves_what_was_known_and_its_next_begins_anew() -> None:
    watch = followed("BTC")
    watch.traded(1, 1.0, 10_000)
    watch.traded(1, 3.0, 12_000)
    assert watch.closed(1) == ("BTC",)
    assert watch.whole() == {"BTC": 10_000} and watch.connection_of("BTC") is None
    watch.opened(2)
    watch.subscribed(2, "BTC", 5.0)
    # Replayed: older than the subscription, and no sign of what was traded in between.
    watch.traded(2, 5.1, 9_000)
    assert watch.whole() == {}
    watch.traded(2, 8.0, 15_000)
    watch.traded(2, 10.0, 17_000)
    assert watch.whole() == {"BTC": 15_000} and watch.connection_of("BTC") == 2


def test_a_refused_coin_is_not_followed_and_an_unknown_connection_is_nothing() -> None:
    watch = followed("BTC", "NONE")
    watch.refused(1, "NONE")
    watch.traded(1, 1.0, 10_000)
    watch.traded(9, 1.0, 99_000)
    watch.heard(9)
    watch.quiet(5.0)
    assert watch.whole() == {"BTC": 10_000} and watch.connection_of("NONE") is None
    assert watch.closed(9) == ()


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 1999), st.sampled_from("AB")), min_size=1, max_size=60),
    st.lists(st.integers(0, 30), min_size=60, max_size=60),
)
def test_what_is_told_to_be_whole_has_come_if_trades_overtake_each_other_by_less_than_the_settling(
    trades: list[tuple[int, int, str]], pauses: list[int]
) -> None:
    # (time in tenths of a second, how much later it is sent in milliseconds, coin), read in the order of sending, at
    # moments that tell nothing: reading may stop for seconds.
    sent = sorted((time * 100 + delay, time * 100, coin) for time, delay, coin in trades)
    watch, now = followed("A", "B"), 0.0
    for place, (_, time, _coin) in enumerate(sent):
        now += pauses[place]
        watch.traded(1, now, time)
        for whole in watch.whole().values():
            assert all(later > whole for _, later, _ in sent[place + 1 :])


def test_a_coin_that_was_subscribed_between_two_trades_has_the_later_one() -> None:
    watch = followed("BTC")
    watch.traded(1, 1.0, 10_000)
    watch.subscribed(1, "ETH", 1.001)
    # So soon after the first that both could share a note, and the last of the market for now.
    watch.traded(1, 1.002, 10_100)
    watch.quiet(1.002 + SETTLE)
    assert watch.whole() == {"BTC": 10_100, "ETH": 10_100}
