"""How long to wait before the next try."""

from collections.abc import Callable
from datetime import timedelta


def full_jitter(
    attempt: int, *, base_seconds: float, cap_seconds: float, uniform: Callable[[float, float], float]
) -> timedelta:
    """A wait drawn evenly from zero to an exponentially growing bound, so that those who failed together part ways.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (the variant it names full jitter).

    Args:
        attempt: how many tries have failed, 1 for the first.
        base_seconds: the bound after the first failure, in seconds; it doubles with every further one.
        cap_seconds: the greatest bound, in seconds.
        uniform: draws a number from a range, such as `random.uniform`.

    Raises:
        ValueError: `attempt` is less than 1.
    """
    return timedelta(seconds=uniform(0, _bound(attempt, base_seconds, cap_seconds)))


def equal_jitter(
    attempt: int, *, base_seconds: float, cap_seconds: float, uniform: Callable[[float, float], float]
) -> timedelta:
    """A wait between half of that bound and the whole of it: for what would only come to nothing if tried at once.

    Args:
        attempt: how many tries have failed, 1 for the first.
        base_seconds: the bound after the first failure, in seconds; it doubles with every further one.
        cap_seconds: the greatest bound, in seconds.
        uniform: draws a number from a range, such as `random.uniform`.

    Raises:
        ValueError: `attempt` is less than 1.
    """
    bound = _bound(attempt, base_seconds, cap_seconds)
    return timedelta(seconds=bound / 2 + uniform(0, bound / 2))


def _bound(attempt: int, base_seconds: float, cap_seconds: float) -> float:
    if attempt < 1:
        raise ValueError(f"attempt must be 1 or more, not {attempt}")
    # 2**64 seconds is beyond any cap; a greater exponent would overflow the float.
    return min(cap_seconds, base_seconds * 2.0 ** min(attempt - 1, 64))
