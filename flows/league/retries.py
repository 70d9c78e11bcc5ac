"""Tries again what failed, what was missing and is due, and what a sync that died left behind.

Needs a key of the Riot API, the league ledger and the limit `league-recovery`. Runs as `league-retry-failed`.
"""

from prefect import flow

from flows.submission import take_slot
from tasks.league.cards import show_failures
from tasks.league.retries import RetryReport, auto_retry_failed_matches

SUBMISSION_LIMIT = "league-recovery"


@flow(name="league-retry-failed")
async def retry_failed() -> RetryReport:
    """Fetch all matches and timelines that are due again, of all players; show what still fails and why.

    Returns:
        How many were due, and what became of them.

    Raises:
        MissingLimitError: run `quintet apply` once.
        RiotKeyMissingError: there is no key; the message says where to put it.
        RiotKeyError: the key is refused.
        RiotUnavailableError: Riot gave no answer for long.
    """
    await take_slot(SUBMISSION_LIMIT)
    report = await auto_retry_failed_matches()
    await show_failures()
    return report
