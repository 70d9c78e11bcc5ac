"""Compares yearly statistics with the stored games, and sets them right unless it is a dry run.

Needs the league ledger. Runs as `league-recompute-statistics/on-demand`.
"""

from prefect import flow

from tasks.foundation import artifacts
from tasks.league import statistics
from tasks.league.statistics import StatisticsReport

TABLE_KEY = "league-statistics"


def describe(report: StatisticsReport) -> str:
    """The text above the table, as Markdown."""
    if not report.differences:
        return f"The statistics of all {report.players} players are what their games add up to."
    done = "Dry run, nothing was changed." if report.dry_run else "All of it is right now."
    more = f" The first {len(report.listed)} are shown." if report.differences > len(report.listed) else ""
    whose = f"{report.wrong_players} of {report.players} players"
    return f"**{report.differences}** values were wrong, those of {whose}. {done}{more}"


@flow(name="league-recompute-statistics")
async def recompute_statistics(
    game_name: str | None = None, tag_line: str | None = None, dry_run: bool = True
) -> StatisticsReport:
    """Derive yearly statistics anew from the stored games; a dry run only shows what is wrong.

    Args:
        game_name: of one player's Riot ID; empty for everybody.
        tag_line: of the same player.
        dry_run: change nothing, and show what is wrong.

    Returns:
        What was compared and what was wrong.

    Raises:
        ValueError: half a Riot ID was given.
        UnknownPlayerError: the ledger has no such player.
    """
    report = await statistics.recompute_statistics(game_name, tag_line, dry_run)
    await artifacts.table(TABLE_KEY, [item.model_dump() for item in report.listed], describe(report))
    return report
