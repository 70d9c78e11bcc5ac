"""Prefect's server, with its garbage collected beside its event loop: `uvicorn --factory ...prefect_server:create_app`.

A request whose client dies leaves a database cursor to the garbage collector. On SQLite, closing it waits for whatever
its connection does at that moment, which may be waiting for the write lock. If the collector runs on the event loop,
as it does by default, then the loop waits, and with it the transaction that holds the write lock: the whole server
stands still until Prefect's busy timeout ends it after a minute. A thread of its own may wait without harm.
"""

import gc
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

#: Young garbage is collected this often; all of it at every `FULL_EVERY`th time.
COLLECT_SECONDS = 0.25
FULL_EVERY = 80


def create_app() -> "FastAPI":
    """Make Prefect's application; from now on this process collects garbage in a thread."""
    from prefect.server.api.server import create_app as create_prefect_app

    app = create_prefect_app()
    collect_beside_the_event_loop()
    return app


def collect_beside_the_event_loop() -> threading.Event:
    """Collect garbage in a thread instead of wherever it arises; setting the event that is returned ends that."""
    gc.disable()
    # What has been imported stays: full collections need not look at it.
    gc.freeze()
    over = threading.Event()
    threading.Thread(target=_collect, args=(over,), name="garbage collector", daemon=True).start()
    return over


def _collect(over: threading.Event) -> None:
    times = 0
    while not over.wait(COLLECT_SECONDS):
        times += 1
        gc.collect(2 if times % FULL_EVERY == 0 else 1)
    gc.unfreeze()
    gc.enable()
