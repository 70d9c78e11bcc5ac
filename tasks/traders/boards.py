"""What a leaderboard run leaves for people: a table, equity curves of the first, and what their scores are made of."""

import asyncio

from blocks.engine import session
from tasks.foundation.artifacts import markdown, picture
from tasks.foundation.core.plots import COLOURS, Line, line_plot, stacked_plot
from tasks.foundation.retries import MAINTENANCE
from tasks.traders.core import board_sections
from tasks.traders.core.addresses import short
from tasks.traders.core.board_view import BoardView, board_view, equity_curves
from tasks.traders.core.profiles import DEFAULT_PROFILE
from tasks.traders.core.tables import DOMAIN

LEADERBOARD_KEY = "traders-leaderboard"
#: Places in the table, and those whose scores are taken apart in a picture.
SHOWN, TAKEN_APART = 50, 10
_CURVE_DAYS = 180


@MAINTENANCE.task
async def show_leaderboard(run_id: int | None = None, profile: str = DEFAULT_PROFILE) -> str:
    """Leave a leaderboard on the flow run: its table, equity curves of the first, and their scores taken apart.

    Args:
        run_id: which run; None is the newest.
        profile: whose ranks.

    Returns:
        The page as Markdown.

    Raises:
        NoSuchRunError: it was never calculated.
    """
    text = await asyncio.to_thread(_drawn, run_id, profile)
    await markdown(LEADERBOARD_KEY, text)
    return text


def _drawn(run_id: int | None, profile: str) -> str:
    with session(DOMAIN, read_only=True) as opened:
        board = board_view(opened, profile, run_id=run_id, limit=SHOWN)
        first = [place.trader_id for place in board.places[: len(COLOURS)]]
        curves = equity_curves(opened, first, as_of=board.as_of, days=_CURVE_DAYS)
    pictures = {}
    if curves:
        # Six names share a line; the table has them whole.
        named = {place.trader_id: f"{place.rank} {place.address[:6]}…" for place in board.places}
        lines = [Line(named[trader_id], curves[trader_id]) for trader_id in first if trader_id in curves]
        drawn = line_plot("Equity of the first, deposits aside", lines, unit="1 USD became", reference=1)
        pictures["Equity"] = picture(drawn, "what one dollar became with each of the first traders")
    if board.places:
        pictures["What the scores are made of"] = picture(_parts(board), "the parts of the first traders' scores")
    return board_sections.markdown(board, pictures)


def _parts(board: BoardView) -> bytes:
    labels = [f"{place.rank} {short(place.address)}" for place in board.places[:TAKEN_APART]]
    parts = {name: values[:TAKEN_APART] for name, values in board_sections.components(board).items()}
    return stacked_plot(f"Scores of profile {board.profile}", labels, parts)
