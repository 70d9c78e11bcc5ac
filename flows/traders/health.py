"""Looks at the health of the trader leaderboard, and fails where something needs a person.

Needs the traders ledger, the exchange and the limit `traders-health`; a run too many is skipped.
"""

from prefect import flow

from flows.skipping import slot_or_skipped
from tasks.foundation import artifacts
from tasks.traders.core.health import Level
from tasks.traders.health import HealthReport, health_check

SUBMISSION_LIMIT = "traders-health"
TABLE_KEY = "traders-health"
#: What needs a person comes first.
_ORDER = (Level.FAILING, Level.DEGRADED, Level.OK)


class HealthError(Exception):
    """Something needs a person; the text and the table say what."""


@flow(name="traders-health")
async def health() -> HealthReport | None:
    """Look at databases, stream, polls, events, Redis and the exchange; fails if one is failing, and says why.

    Returns:
        What was looked at; None where the run was skipped, as the limit had no slot.

    Raises:
        HealthError: something is failing. What is only degraded stands in the table.
        MissingLimitError: run `quintet apply` once.
    """
    if (skipped := await slot_or_skipped(SUBMISSION_LIMIT)) is not None:
        return skipped  # type: ignore[no-any-return]  # Prefect makes it the run's state
    report = await health_check()
    rows = [
        {"name": each.name, "state": each.level.value, "what": each.what, "what to do": each.what_to_do}
        for level in _ORDER
        for each in report.at(level)
    ]
    failing, degraded = report.at(Level.FAILING), report.at(Level.DEGRADED)
    text = f"**{len(failing)}** failing, **{len(degraded)}** degraded, of {len(rows)}."
    await artifacts.table(TABLE_KEY, rows, text if failing or degraded else "All is well.")
    if failing:
        raise HealthError("; ".join(f"{each.name}: {each.what}" for each in failing))
    return report
