"""A leaderboard in words: headings and cells, the same in the Prefect UI and in a terminal."""

import math
from collections.abc import Mapping
from typing import Any

from tasks.foundation.core.escaping import markdown_table
from tasks.traders.core.board_view import BoardView, Place
from tasks.traders.core.profiles import profile_named

#: Heading -> (metric, how it is written).
COLUMNS: Mapping[str, tuple[str, str]] = {
    "days": ("days", "{:,.0f}"),
    "Sharpe": ("sharpe", "{:.2f}"),
    "± error": ("sharpe_error", "{:.2f}"),
    "Sharpe, shrunk": ("sharpe_shrunk", "{:.2f}"),
    "Sortino": ("sortino", "{:.2f}"),
    "ROI": ("roi", "{:.1%}"),
    "PnL USD": ("pnl", "{:,.0f}"),
    "max drawdown": ("max_drawdown", "{:.1%}"),
    "Calmar": ("calmar", "{:.2f}"),
    "win rate": ("win_rate", "{:.0%}"),
    "at least": ("win_rate_low", "{:.0%}"),
    "round trips": ("round_trips", "{:,.0f}"),
    "profit factor": ("profit_factor_shrunk", "{:.2f}"),
    "consistency": ("consistency", "{:.0%}"),
    "volume USD": ("volume", "{:,.0f}"),
    "age, days": ("account_age_days", "{:,.0f}"),
}
HEADINGS = ("rank", "change", "trader", "score", *COLUMNS)
#: Metric -> what it is called where a score is taken apart.
PART_NAMES = {
    "sharpe_shrunk": "Sharpe, shrunk",
    "win_rate": "win rate",
    "win_rate_low": "win rate, at least",
    "max_drawdown": "drawdown",
    "profit_factor_shrunk": "profit factor",
    "risk_ratio": "risk ratio",
    "max_profit": "largest profit",
}


def cells(place: Place) -> tuple[str, ...]:
    """One row of the table."""
    told = [written(place.metrics.get(metric), form) for metric, form in COLUMNS.values()]
    return (f"{place.rank:,}", place.change, place.address, f"{place.score:.4f}", *told)


def written(value: Any, form: str) -> str:
    """A metric as people read it; nothing is written for what cannot be told."""
    return "" if value is None or not math.isfinite(value) else form.format(value)


def summary(board: BoardView) -> str:
    """What the board is of, in a line."""
    return (
        f"{board.eligible:,} of {board.traders:,} traders are ranked, by returns up to {board.as_of:%Y-%m-%d} (UTC). "
        f"Profile {board.profile}: {profile_named(board.profile).about}"
    )


def not_eligible(board: BoardView) -> str:
    """Who is not ranked and why, in a line; empty where everybody is."""
    if not board.reasons:
        return ""
    return "Not ranked: " + ", ".join(f"{number:,} {reason}" for reason, number in board.reasons) + "."


def components(board: BoardView) -> dict[str, list[float]]:
    """The scores taken apart: name of a part -> its value for each place."""
    parts = profile_named(board.profile).components
    return {
        PART_NAMES.get(part.metric, part.metric): [place.components.get(part.metric, 0.0) for place in board.places]
        for part in parts
    }


def markdown(board: BoardView, pictures: Mapping[str, str]) -> str:
    """The whole page.

    Args:
        board: what is shown.
        pictures: heading -> picture in Markdown; each in a section of its own.
    """
    lines = [f"# Leaderboard {board.run_id}", "", summary(board)]
    if told := not_eligible(board):
        lines += ["", told]
    if board.places:
        numbers = set(HEADINGS) - {"trader", "change"}
        lines += ["", markdown_table(HEADINGS, [cells(place) for place in board.places], numbers=numbers)]
    else:
        lines += ["", "Nobody can be ranked yet: histories are fetched by `traders-track`, a few traders each run."]
    for heading, picture in pictures.items():
        lines += ["", f"## {heading}", "", picture]
    return "\n".join(lines) + "\n"
