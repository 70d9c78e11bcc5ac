"""Named retry policies: what a protocol demands, in one place.

A policy makes tasks: `@INGEST.task` above a function gives a Prefect task that keeps the function's type, retries as
the policy says, logs its life (`lifecycle`) and reports its last failure. What no protocol demands is declared per
deployment in prefect.yaml (`PREFECT_TASKS_DEFAULT_RETRIES`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from sqlalchemy.exc import OperationalError

from blocks.engine import LedgerUnreadableError
from tasks.foundation.lifecycle import logged, report_last_failure

P = ParamSpec("P")
R = TypeVar("R")

#: What passes by itself: a peer or a database that is not there just now.
TRANSIENT_ERRORS: tuple[type[Exception], ...] = (
    ConnectionError,
    TimeoutError,
    OperationalError,
    LedgerUnreadableError,
)


@dataclass(frozen=True)
class RetryPolicy:
    """How a kind of task is retried: exponential from `base_seconds`, capped, with jitter."""

    name: str
    retries: int
    base_seconds: float
    cap_seconds: float
    #: Prefect lengthens each delay by up to this factor, at random.
    jitter: float = 0.5
    #: Errors worth another try; everything else fails at once.
    retryable: tuple[type[Exception], ...] = TRANSIENT_ERRORS

    @property
    def delays(self) -> list[float]:
        """Seconds before each retry, without jitter."""
        return [min(self.base_seconds * 2**attempt, self.cap_seconds) for attempt in range(self.retries)]

    def condition(self) -> Callable[[Task[..., Any], TaskRun, State[Any]], bool]:
        """Prefect's retry condition: whether the task failed with an error that may pass.

        A plain function, since Prefect takes a bound method for a constant and then never retries.
        """

        def worth_retrying(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
            return isinstance(state.data, self.retryable)

        return worth_retrying

    def task(self, fn: Callable[P, R]) -> Task[P, R]:
        """Make a Prefect task of a function under this policy."""
        return task(
            retries=self.retries,
            retry_delay_seconds=self.delays,
            retry_jitter_factor=self.jitter,
            retry_condition_fn=self.condition(),
            # Effects are made idempotent by the ledger; a cached result would skip them.
            cache_policy=NO_CACHE,
            persist_result=False,
            on_failure=[report_last_failure],
        )(logged(fn))


#: Ingest of the former gateway: 3 retries, 60 s base, capped at 600 s, only for connection and time-out errors.
INGEST = RetryPolicy("ingest", retries=3, base_seconds=60, cap_seconds=600)

# The former policies of the player system. Waits for rate limits and for a busy API happen inside the client.
PLAYER_SYNC = RetryPolicy("player_sync", retries=3, base_seconds=60, cap_seconds=600)
MATCH_PROCESSING = RetryPolicy("match_processing", retries=5, base_seconds=30, cap_seconds=300)
TIMELINE_PROCESSING = RetryPolicy("timeline_processing", retries=3, base_seconds=30, cap_seconds=300)
RECOVERY = RetryPolicy("recovery", retries=2, base_seconds=60, cap_seconds=600)
MAINTENANCE = RetryPolicy("maintenance", retries=1, base_seconds=60, cap_seconds=60)

#: The ledger itself retries deliveries; the task is repeated only where the ledger or Prefect's API was away.
DELIVERY = RetryPolicy("delivery", retries=3, base_seconds=2, cap_seconds=30)
