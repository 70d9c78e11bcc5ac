"""The daily series of one account, made of what is known of it; `docs/decisions/traders-daily-series.md` says why so.

A day begins and ends at the moments nearest to its midnights at which the account's worth is known (`core/worth`), and
the next one begins where it ended: results add up, whatever the moments. Values between two moments are not drawn as
a line, which would smooth returns and make a trader look steadier than it is.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from tasks.traders.core.capital import Flow, Span, linked_return
from tasks.traders.core.worth import CENT, DAY_MS, ROUNDING, Evidence, Known, Sums, known_moments, total


@dataclass(frozen=True, slots=True)
class Dealing:
    """What one fill of a perpetual, or one payment of funding, brought; in USD."""

    time: int
    closed_pnl: float = 0.0
    fee: float = 0.0
    funding: float = 0.0
    volume: float = 0.0
    fills: int = 0

    @property
    def result(self) -> float:
        """What was realised."""
        return self.closed_pnl - self.fee + self.funding


@dataclass(frozen=True, slots=True)
class DailyRow:
    """One UTC day; the columns of `Day`."""

    day: int
    pnl: float = 0.0
    equity: float | None = None
    net_flow: float = 0.0
    ret: float | None = None
    volume: float = 0.0
    fills: int = 0
    closed_pnl: float = 0.0
    fees: float = 0.0
    funding: float = 0.0

    @property
    def empty(self) -> bool:
        """Nothing was there and nothing happened."""
        there = (
            self.pnl,
            self.equity,
            self.net_flow,
            self.volume,
            self.fills,
            self.closed_pnl,
            self.fees,
            self.funding,
        )
        return not any(there)


@dataclass(frozen=True, slots=True)
class Series:
    """Days in order, and what they come to.

    Attributes:
        days: those on which there was something.
        pnl: of all days; None where there are none.
        equity: the newest that is known.
        begun: the first moment at which there was anything.
    """

    days: list[DailyRow] = field(default_factory=list)
    pnl: float | None = None
    equity: float | None = None
    begun: int | None = None


def daily_series(evidence: Evidence, dealings: Iterable[Dealing], *, minimum: float) -> Series:
    """Make the daily series of an account.

    Args:
        evidence: points, snapshots and flows; its `results` are taken from the dealings.
        dealings: fills of perpetuals and funding, in any order.
        minimum: USD, above 0: with less money than that nothing has a return.
    """
    dealt = sorted(dealings, key=_order)
    flows = sorted(evidence.flows, key=lambda flow: (flow[0], flow[1] or 0.0))
    whole = replace(evidence, results=[(dealing.time, dealing.result) for dealing in dealt], flows=flows)
    known = known_moments(whole, minimum=minimum)
    rows = _sums_by_day(dealt)
    amounts = Sums((time, amount) for time, amount in flows if amount is not None)
    listed = [(time, amount) for time, amount in flows if amount is not None]
    for day, begin, end in _days(known):
        rows[day] = _measured(rows.get(day, DailyRow(day)), known[begin : end + 1], amounts, listed, minimum)
    days = [row for _, row in sorted(rows.items()) if not row.empty]
    told = [moment for moment in known if moment.told]
    begun = next((moment.time for moment in known if moment.equity or moment.pnl), None)
    if not known:
        return Series()
    return Series(
        days=days,
        pnl=known[-1].pnl - known[0].pnl,
        equity=told[-1].equity if told else None,
        begun=min((time for time in (begun, dealt[0].time if dealt else None) if time is not None), default=None),
    )


def _order(dealing: Dealing) -> tuple[float, ...]:
    return (dealing.time, dealing.closed_pnl, dealing.fee, dealing.funding, dealing.volume)


def _sums_by_day(dealt: Sequence[Dealing]) -> dict[int, DailyRow]:
    by_day: defaultdict[int, list[Dealing]] = defaultdict(list)
    for dealing in dealt:
        by_day[dealing.time // DAY_MS].append(dealing)
    return {
        day: DailyRow(
            day,
            volume=total(dealing.volume for dealing in listed),
            fills=sum(dealing.fills for dealing in listed),
            closed_pnl=total(dealing.closed_pnl for dealing in listed),
            fees=total(dealing.fee for dealing in listed),
            funding=total(dealing.funding for dealing in listed),
        )
        for day, listed in by_day.items()
    }


def _days(known: Sequence[Known]) -> Iterable[tuple[int, int, int]]:
    """Days, each with the places of the moments at which it begins and ends."""
    if not known:
        return
    times = [moment.time for moment in known]
    first, last = times[0] // DAY_MS, times[-1] // DAY_MS
    begin = 0
    for day in range(first, last + 1):
        end = len(times) - 1 if day == last else _nearest(times, (day + 1) * DAY_MS - 1)
        if end > begin:
            yield day, begin, end
            begin = end


def _nearest(times: Sequence[int], wanted: int) -> int:
    after = bisect_left(times, wanted)
    if after == len(times) or (after and wanted - times[after - 1] <= times[after] - wanted):
        return after - 1
    return after


def _measured(row: DailyRow, known: Sequence[Known], sums: Sums, flows: Sequence[Flow], minimum: float) -> DailyRow:
    first, last = known[0], known[-1]
    pnl = last.pnl - first.pnl
    told = first.told and last.told
    # Where worth is only reckoned, it was reckoned with these.
    net_flow = last.equity - first.equity - pnl if told else sums.between(first.time, last.time)
    sure = told and all(moment.sure for moment in known[:-1])
    spans = [_span(begin, end, flows) for begin, end in pairwise(known)] if sure else []
    return replace(
        row,
        pnl=pnl,
        equity=first.equity if first.told else None,
        net_flow=0.0 if abs(net_flow) < _noise(first, last) else net_flow,
        ret=linked_return(spans, minimum=minimum) if sure else None,
    )


def _span(begin: Known, end: Known, flows: Sequence[Flow]) -> Span:
    after, until = (bisect_left(flows, (moment.time + 1,)) for moment in (begin, end))
    within = tuple(flows[after:until])
    pnl = end.pnl - begin.pnl
    unexplained = end.equity - begin.equity - pnl - total(amount for _, amount in within)
    return Span(
        begin.time,
        end.time,
        begin.equity,
        pnl,
        within,
        0.0 if abs(unexplained) < _noise(begin, end) else unexplained,
    )


def _noise(begin: Known, end: Known) -> float:
    return CENT + ROUNDING * (abs(begin.equity) + abs(end.equity) + abs(end.pnl - begin.pnl))
