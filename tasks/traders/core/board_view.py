"""A kept run of the leaderboard as people look at it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlmodel import Session, col, func, select

from tasks.traders.core.history_tables import History
from tasks.traders.core.score_tables import LeaderboardRun, Metrics, Standing
from tasks.traders.core.series import unpack
from tasks.traders.core.tables import Trader

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NoSuchRunError(Exception):
    """The leaderboard was not calculated yet, or has no run of that number."""


@dataclass(frozen=True, slots=True)
class Place:
    """One row of a leaderboard.

    Attributes:
        metrics: as stored now; of the run shown only where it is the newest.
        components: metric -> its part of the score.
    """

    rank: int
    previous_rank: int | None
    trader_id: int
    address: str
    score: float
    components: Mapping[str, float]
    metrics: Mapping[str, Any]

    @property
    def change(self) -> str:
        """The rank's change since the run before: `+3`, `-1`, `=`, or `new`."""
        if self.previous_rank is None:
            return "new"
        up = self.previous_rank - self.rank
        return f"{up:+d}" if up else "="


@dataclass(frozen=True, slots=True)
class BoardView:
    """The first places of one run in one profile.

    Attributes:
        reasons: why traders are not eligible, as of now, and how many; the most frequent first.
    """

    run_id: int
    profile: str
    calculated_at: datetime
    as_of: datetime
    traders: int
    eligible: int
    places: tuple[Place, ...]
    reasons: tuple[tuple[str, int], ...]
    rules: Mapping[str, Any]


def board_view(session: Session, profile: str, *, run_id: int | None = None, limit: int = 50) -> BoardView:
    """The first places of a run.

    Args:
        session: the transaction.
        profile: whose places.
        run_id: which run; None is the newest.
        limit: places at most.

    Raises:
        NoSuchRunError: there is none; the text says what to do.
    """
    newest = select(LeaderboardRun).order_by(col(LeaderboardRun.id).desc()).limit(1)
    run = session.exec(newest).first() if run_id is None else session.get(LeaderboardRun, run_id)
    if run is None or run.id is None:
        raise NoSuchRunError(
            "the leaderboard was never calculated: `prefect deployment run traders-leaderboard/every-ten-minutes` does"
            if run_id is None
            else f"the leaderboard has no run {run_id}"
        )
    wanted = (
        select(Standing, Trader.address, Metrics)
        .join(Trader, col(Trader.id) == col(Standing.trader_id))
        .join(Metrics, col(Metrics.trader_id) == col(Standing.trader_id), isouter=True)
        .where(Standing.run_id == run.id, Standing.profile == profile)
        .order_by(col(Standing.rank))
        .limit(limit)
    )
    places = tuple(_place(standing, address, metrics) for standing, address, metrics in session.exec(wanted))
    return BoardView(
        run_id=run.id,
        profile=profile,
        calculated_at=run.calculated_at,
        as_of=_EPOCH + timedelta(days=run.as_of_day),
        traders=run.traders,
        eligible=run.eligible,
        places=places,
        reasons=_reasons(session),
        rules=json.loads(run.rules),
    )


def _place(standing: Standing, address: str, metrics: Metrics | None) -> Place:
    return Place(
        rank=standing.rank,
        previous_rank=standing.previous_rank,
        trader_id=standing.trader_id,
        address=address,
        score=standing.score,
        components=json.loads(standing.components),
        metrics=metrics.model_dump() if metrics is not None else {},
    )


def _reasons(session: Session) -> tuple[tuple[str, int], ...]:
    """Those with numbers in them are told as one."""
    found: dict[str, int] = {}
    counted = select(Metrics.reason, func.count()).where(col(Metrics.reason).is_not(None)).group_by(Metrics.reason)
    for reason, number in session.exec(counted):
        kind = _kind(reason or "")
        found[kind] = found.get(kind, 0) + number
    return tuple(sorted(found.items(), key=lambda entry: (-entry[1], entry[0])))


def _kind(reason: str) -> str:
    for words, kind in (
        ("days with a return", "too few days with a return"),
        ("round trips", "too few round trips"),
        ("volume of", "too little volume"),
    ):
        if words in reason:
            return kind
    return reason


def equity_curves(
    session: Session, trader_ids: list[int], *, as_of: datetime, days: int
) -> dict[int, list[tuple[datetime, float]]]:
    """What 1 USD became day by day, deposits aside, for each trader; a day without a return changes nothing.

    Args:
        session: the transaction.
        trader_ids: whose.
        as_of: the last day shown.
        days: shown at most.
    """
    last = (as_of - _EPOCH).days
    curves = {}
    for history in session.exec(select(History).where(col(History.trader_id).in_(trader_ids))):
        if history.returns is None or history.series_day is None:
            continue
        returns = unpack(history.returns)
        found = [(history.series_day + at, value) for at, value in enumerate(returns.tolist())]
        shown = [(day, value) for day, value in found if last - days < day <= last]
        if not shown:
            continue
        grown = np.cumprod(1 + np.nan_to_num(np.array([value for _, value in shown])))
        moments = [_EPOCH + timedelta(days=day) for day, _ in shown]
        curves[history.trader_id] = [(moments[0] - timedelta(days=1), 1.0), *zip(moments, grown.tolist(), strict=True)]
    return curves
