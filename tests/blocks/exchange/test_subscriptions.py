"""The book of a connection's subscriptions."""

from hypothesis import given
from hypothesis import strategies as st

from blocks.exchange.subscriptions import Subscriptions


def book(*coins: str) -> Subscriptions:
    return Subscriptions(coins, ack_seconds=10, retry_seconds=30)


def test_coins_are_asked_for_in_order_and_once() -> None:
    coins = book("A", "B")
    assert [coins.due(0), coins.due(0), coins.due(0)] == ["A", "B", None]
    assert coins.overdue(9.9) == []
    assert coins.overdue(10) == ["A", "B"]
    assert coins.next_time() == 10


def test_an_acknowledgement_is_news_once() -> None:
    coins = book("A")
    assert coins.due(0) == "A"
    assert [coins.acknowledge("A"), coins.acknowledge("A"), coins.acknowledge("OTHER")] == [True, False, False]
    assert (coins.overdue(1000), coins.next_time()) == ([], None)


def test_waits_after_refusals_double_up_to_a_bound() -> None:
    coins, now, waits = book("A"), 0.0, []
    for _ in range(9):
        assert coins.due(now) == "A"
        wait = coins.refuse("A", now)
        assert wait is not None
        assert coins.due(now + wait - 0.1) is None
        now += wait
        waits.append(wait)
    assert waits == [30, 60, 120, 240, 480, 960, 1920, 1920, 1920]


def test_a_late_acknowledgement_is_taken_and_the_coin_not_asked_for_again() -> None:
    coins = book("A")
    coins.due(0)
    assert coins.refuse("A", 10) == 30
    assert coins.acknowledge("A")
    assert coins.due(1000) is None


def test_what_was_not_asked_for_cannot_be_refused() -> None:
    coins = book("A")
    assert coins.refuse("A", 0) is None
    assert coins.refuse("OTHER", 0) is None
    assert coins.due(0) == "A"
    coins.acknowledge("A")
    assert coins.refuse("A", 1) is None


def test_an_error_without_a_name_is_about_the_only_one_asked_for() -> None:
    coins = book("A", "B")
    assert coins.sole() is None
    coins.due(0)
    assert coins.sole() == "A"
    coins.due(0)
    assert coins.sole() is None


def test_time_in_which_nothing_was_read_does_not_count() -> None:
    coins = book("A")
    coins.due(0)
    coins.postpone(100)
    assert coins.overdue(109) == []
    assert coins.overdue(110) == ["A"]


steps = st.lists(
    st.tuples(
        st.sampled_from(["due", "acknowledge", "refuse", "postpone"]), st.sampled_from("ABC"), st.integers(0, 40)
    ),
    max_size=40,
)


@given(steps)
def test_each_coin_is_waiting_asked_for_or_subscribed(steps: list[tuple[str, str, int]]) -> None:
    """Whatever the exchange answers, no coin is forgotten: in the end, each is asked for until it is subscribed."""
    coins, now, subscribed = book("A", "B", "C"), 0.0, set()
    for step, coin, seconds in steps:
        now += seconds
        if step == "due":
            assert coins.due(now) not in subscribed
        elif step == "acknowledge":
            assert coins.acknowledge(coin) == (coin not in subscribed)
            subscribed.add(coin)
        elif step == "refuse":
            coins.refuse(coin, now)
        else:
            coins.postpone(now)
    for coin in coins.overdue(now + 10):
        assert coins.refuse(coin, now) is not None
    asked = {coins.due(now + 10**6) for _ in range(4)}
    assert asked - {None} == {"A", "B", "C"} - subscribed
