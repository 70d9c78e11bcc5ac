"""Mends a race in pynetdicom 3.0.4 that loses responses.

An association has a reactor thread that takes incoming messages off a queue. A `send_*` method pauses it: it clears
`_reactor_checkpoint`, waits until `_is_paused` is true, sends, and takes the response off the queue itself. But the
reactor sets `_is_paused` *before* it looks at the checkpoint. A reactor that found the checkpoint still set and was
then suspended has announced a pause that it does not make: the sender goes on, and the reactor, once it wakes, takes
the response away. The sender waits for its whole timeout and reports a failure for an instance that was stored.

The mend: a reactor that ought to be paused takes nothing. Between its look at the checkpoint here and its next
`_is_paused = True` the attribute is false, so no sender can start in between.

Only 3.0.4 has been examined; on any other version nothing is changed, and a test says so loudly.
"""

from typing import Any

import pynetdicom
from pynetdicom.dimse import DIMSEServiceProvider

RACY_VERSIONS = frozenset({"3.0.4"})

_original_get_msg = DIMSEServiceProvider.get_msg


def _get_msg(self: Any, block: bool = False) -> Any:
    # Only the reactor asks without blocking.
    if not block and not self.assoc._reactor_checkpoint.is_set():
        return None, None
    return _original_get_msg(self, block)


def mend() -> bool:
    """Patch pynetdicom in this process, once.

    Returns:
        Whether this version of pynetdicom is one that needs it.
    """
    if pynetdicom.__version__ not in RACY_VERSIONS:
        return False
    DIMSEServiceProvider.get_msg = _get_msg  # type: ignore[method-assign]
    return True


def unmend() -> None:
    """Take the patch out again; for the test that shows what it is for."""
    DIMSEServiceProvider.get_msg = _original_get_msg  # type: ignore[method-assign]
