"""Calculates the leaderboard: metrics of every trader, and ranks in every profile.

Needs the traders ledger, and asks the exchange nothing. A run is one transaction: killed, it leaves the one before.
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict

from blocks.engine import session
from blocks.settings import settings
from tasks.foundation.core.columns import utc_now
from tasks.foundation.retries import MAINTENANCE
from tasks.traders.core.board import Board, calculate
from tasks.traders.core.board_inputs import read_inputs
from tasks.traders.core.board_storing import save_board
from tasks.traders.core.eligibility import Eligibility
from tasks.traders.core.profiles import DEFAULT_PROFILE, profile_named
from tasks.traders.core.tables import DOMAIN

_log = logging.getLogger("quintet.leaderboard")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RankedTrader(BaseModel):
    """One of the first places."""

    model_config = ConfigDict(frozen=True)

    rank: int
    address: str
    #: From 0 to 1.
    score: float


class LeaderboardResult(BaseModel):
    """What one run found."""

    model_config = ConfigDict(frozen=True)

    run_id: int
    profile: str
    #: The last UTC day whose returns count.
    as_of: datetime
    traders: int
    eligible: int
    #: Of everything that went in: runs of the same inputs, and by the same rules, have the same ranks.
    inputs_hash: str
    top: tuple[RankedTrader, ...]


@MAINTENANCE.task
async def calculate_leaderboard(profile: str = DEFAULT_PROFILE) -> LeaderboardResult:
    """Calculate and keep a run: metrics, eligibility, and scores and ranks in every profile.

    A trader without history is listed as not eligible, with the reason; no number is made up. Only days that are over
    (UTC) count.

    Args:
        profile: whose first places the result names; all are calculated.

    Returns:
        The run, and its first ten.

    Raises:
        ValueError: there is no such profile.
        LedgerError: the ledger cannot be used.
    """
    profile_named(profile)
    return await asyncio.to_thread(_calculate, profile, utc_now())


def as_of_day(now: datetime) -> int:
    """The last UTC day that is over, in days since 1970-01-01."""
    return (now - _EPOCH).days - 1


def _calculate(profile: str, now: datetime) -> LeaderboardResult:
    chosen = settings().traders
    rules = Eligibility(chosen.minimum_days, chosen.minimum_round_trips, chosen.minimum_volume)
    with session(DOMAIN, read_only=True) as opened:
        inputs = read_inputs(opened, as_of_day=as_of_day(now))
    # Outside of any transaction: nobody waits for the arithmetic.
    board = calculate(inputs, rules, days=chosen.leaderboard_days)
    with session(DOMAIN) as opened:
        saved = save_board(opened, board, now=now, standings=chosen.standings_kept)
        opened.commit()
    if saved.damaged:
        _log.warning(
            "Leaderboard runs %s are damaged: rank changes are told against the run before them", saved.damaged
        )
    return LeaderboardResult(
        run_id=saved.run_id,
        profile=profile,
        as_of=_EPOCH + timedelta(days=inputs.as_of_day),
        traders=len(inputs),
        eligible=int(board.eligible.sum()),
        inputs_hash=inputs.digest(),
        top=tuple(_top(board, profile)),
    )


def _top(board: Board, profile: str, number: int = 10) -> list[RankedTrader]:
    scores = board.scores[profile]
    return [
        RankedTrader(
            rank=int(scores.rank[place]),
            address=board.inputs.addresses[int(board.rows[place])],
            score=float(scores.score[place]),
        )
        for place in scores.order[:number].tolist()
    ]
