"""Retry policies: the delays, what is worth another try, and that Prefect sees it as we do."""

import inspect

import pytest
from prefect.states import Failed

from tasks.foundation.retries import (
    INGEST,
    MAINTENANCE,
    MATCH_PROCESSING,
    PLAYER_SYNC,
    RECOVERY,
    TIMELINE_PROCESSING,
)


def test_ingest_is_the_former_policy() -> None:
    assert (INGEST.retries, INGEST.delays) == (3, [60, 120, 240])


@INGEST.task
def double(number: int) -> int:
    """Twice the number."""
    if number < 0:
        raise ValueError(number)
    return 2 * number


def test_a_task_keeps_its_function_and_options() -> None:
    assert double.fn(4) == 8
    assert list(inspect.signature(double.fn).parameters) == ["number"]
    assert (double.retries, double.name) == (3, "double")
    with pytest.raises(ValueError, match="-1"):
        double.fn(-1)


async def test_a_coroutine_function_stays_one() -> None:
    @PLAYER_SYNC.task
    async def halve(number: int) -> int:
        return number // 2

    assert inspect.iscoroutinefunction(halve.fn)
    assert await halve.fn(4) == 2


def test_the_former_policies_of_the_player_system() -> None:
    declared = {
        policy.name: (policy.retries, policy.base_seconds, policy.cap_seconds)
        for policy in (PLAYER_SYNC, MATCH_PROCESSING, TIMELINE_PROCESSING, RECOVERY, MAINTENANCE)
    }
    assert declared["player_sync"] == (3, 60.0, 600.0) and PLAYER_SYNC.delays == [60, 120, 240]
    assert declared["match_processing"] == (5, 30.0, 300.0) and MATCH_PROCESSING.delays == [30, 60, 120, 240, 300]
    assert [declared[name][0] for name in ("timeline_processing", "recovery", "maintenance")] == [3, 2, 1]


@pytest.mark.parametrize(
    ("error", "expected"),
    [(ConnectionRefusedError(), True), (TimeoutError(), True), (ValueError(), False), (KeyError(), False)],
)
def test_only_what_passes_is_retried(error: Exception, expected: bool) -> None:
    condition = double.retry_condition_fn
    # Prefect calls plain functions and coroutine functions only.
    assert inspect.isfunction(condition)
    assert condition(double, None, Failed(data=error)) is expected
