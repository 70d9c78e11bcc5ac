"""Keeps the key and players' names out of other libraries' logs.

httpx logs every URL, and those of accounts hold a player's name. hpack logs every header of HTTP/2 at DEBUG, and the
encoded block that holds them. While a request of ours is sent and its answer read, what these loggers say is dropped.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LOGGERS = ("httpx", "hpack.hpack", "hpack.table")

_sending: ContextVar[bool] = ContextVar("riot_request", default=False)


def _not_of_ours(_record: logging.LogRecord) -> bool:
    return not _sending.get()


for _name in _LOGGERS:
    # On the logger itself: a handler or a level set by anybody comes after it.
    logging.getLogger(_name).addFilter(_not_of_ours)


@contextmanager
def quiet() -> Iterator[None]:
    """Drops what the loggers of httpx and hpack say in this task."""
    token = _sending.set(True)
    try:
        yield
    finally:
        _sending.reset(token)
