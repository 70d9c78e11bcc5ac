"""How pydicom behaves while the gateway uses it: takes what comes, and never writes what was not meant.

pydicom's modes and Python's warning filters belong to the process, not to a thread, so the first user sets them and
the last one puts them back.
"""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pydicom.config

# pydicom's complaints quote values, and patients' names have no place in logs.
logging.getLogger("pydicom").setLevel(logging.ERROR)

_lock = threading.Lock()
_users = 0
_before: "tuple[int, int, warnings.catch_warnings[None]] | None" = None


@contextmanager
def pydicom_quiet() -> Iterator[None]:
    """Reads values as they are, without warnings; a text that its character set cannot hold is an error on writing."""
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _users, _before
    with _lock:
        _users += 1
        if _users > 1:
            return
        settings = pydicom.config.settings
        filters = warnings.catch_warnings()
        _before = (settings.reading_validation_mode, settings.writing_validation_mode, filters)
        filters.__enter__()
        warnings.simplefilter("ignore")
        settings.reading_validation_mode = pydicom.config.IGNORE
        settings.writing_validation_mode = pydicom.config.RAISE


def _leave() -> None:
    global _users, _before
    with _lock:
        _users -= 1
        if _users or _before is None:
            return
        settings = pydicom.config.settings
        settings.reading_validation_mode, settings.writing_validation_mode, filters = _before
        filters.__exit__(None, None, None)
        _before = None
