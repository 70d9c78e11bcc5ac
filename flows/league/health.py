"""Looks at the health of the player system, and fails where something needs a person.

Needs the league ledger, a key of the Riot API and the limit `league-health`: once an hour, and a run too many is
skipped.
"""

from prefect import flow

from flows.skipping import slot_or_skipped
from tasks.foundation import artifacts
from tasks.league.health import HealthReport, health_check

SUBMISSION_LIMIT = "league-health"
TABLE_KEY = "league-health"


class HealthError(Exception):
    """Something needs a person; the text and the table say what."""


@flow(name="league-health")
async def health() -> HealthReport | None:
    """Look at databases, key, limits, backlog and syncs; fails if one of them is not well, and the table says why.

    Returns:
        What was looked at; None where the run was skipped, as the limit had no slot.

    Raises:
        HealthError: something is wrong.
        MissingLimitError: run `quintet apply` once.
    """
    if (skipped := await slot_or_skipped(SUBMISSION_LIMIT)) is not None:
        return skipped  # type: ignore[no-any-return]  # Prefect makes it the run's state
    report = await health_check()
    # What needs a person comes first.
    ordered = sorted(report.findings, key=lambda finding: finding.ok)
    rows = [
        {"name": each.name, "ok": "yes" if each.ok else "NO", "what": each.what, "what to do": each.what_to_do}
        for each in ordered
    ]
    text = f"**{len(report.wrong)}** of {len(rows)} need a person." if report.wrong else "All is well."
    await artifacts.table(TABLE_KEY, rows, text)
    if report.wrong:
        raise HealthError("; ".join(f"{each.name}: {each.what}" for each in report.wrong))
    return report
