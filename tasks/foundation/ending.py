"""The wish that a long-lived run ends: with all that it has, by its own last step, and so as Completed.

A flow that goes on until it is stopped cannot be waited for when its worker stops. Its deployment bears the tag
`long-lived`, and the flow waits for `end_asked` beside its work:

    with end_asked() as asked:
        ...
        await asked.wait()  # then store what has come, and return

SIGTERM is another thing: it ends a run as Cancelled or Crashed.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

#: Tag of deployments whose runs go on until they are stopped, and end soon after they are asked to.
LONG_LIVED = "long-lived"


class _Wish:
    """Of this process. Without a lock: a signal handler may interrupt another."""

    asked = False
    waiting: ClassVar[list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]] = []


def ask_to_end() -> None:
    """Ask what this process runs, now or from now on, to end; once more changes nothing. Fit for a signal handler."""
    _Wish.asked = True
    for loop, event in list(_Wish.waiting):
        loop.call_soon_threadsafe(event.set)


@contextmanager
def end_asked() -> Iterator[asyncio.Event]:
    """An event that is set once this process is asked to end its run; at once, where it was before."""
    event = asyncio.Event()
    entry = (asyncio.get_running_loop(), event)
    _Wish.waiting.append(entry)
    # After that, so that no wish falls in between.
    if _Wish.asked:
        event.set()
    try:
        yield event
    finally:
        _Wish.waiting.remove(entry)
