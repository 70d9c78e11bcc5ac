"""Removes old trades, events and what is beside them. By hand it only reports, unless told otherwise.

Needs the traders ledger and the limit `traders-maintenance`: once an hour, and a run too many is skipped.
"""

from prefect import flow

from flows.skipping import slot_or_skipped
from tasks.foundation import artifacts
from tasks.traders.cleanup import CleanupReport, cleanup_old_data
from tasks.traders.core.cleanup import check_days

SUBMISSION_LIMIT = "traders-maintenance"
TABLE_KEY = "traders-cleanup"


def describe(report: CleanupReport) -> str:
    """The text above the table, as Markdown."""
    what = f"**{report.rows:,}** rows of before {report.before:%Y-%m-%d %H:%M} UTC"
    text = f"Dry run, nothing was changed. To be removed: {what}." if report.dry_run else f"Removed: {what}."
    if report.trades_kept:
        text += f" {report.trades_kept:,} old trades are kept: positions are still to be made of them."
    if report.events_kept:
        text += f" {report.events_kept:,} old events are kept until they are published."
    return text


@flow(name="traders-clean")
async def clean(days: int = 30, dry_run: bool = True) -> CleanupReport | None:
    """Remove what is older than so many days and needed by nothing any more; a dry run only reports.

    Args:
        days: what is younger stays; at least 1.
        dry_run: change nothing, and show what would be removed.

    Returns:
        What was removed; None where the run was skipped, as the limit had no slot.

    Raises:
        ValueError: `days` is less than 1.
        MissingLimitError: run `quintet apply` once.
    """
    # A mistake is to be told now, and not at the price of the hour's slot.
    check_days(days)
    if (skipped := await slot_or_skipped(SUBMISSION_LIMIT)) is not None:
        return skipped  # type: ignore[no-any-return]  # Prefect makes it the run's state
    report = await cleanup_old_data(days, dry_run)
    await artifacts.table(TABLE_KEY, [part.model_dump() for part in report.parts], describe(report))
    return report
