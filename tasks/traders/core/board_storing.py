"""A run of the leaderboard as rows, all in one transaction: the run, everybody's metrics, and the first places."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from tasks.foundation.core.upsert import upsert_rows
from tasks.traders.core.board import Board
from tasks.traders.core.cursors import lock_cursor
from tasks.traders.core.profiles import PROFILES
from tasks.traders.core.rankings import Ranking, UnreadableRankingError, pack, unpack
from tasks.traders.core.score_tables import LeaderboardRun, Metrics, Standing

#: Who calculates holds this cursor's row until the run is written, so that each run knows the one before it.
CURSOR = "leaderboard"


#: How far back a readable run is looked for where newer ones are damaged.
_LOOK_BACK = 10


@dataclass(frozen=True, slots=True)
class SavedBoard:
    """A run that was written.

    Attributes:
        run_id: its number.
        damaged: numbers of earlier runs whose rankings could not be read; rank changes are told against the one before
            those.
    """

    run_id: int
    damaged: tuple[int, ...]


def save_trader_metrics(session: Session, board: Board, run_id: int) -> int:
    """Write the metrics of all traders of a board, those who are not eligible with the reason.

    Args:
        session: the transaction; nothing is committed.
        board: what was calculated.
        run_id: the run it belongs to.

    Returns:
        How many rows were new or different.
    """
    wanted = {}
    for row, trader_id in enumerate(board.inputs.trader_ids.tolist()):
        values, reason = board.metric_row(row)
        wanted[trader_id] = {**values, "eligible": reason is None, "reason": reason}
    names = list(next(iter(wanted.values()), {}))
    table: Any = Metrics
    stored = session.connection().execute(select(table.trader_id, *(getattr(table, name) for name in names)))
    same = {row[0] for row in stored if row[0] in wanted and tuple(wanted[row[0]].values()) == tuple(row[1:])}
    changed = [
        {"trader_id": trader_id, "run_id": run_id, **values}
        for trader_id, values in wanted.items()
        if trader_id not in same
    ]
    upsert_rows(session, Metrics, changed, key=("trader_id",), update=("run_id", *names))
    return len(changed)


def save_board(session: Session, board: Board, *, now: datetime, standings: int) -> SavedBoard:
    """Write a run.

    Args:
        session: the transaction; nothing is committed. Of two at once, the second waits for the first.
        board: what was calculated.
        now: the present.
        standings: places kept as rows in each profile.
    """
    lock_cursor(session, CURSOR)
    previous, damaged = _previous(session)
    run = LeaderboardRun(
        calculated_at=now,
        as_of_day=board.inputs.as_of_day,
        rules=json.dumps(rules_document(board), sort_keys=True),
        traders=len(board.inputs),
        eligible=int(board.eligible.sum()),
        inputs_hash=board.inputs.digest(),
        ranking=pack(board.ranking()),
    )
    session.add(run)
    session.flush()
    if run.id is None:
        raise RuntimeError("the database gave the run no id")
    save_trader_metrics(session, board, run.id)
    rows = [row for profile in board.scores for row in _standings(board, profile, run.id, standings, previous)]
    upsert_rows(session, Standing, rows, key=("run_id", "profile", "rank"))
    return SavedBoard(run.id, damaged)


def _previous(session: Session) -> tuple[Ranking | None, tuple[int, ...]]:
    newest = select(LeaderboardRun.id, LeaderboardRun.ranking).order_by(col(LeaderboardRun.id).desc()).limit(_LOOK_BACK)
    damaged: list[int] = []
    for run_id, packed in session.exec(newest):
        try:
            return unpack(packed), tuple(damaged)
        except UnreadableRankingError:
            damaged.append(run_id or 0)
    return None, tuple(damaged)


def _standings(
    board: Board, profile: str, run_id: int, number: int, previous: Ranking | None
) -> list[Mapping[str, Any]]:
    scores = board.scores[profile]
    rows: list[Mapping[str, Any]] = []
    for place in scores.order[:number].tolist():
        trader_id = board.trader_id(place)
        rows.append(
            {
                "run_id": run_id,
                "profile": profile,
                "rank": int(scores.rank[place]),
                "trader_id": trader_id,
                "score": float(scores.score[place]),
                "previous_rank": None if previous is None else previous.rank_of(trader_id, profile),
                "components": json.dumps(scores.decomposition(place), sort_keys=True),
            }
        )
    return rows


def rules_document(board: Board) -> dict[str, Any]:
    """What a run went by, for whoever looks at it later."""
    return {
        "days": board.days,
        "eligibility": {
            "minimum_days": board.rules.minimum_days,
            "minimum_round_trips": board.rules.minimum_round_trips,
            "minimum_volume": board.rules.minimum_volume,
        },
        "profiles": {
            name: {
                "scale": profile.scale.value,
                "components": {
                    part.metric: -part.weight if part.lower_is_better else part.weight for part in profile.components
                },
            }
            for name, profile in PROFILES.items()
        },
    }
