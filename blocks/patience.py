"""When a request is tried again, and how long one has patience.

What passes by itself is tried again: 429, 5xx, lost connections, timeouts, bodies that end early. The waits are drawn
evenly from zero to a doubling bound (full jitter), so that those who failed together part ways. A limit of the client's
own (a key's, an address') is waited for in the limiter, which holds back everybody else's requests as well.

Patience is spent on failed attempts and on the waits after them. Waiting for one's turn in the limiter costs none: what
was asked for may need an hour of the rate that is permitted.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

logger = logging.getLogger(__name__)

#: The greatest bound of a drawn wait, in seconds: an API that was away is noticed soon after it is back.
LONGEST_BACKOFF = 60.0
#: Bounds of the wait for a limit of the client's own whose 429 says no time; 5 s is what other clients take.
_UNTOLD_BASE, _UNTOLD_CAP = 5.0, 120.0
#: An API that says 0 or 1 s again and again must not be asked each second.
_TOLD_BASE = 1.0
#: Tries of a request whose trouble has a final error of its own.
MOST_TRIES = 4
_EVERYDAY_TRIES = 3
# 2**16 times any base is beyond the caps.
_MOST_DOUBLINGS = 16


class PassingError(Exception):
    """One attempt failed in a way that may pass.

    Args:
        reason: in words, without keys, names or values.
        status: the HTTP status, None where no answer came.
        least_seconds: what the server asked to wait.
        held: the limiter makes everybody wait so long; there is nothing to wait for here.
        final: the error that it is in the end, after few tries: it hardly passes.
    """

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = None,
        least_seconds: float = 0,
        held: bool = False,
        final: Exception | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.least_seconds = least_seconds
        self.held = held
        self.final = final


class Patience:
    """The patience for one request.

    Args:
        name: of the request, for the log.
        seconds: that may be spent.
        backoff_seconds: bound of the first drawn wait.
    """

    def __init__(self, name: str, seconds: float, backoff_seconds: float) -> None:
        self.name = name
        self.seconds = seconds
        self.spent = 0.0
        #: How often the request was tried, the running attempt included.
        self.attempts = 0
        self._backoff_seconds = backoff_seconds
        self._drawn = wait_random_exponential(multiplier=backoff_seconds, max=LONGEST_BACKOFF)

    def retrying(self) -> AsyncRetrying:
        """Calls a function until it raises no `PassingError`; the last one is raised when patience is at its end."""
        return AsyncRetrying(
            retry=retry_if_exception_type(PassingError),
            wait=self._wait,
            stop=self._stop,
            before_sleep=self._tell,
            reraise=True,
        )

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Time within costs patience."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.spent += time.monotonic() - began

    def backoff_bound(self) -> float:
        """The bound that the next wait is drawn below, in seconds."""
        return min(self._backoff_seconds * self._doubled, LONGEST_BACKOFF)

    def block_seconds(self, told: float | None) -> float:
        """How long everybody is to wait for a limit that this request met, at most as long as there is patience.

        Args:
            told: the Retry-After of the 429, in seconds; None where it said none.
        """
        if told is None:
            return min(_UNTOLD_BASE * self._doubled, _UNTOLD_CAP, self.seconds)
        return min(max(told, min(_TOLD_BASE * self._doubled, LONGEST_BACKOFF)), self.seconds)

    @property
    def _doubled(self) -> float:
        return 2.0 ** min(max(self.attempts - 1, 0), _MOST_DOUBLINGS)

    def exhausted(self, last: PassingError) -> str:
        """What to say when patience is at its end."""
        tries = "once" if self.attempts == 1 else f"{self.attempts} times"
        return f"{self.name} was tried {tries}, which is all the patience of {self.seconds:g} s; at last: {last.reason}"

    def _wait(self, state: RetryCallState) -> float:
        trouble = _trouble(state)
        if trouble.held:
            self.spent += trouble.least_seconds
            return 0.0
        wait = max(trouble.least_seconds, self._drawn(state))
        self.spent += wait
        return wait

    def _stop(self, state: RetryCallState) -> bool:
        # Tenacity asks for the wait first, so it is spent already.
        return self.spent >= self.seconds or (_trouble(state).final is not None and self.attempts >= MOST_TRIES)

    def _tell(self, state: RetryCallState) -> None:
        trouble = _trouble(state)
        logger.log(
            # One or two failures are everyday; what goes on may need a person.
            logging.WARNING if trouble.held or self.attempts >= _EVERYDAY_TRIES else logging.INFO,
            "%s: %s; trying again in %.1f s",
            self.name,
            trouble.reason,
            trouble.least_seconds if trouble.held else state.upcoming_sleep,
        )


def _trouble(state: RetryCallState) -> PassingError:
    error = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(error, PassingError):
        raise TypeError("only trouble is tried again")
    return error
