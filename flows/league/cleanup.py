"""Removes old games. By hand it only reports, unless told otherwise.

Needs the league ledger and the limit `league-maintenance`: once an hour, and a run too many is skipped.
"""

from prefect import flow

from flows.skipping import slot_or_skipped
from tasks.foundation import artifacts
from tasks.foundation.core.columns import utc_now
from tasks.league.cleanup import CleanedYear, CleanupReport, cleanup_old_data
from tasks.league.core.cleanup import ended_before

SUBMISSION_LIMIT = "league-maintenance"
TABLE_KEY = "league-cleanup"
_MIB = 1024**2


def describe(report: CleanupReport) -> str:
    """The text above the table, as Markdown."""
    what = f"**{report.matches}** games that ended before {report.before:%Y-%m-%d %H:%M} UTC"
    sizes = f"{report.timelines} timelines and {report.bytes_freed / _MIB:.1f} MiB of payloads"
    if report.dry_run:
        text = f"Dry run, nothing was changed. To be removed: {what}, with {sizes}."
    else:
        text = f"Removed: {what}, with {sizes}, and {report.players} players whom nothing referred to any more."
    return text + (f" {report.timeless} games tell no time and are left." if report.timeless else "")


def _row(part: CleanedYear) -> dict[str, str | int]:
    year = "never began" if part.year is None else part.year
    size = f"{part.bytes / _MIB:.1f}"
    return {"platform": part.platform, "year": year, "matches": part.matches, "timelines": part.timelines, "MiB": size}


@flow(name="league-clean")
async def clean(days: int = 30, dry_run: bool = True) -> CleanupReport | None:
    """Remove games that ended more than so many days ago, with their timelines; a dry run only reports.

    Args:
        days: games that ended within so many days stay; at least 1.
        dry_run: change nothing, and show what would be removed.

    Returns:
        What was removed; None where the run was skipped, as the limit had no slot.

    Raises:
        ValueError: `days` is less than 1.
        MissingLimitError: run `quintet apply` once.
    """
    # A mistake is to be told now, and not at the price of the hour's slot.
    ended_before(days, utc_now())
    if (skipped := await slot_or_skipped(SUBMISSION_LIMIT)) is not None:
        return skipped  # type: ignore[no-any-return]  # Prefect makes it the run's state
    report = await cleanup_old_data(days, dry_run)
    await artifacts.table(TABLE_KEY, [_row(part) for part in report.years], describe(report))
    return report
