"""What a run of the tracking leaves for people: budget used, drift, events by change, and whom it could not poll.

Needs the traders ledger. The table is where whole addresses stand beside reasons.
"""

import asyncio
from collections.abc import Sequence

from blocks.engine import session
from tasks.foundation.artifacts import MAXIMUM_ROWS, markdown, picture, table
from tasks.foundation.core.escaping import markdown_table, markdown_text
from tasks.foundation.core.plots import Bar, Line, bar_plot, line_plot
from tasks.foundation.retries import MAINTENANCE
from tasks.traders.core.due import FailedPoll, failed_polls
from tasks.traders.core.tables import DOMAIN, Change
from tasks.traders.core.tracking_runs import PastRun, past_runs
from tasks.traders.tracking import TrackingResult

CARD_KEY = "traders-tracking"
FAILURES_KEY = "traders-polls-that-failed"
#: Runs in the plots: two hours of them.
RUNS = 100


@MAINTENANCE.task
async def show_tracking(result: TrackingResult) -> None:
    """Leave the card of a run, and a table of the traders who could not be polled, on the flow run.

    Args:
        result: of the run.

    Raises:
        LedgerError: the database cannot be used.
    """
    text, failures = await asyncio.to_thread(_drawn, result)
    await markdown(CARD_KEY, text)
    more = " More are not shown." if len(failures) > MAXIMUM_ROWS else ""
    told = f"Polls that failed and wait for their next try: {len(failures[:MAXIMUM_ROWS])}.{more}"
    await table(FAILURES_KEY, [_row(failure) for failure in failures[:MAXIMUM_ROWS]], told)


def card(result: TrackingResult, pictures: Sequence[str]) -> str:
    """A run in Markdown.

    Args:
        result: of the run.
        pictures: in Markdown, shown below the numbers.
    """
    used = _percent(result.weight, result.permitted_weight)
    rows = [
        (
            "weight spent",
            f"{result.weight:,} of {result.permitted_weight:,} permitted in {result.seconds:,.0f} s{used}",
        ),
        ("answers 429", f"{result.http_429:,}"),
        ("polls", f"{result.polled:,} of {result.due:,} due; {result.failed:,} failed, {result.left:,} are due now"),
        ("histories", f"{result.histories:,} fetched, {result.failed_histories:,} failed"),
        (
            "drift",
            f"{result.drifted:,} of {result.compared:,} compared positions differed"
            f"{_percent(result.drifted, result.compared)}",
        ),
        ("events", f"{result.events:,} found, {result.published:,} published by this run"),
    ]
    parts = [markdown_table(("what", "how much"), rows)]
    if result.publishing_error is not None:
        parts.append(f"**Events are not published, they wait:** {markdown_text(result.publishing_error)}")
    return "\n\n".join([*parts, *pictures])


def _percent(part: int, whole: int) -> str:
    return f" ({100 * part / whole:.1f} %)" if whole else ""


def _drawn(result: TrackingResult) -> tuple[str, list[FailedPoll]]:
    with session(DOMAIN, read_only=True) as opened:
        runs = past_runs(opened, limit=RUNS)
        failures = failed_polls(opened, limit=MAXIMUM_ROWS + 1)
    return card(result, [*_plots(runs), _events(result)]), failures


def _plots(runs: Sequence[PastRun]) -> list[str]:
    budget = [(run.started_at, 100 * run.weight / run.permitted_weight) for run in runs if run.permitted_weight]
    drift = [(run.started_at, 100 * run.drifted / run.compared) for run in runs if run.compared]
    return [
        picture(
            line_plot("Weight used, by run", [Line("used", budget)], unit="% of what was permitted", reference=100),
            "the part of the permitted weight that each of the last runs used",
        ),
        picture(
            line_plot("Drift, by run", [Line("drift", drift)], unit="% of compared positions"),
            "the part of compared positions that differed, in each of the last runs",
        ),
    ]


def _events(result: TrackingResult) -> str:
    bars = [Bar(change.value, result.events_by_change.get(change, 0)) for change in Change]
    return picture(bar_plot("Events of this run, by change", bars), "events of this run by change")


def _row(failure: FailedPoll) -> dict[str, str | int]:
    return {
        "trader": failure.address,
        "dex": failure.dex or "main",
        "failures": failure.failures,
        "next try": f"{failure.due_at:%Y-%m-%d %H:%M:%S} UTC",
        "reason": failure.reason,
    }
