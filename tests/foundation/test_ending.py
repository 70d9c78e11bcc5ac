"""The wish that a run ends reaches who waits for it, and who begins to wait after it."""

import asyncio
import threading

import pytest

from tasks.foundation import ending
from tasks.foundation.ending import ask_to_end, end_asked


@pytest.fixture(autouse=True)
def not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending._Wish, "asked", False)


async def test_all_who_wait_are_told_whichever_thread_asks() -> None:
    with end_asked() as first, end_asked() as second:
        assert not first.is_set() and not second.is_set()
        thread = threading.Thread(target=ask_to_end)
        thread.start()
        await asyncio.wait_for(asyncio.gather(first.wait(), second.wait()), 60)
        thread.join()


async def test_a_wish_that_came_before_holds() -> None:
    ask_to_end()
    with end_asked() as asked:
        assert asked.is_set()


async def test_who_has_ended_is_not_told_any_more() -> None:
    with end_asked() as asked:
        pass
    ask_to_end()
    await asyncio.sleep(0)
    assert not asked.is_set() and ending._Wish.waiting == []
