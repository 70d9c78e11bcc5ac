"""What an account was worth and had won at every moment that a daily series needs, out of all that is known.

Three sources, the better one first:

1. **Points** of the exchange's portfolio, or, where an account has none, our own snapshots, whose result is what
   deposits and withdrawals do not explain. Where two of them are at most `DENSE` apart, nothing else is used: they have
   in them what is not realised, which fills do not show.
2. **Fills and funding**, between points that are further apart: the result as it was realised, and what is left of the
   points' result spread evenly. Where that is more than a small part of what the days won and lost (`REST`), money came
   or went that nothing tells of (`STRAY`), or fills are missing, how it went from day to day is not known: such times
   are not `sure`, and have a result but no return.
3. The account's **beginning**: before its first deposit or fill it was worth nothing and had won nothing.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from tasks.traders.core.capital import Flow
from tasks.traders.core.equity import Point

DAY_MS = 86_400_000
#: The portfolio's densest long period has one point a day, up to 26 hours apart; with one missing it is not dense.
DENSE = 36 * 3_600_000
#: What is not realised, as a part of all that the days between two points won and lost: spread over them, it is hardly
#: seen. More of it would make a steady trader of one who waits.
REST = 0.1
#: Money that comes from nowhere, as a part of the account: by so much returns are measured against a wrong base.
STRAY = 0.02
#: USD, and as a part of the account: what is less is a sum of rounded numbers.
CENT, ROUNDING = 0.01, 1e-9


@dataclass(frozen=True, slots=True)
class Known:
    """A moment, and the time from it to the next.

    Attributes:
        time: milliseconds.
        equity: USD.
        pnl: since the beginning, in USD.
        sure: up to the next moment it is known how it went.
        told: the equity is known, not only reckoned.
    """

    time: int
    equity: float
    pnl: float
    sure: bool = True
    told: bool = True


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one account; each in order of time.

    Attributes:
        points: of the portfolio.
        snapshots: time and worth.
        results: time and USD of what was realised: closed_pnl less fees, and funding.
        flows: time and USD that came (positive) or went; None where the amount is not known.
        fills_from: results before are not complete; None: all are known.
    """

    points: Sequence[Point] = ()
    snapshots: Sequence[tuple[int, float]] = ()
    results: Sequence[Flow] = ()
    flows: Sequence[tuple[int, float | None]] = ()
    fills_from: int | None = None


class Sums:
    """Sums of amounts up to moments, in a time that does not grow with their number."""

    def __init__(self, amounts: Iterable[Flow]) -> None:
        ordered = sorted(amounts)
        self.times = [time for time, _ in ordered]
        self._sums = [0.0, *accumulate(amount for _, amount in ordered)]

    def between(self, begin: int, end: int) -> float:
        """The sum of what came after `begin`, up to `end`."""
        return self._sums[bisect_right(self.times, end)] - self._sums[bisect_right(self.times, begin)]

    def times_between(self, begin: int, end: int) -> list[int]:
        """The moments after `begin`, before `end`, each once."""
        found = self.times[bisect_right(self.times, begin) : bisect_right(self.times, end - 1)]
        return list(dict.fromkeys(found))


def known_moments(evidence: Evidence, *, minimum: float) -> list[Known]:
    """Everything known of an account as one series of moments, dense enough for days.

    Args:
        evidence: of the account.
        minimum: USD; what is doubtful is measured against no less.

    Returns:
        Moments in order; empty where nothing is known. From the first to the last, `pnl` grows by the whole result.
    """
    results = Sums(evidence.results)
    flows = Sums((time, amount) for time, amount in evidence.flows if amount is not None)
    unknown = [time for time, amount in evidence.flows if amount is None]
    known = _told(evidence, results, flows, unknown)
    if not known:
        return []
    series: list[Known] = []
    for before, after in pairwise(known):
        if before.sure and after.time - before.time <= DENSE:
            series.append(before)
        else:
            doubted = any(before.time < time <= after.time for time in unknown)
            doubted |= evidence.fills_from is not None and before.time < evidence.fills_from
            series += _between(before, after, results, flows, doubted=doubted, minimum=minimum)
    series.append(known[-1])
    return series


def _told(evidence: Evidence, results: Sums, flows: Sums, unknown: Sequence[int]) -> list[Known]:
    """The moments whose worth was told, from the beginning on; those at the ends may be only reckoned."""
    known = [Known(point.time, point.equity, point.pnl) for point in evidence.points]
    if not known:
        known = _of_snapshots(evidence.snapshots, results, flows, unknown)
    happened = [times[at] for times in (results.times, flows.times) if times for at in (0, -1)]
    if not happened:
        return known
    begin, end = min(happened) - 1, max(happened)
    if not known:
        known = [Known(begin, 0.0, 0.0, sure=False, told=False)]
    elif begin < known[0].time:
        first = known[0]
        won = first.pnl
        if not won:
            # It counts from there on, and says nothing of what was before.
            came, won = flows.between(begin, first.time), results.between(begin, first.time)
            won = first.equity - came if first.equity else won
        known.insert(0, Known(begin, 0.0, first.pnl - won, sure=False))
    last = known[-1]
    if end > last.time:
        known[-1] = Known(last.time, last.equity, last.pnl, sure=False, told=last.told)
        won = results.between(last.time, end)
        known.append(Known(end, last.equity + won + flows.between(last.time, end), last.pnl + won, told=False))
    return known


def _of_snapshots(
    snapshots: Sequence[tuple[int, float]], results: Sums, flows: Sums, unknown: Sequence[int]
) -> list[Known]:
    known: list[Known] = []
    pnl = 0.0
    for (begin, before), (end, after) in pairwise(snapshots):
        sure = not any(begin < time <= end for time in unknown)
        known.append(Known(begin, before, pnl, sure=sure))
        pnl += after - before - flows.between(begin, end) if sure else results.between(begin, end)
    return [*known, *(Known(time, equity, pnl) for time, equity in snapshots[-1:])]


def _between(
    before: Known, after: Known, results: Sums, flows: Sums, *, doubted: bool, minimum: float
) -> Iterable[Known]:
    """A moment, and those up to the next one: at every midnight, and whenever money came or went."""
    won = after.pnl - before.pnl
    rest = won - results.between(before.time, after.time)
    stray = after.equity - before.equity - won - flows.between(before.time, after.time)
    # The last moments of days: funding is paid at midnight, and belongs to the day that begins. One that is known at
    # midnight has no day of a millisecond before it.
    midnights = range(((before.time + 1) // DAY_MS + 1) * DAY_MS - 1, after.time - 1, DAY_MS)
    size = max(before.equity, after.equity, minimum)
    moved = sum(abs(results.between(*ends)) for ends in pairwise((before.time, *midnights, after.time)))
    settled = abs(rest) <= CENT + ROUNDING * size + REST * moved and abs(stray) <= STRAY * size
    sure = after.told and not doubted and settled
    yield Known(before.time, before.equity, before.pnl, sure=sure, told=before.told)
    for time in sorted({*midnights, *flows.times_between(before.time, after.time)}):
        part = (time - before.time) / (after.time - before.time)
        gained = results.between(before.time, time) + rest * part
        equity = before.equity + gained + flows.between(before.time, time) + stray * part
        yield Known(time, equity, before.pnl + gained, sure=sure, told=sure)


def total(amounts: Iterable[float]) -> float:
    """The sum of amounts in any order, which is always the same to the last digit."""
    return math.fsum(amounts)
