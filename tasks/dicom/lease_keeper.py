"""Holds the claims of a batch for as long as its worker lives, however long one instance takes to send."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from blocks.engine import session
from tasks.dicom.core import delivery
from tasks.dicom.core.tables import DOMAIN


class LeaseKeeper:
    """Renews an owner's claims three times a lease, in a thread that dies with the process.

    A renewal that fails ends the keeping: the claims then run out, the batch's own writes find that they are no longer
    held, and the error is raised at the end.
    """

    def __init__(self, owner: str, lease: timedelta, clock: Callable[[], datetime]) -> None:
        self._owner = owner
        self._lease = lease
        self._now = clock
        self._over = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._keep, name="delivery-lease", daemon=True)

    def _keep(self) -> None:
        try:
            while not self._over.wait(self._lease.total_seconds() / 3):
                with session(DOMAIN) as opened:
                    delivery.renew(opened, owner=self._owner, now=self._now(), lease=self._lease)
        except Exception as error:  # noqa: BLE001  raised in the worker's own thread
            self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error
