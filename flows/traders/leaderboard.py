"""Ranks the traders, and shows the ranks.

Needs the traders ledger; one run at a time, as the deployment says.
"""

from prefect import flow

from tasks.traders.boards import show_leaderboard
from tasks.traders.core.profiles import DEFAULT_PROFILE
from tasks.traders.leaderboard import LeaderboardResult, calculate_leaderboard


@flow(name="traders-leaderboard")
async def rank(profile: str = DEFAULT_PROFILE) -> LeaderboardResult:
    """Calculate metrics, scores and ranks in every profile, and show those of one.

    Args:
        profile: skill, balanced, conservative, aggressive or origin.

    Returns:
        The run, and the first ten of the profile.

    Raises:
        ValueError: there is no such profile.
    """
    result = await calculate_leaderboard(profile)
    await show_leaderboard(result.run_id, profile)
    return result
