"""What a process asks of a route in one transaction, and what it is given."""

from dataclasses import dataclass
from typing import NamedTuple

from blocks.rate_window import AnswerLimits


@dataclass(frozen=True, slots=True)
class Finish:
    """One of this process's requests has ended, at `at` of its monotonic clock.

    No `limits`: without an answer. Not `sent`: it never was one.
    """

    number: int
    method: str
    at: float
    limits: AnswerLimits | None
    weight: int = 1
    sent: bool = True


class Wish(NamedTuple):
    """Somebody waits for leave to send a request of this method, which may weigh so much."""

    method: str
    weight: int = 1


class Outcome(NamedTuple):
    """What a transaction gave: for each wish the number of a request, or None.

    `wait` is how long until more can be had, infinity where only an answer makes room; `others` tells that other
    processes have requests in flight.
    """

    granted: list[int | None]
    wait: float
    others: bool
