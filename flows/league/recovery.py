"""Recovers a player: all that the API lists against all that is stored, by content, and every difference mended.

Needs a key of the Riot API, the league ledger and the limit `league-recovery`. Runs as
`league-recover-player/on-demand`.
"""

from prefect import flow

from flows.submission import take_slot
from tasks.foundation import artifacts
from tasks.league.cards import show_failures, show_player_card
from tasks.league.recovery import RecoveryReport, recover_player_data

SUBMISSION_LIMIT = "league-recovery"
TABLE_KEY = "league-recovery"


def describe(report: RecoveryReport) -> str:
    """The text above the table, as Markdown."""
    head = (
        f"The API lists **{report.listed}** matches{f' of {report.year}' if report.year else ''}; "
        f"**{report.checked}** were compared with what is stored. "
    )
    would = "Dry run, nothing was changed. To do: " if report.dry_run else "Done: "
    counts = (
        f"**{report.to_fetch}** matches and timelines to fetch, **{report.derived}** to derive from their payloads, "
        f"**{report.mended}** fetch rows to set right, statistics of **{report.statistics}** players wrong"
        if report.dry_run
        else f"**{report.matches_stored}** matches and **{report.timelines_stored}** timelines fetched "
        f"({report.missing} missing, {report.failed} failed), **{report.derived}** derived from their payloads, "
        f"**{report.mended}** fetch rows and the statistics of **{report.statistics}** players set right"
    )
    found = report.to_fetch + report.derived + report.mended + report.left
    more = f"\n\nThe first {len(report.plan)} of {found} findings." if found > len(report.plan) else ""
    return f"{head}{would}{counts}. {report.left} are missing at Riot's or removed, and left alone.{more}"


@flow(name="league-recover-player")
async def recover_player(
    game_name: str,
    tag_line: str,
    platform: str = "na1",
    routing: str = "americas",
    year: int | None = None,
    dry_run: bool = False,
    include_removed: bool = False,
) -> RecoveryReport:
    """Compare all of a player's matches with what is stored and mend every difference; a dry run shows the plan.

    Args:
        game_name: of the Riot ID, in any case.
        tag_line: what stands behind the #.
        platform: where the player plays, such as na1, euw1 or kr.
        routing: the platform's region; a wrong one does no harm.
        year: only games of this UTC year; empty for all that Riot lists.
        dry_run: change nothing, and show what would be done.
        include_removed: fetch again what was cleaned away.

    Returns:
        What was found and done.

    Raises:
        MissingLimitError: run `quintet apply` once.
        RiotKeyMissingError: there is no key; the message says where to put it.
        PlayerNotFoundError: no account has this Riot ID, or it never played on this platform.
        RiotKeyError: the key is refused.
        RiotUnavailableError: Riot gave no answer for long.
        RecoveryUnfinishedError: something wrong came back while it was mended.
    """
    await take_slot(SUBMISSION_LIMIT)
    report = await recover_player_data(game_name, tag_line, platform, routing, year, dry_run, include_removed)
    rows = [
        {"match": item.match_id, "kind": item.kind.lower(), "action": item.action.lower(), "reason": item.reason}
        for item in report.plan
    ]
    await artifacts.table(TABLE_KEY, rows, describe(report))
    if not dry_run:
        await show_player_card(report.puuid, year)
        await show_failures(report.puuid)
    return report
