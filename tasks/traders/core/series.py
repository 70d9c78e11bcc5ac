"""A trader's daily returns as bytes beside its history, so that a leaderboard reads one row a trader and not one a day.

Eight bytes a day from `first_day` on, little-endian doubles; NaN is a day without a return.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

_KIND = np.dtype("<f8")
#: Days beyond this many are not kept: the oldest go first.
LONGEST = 3650


def pack(returns: Iterable[tuple[int, float | None]]) -> tuple[int, bytes] | None:
    """Days and their returns as one row of bytes.

    Args:
        returns: (day since 1970-01-01, return or None), in any order, each day at most once.

    Returns:
        The first day that has a return, and the bytes from there to the last; None where no day has one.
    """
    found = {day: value for day, value in returns if value is not None}
    if not found:
        return None
    last = max(found)
    first = max(min(found), last - LONGEST + 1)
    series = np.full(last - first + 1, np.nan, _KIND)
    for day, value in found.items():
        if day >= first:
            series[day - first] = value
    return first, series.tobytes()


def unpack(returns: bytes) -> NDArray[np.float64]:
    """The returns of consecutive days.

    Raises:
        ValueError: these are no such bytes.
    """
    return np.frombuffer(returns, _KIND).astype(np.float64, copy=False)


def matrix(series: Sequence[tuple[int, bytes]], *, days: int, as_of_day: int) -> NDArray[np.float64]:
    """Returns of many traders over the last days, aligned at their end.

    Args:
        series: (first day, bytes) of each trader.
        days: columns.
        as_of_day: the day of the last column; later ones are left out.

    Returns:
        traders x days; NaN where a trader has no return.
    """
    first = as_of_day - days + 1
    table = np.full((len(series), days), np.nan)
    for row, (began, packed) in enumerate(series):
        values = unpack(packed)
        begin, end = max(began, first), min(began + len(values) - 1, as_of_day)
        if begin <= end:
            table[row, begin - first : end - first + 1] = values[begin - began : end - began + 1]
    return table
