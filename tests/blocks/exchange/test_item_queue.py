"""The queue between connections and reader: in order, bounded, nothing dropped."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.exchange.item_queue import ItemQueue, weight
from blocks.exchange.items import Empty, Item, Rejection, Trades, WsTrade


def trades(number: int, count: int, rejected: int = 0) -> Trades:
    taken = [WsTrade("BTC", "A", "1", "1", 1, number, ("", ""))] * count
    return Trades(number, 0.0, taken, rejected, (Rejection("", ""),) * min(rejected, 1))


def test_an_item_weighs_what_it_brought() -> None:
    assert [weight(item) for item in (Empty(1, 0.0), trades(1, 3), trades(1, 2, 5), trades(1, 0, 1))] == [1, 3, 7, 1]


@given(st.lists(st.lists(st.integers(1, 9), max_size=8), max_size=4), st.integers(1, 12), st.integers(1, 15))
async def test_everything_comes_in_order_and_memory_is_bounded(
    bringers: list[list[int]], limit: int, at_once: int
) -> None:
    queue = ItemQueue(limit)

    async def bring(name: int, counts: list[int]) -> None:
        for place, count in enumerate(counts):
            await queue.put(trades(name * 100 + place, count))

    async def bring_all() -> None:
        await asyncio.gather(*(bring(name, counts) for name, counts in enumerate(bringers)))
        queue.end()

    bringing = asyncio.create_task(bring_all())
    taken: list[Item] = []
    while not queue.ended:
        taken += await queue.take(at_once, None)
        assert queue.held <= max(limit, 9)
    await bringing
    numbers = [item.connection for item in taken if isinstance(item, Trades)]
    for name, counts in enumerate(bringers):
        assert [n for n in numbers if n // 100 == name] == [name * 100 + place for place in range(len(counts))]
    assert len(numbers) == sum(map(len, bringers))


async def test_who_waits_is_served_before_who_comes_later() -> None:
    queue = ItemQueue(3)
    assert queue.offer(trades(1, 2))
    waiting = asyncio.create_task(queue.put(trades(2, 3)))
    await asyncio.sleep(0)
    # There would be room for it.
    assert not queue.offer(trades(3, 1))
    assert await queue.take(1, 0) == [trades(1, 2)]
    assert await queue.take(1, 0) == [trades(2, 3)]
    await waiting


async def test_an_item_larger_than_the_queue_passes_alone() -> None:
    queue = ItemQueue(3)
    assert queue.offer(trades(1, 50))
    assert not queue.offer(trades(2, 1))
    assert await queue.take(10, 0) == [trades(1, 50)]
    assert queue.offer(trades(2, 1))


async def test_taking_waits_for_enough_and_not_longer_than_told() -> None:
    queue = ItemQueue(100)
    taking = asyncio.create_task(queue.take(10, None))
    await asyncio.sleep(0)
    queue.offer(trades(1, 6))
    await asyncio.sleep(0)
    assert not taking.done()
    queue.offer(trades(2, 6))
    assert await taking == [trades(1, 6), trades(2, 6)]
    queue.offer(trades(3, 1))
    assert await queue.take(10, 0.001) == [trades(3, 1)]
    assert await queue.take(10, 0.001) == []


async def test_a_full_queue_is_taken_however_much_was_asked_for() -> None:
    queue = ItemQueue(5)
    taking = asyncio.create_task(queue.take(1000, None))
    await queue.put(trades(1, 4))
    putting = asyncio.create_task(queue.put(trades(2, 4)))
    taken = await taking
    await putting
    assert taken == [trades(1, 4), trades(2, 4)]


async def test_one_who_gives_up_waiting_leaves_nothing_and_lets_others_in() -> None:
    queue = ItemQueue(4)
    queue.offer(trades(1, 2))
    large = asyncio.create_task(queue.put(trades(2, 4)))
    await asyncio.sleep(0)
    small = asyncio.create_task(queue.put(trades(3, 1)))
    await asyncio.sleep(0)
    large.cancel()
    await asyncio.wait([large])
    await small
    assert await queue.take(10, 0) == [trades(1, 2), trades(3, 1)]


async def test_an_item_that_was_let_in_stays_when_who_brought_it_is_cancelled() -> None:
    queue = ItemQueue(1)
    queue.offer(trades(1, 1))
    putting = asyncio.create_task(queue.put(trades(2, 1)))
    await asyncio.sleep(0)
    assert await queue.take(1, 0) == [trades(1, 1)]
    putting.cancel()
    await asyncio.wait([putting])
    assert await queue.take(1, 0) == [trades(2, 1)]


async def test_an_end_wakes_who_takes_and_its_error_comes_last() -> None:
    queue = ItemQueue(10)
    taking = asyncio.create_task(queue.take(5, None))
    await asyncio.sleep(0)
    queue.end(LookupError("why"))
    with pytest.raises(LookupError, match="why"):
        await taking
    assert queue.ended
    assert await queue.take(5, None) == []
    queue = ItemQueue(10)
    queue.offer(trades(1, 1))
    queue.end(LookupError("why"))
    assert not queue.ended
    assert await queue.take(5, None) == [trades(1, 1)]
    with pytest.raises(LookupError, match="why"):
        await queue.take(5, None)
