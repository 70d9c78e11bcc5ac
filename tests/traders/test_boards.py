"""What people see of a leaderboard."""

import re
from datetime import UTC, datetime
from io import BytesIO

import pytest
from PIL import Image

from blocks.engine import session
from tasks.foundation.core.plots import stacked_plot
from tasks.traders import leaderboard
from tasks.traders.boards import show_leaderboard
from tasks.traders.core.board_sections import HEADINGS, cells, components, written
from tasks.traders.core.board_view import NoSuchRunError, board_view, equity_curves
from tasks.traders.leaderboard import as_of_day, calculate_leaderboard
from tests.traders.board_data import add_history, add_trader, address, made_returns

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LAST = as_of_day(NOW)


@pytest.fixture
async def ranked(traders_ledger: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaderboard, "utc_now", lambda: NOW)
    with session("traders") as opened:
        for number in range(8):
            returns = made_returns(number, 60, 0.006 - 0.001 * number)
            add_history(opened, add_trader(opened, number), returns, last_day=LAST)
        add_trader(opened, 70)
        for number in (71, 72):
            add_history(opened, add_trader(opened, number), made_returns(1, number - 65), last_day=LAST)
        opened.commit()
    await calculate_leaderboard.fn()


@pytest.mark.usefixtures("ranked")
async def test_the_page_has_table_pictures_and_who_is_not_ranked() -> None:
    page = await show_leaderboard.fn(None, "balanced")
    assert "8 of 11 traders are ranked, by returns up to 2026-11-19" in page
    assert "Not ranked: 2 too few days with a return, 1 no history yet." in page
    assert page.count("data:image/png;base64,") == 2
    assert all(address(number) in page for number in range(8))
    rows = [line for line in page.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) == 8 and all(line.count(" | ") == len(HEADINGS) - 1 for line in rows)


@pytest.mark.usefixtures("ranked")
async def test_ranks_changed_and_new_are_told() -> None:
    with session("traders", read_only=True) as opened:
        assert {place.change for place in board_view(opened, "skill").places} == {"new"}
    await calculate_leaderboard.fn()
    with session("traders", read_only=True) as opened:
        board = board_view(opened, "skill", limit=3)
    assert [place.change for place in board.places] == ["=", "=", "="]
    assert [cells(place)[0] for place in board.places] == ["1", "2", "3"]


@pytest.mark.usefixtures("ranked")
def test_an_equity_curve_is_the_product_of_the_returns() -> None:
    with session("traders", read_only=True) as opened:
        board = board_view(opened, "skill")
        first = board.places[0]
        curve = equity_curves(opened, [first.trader_id], as_of=board.as_of, days=500)[first.trader_id]
        cut = equity_curves(opened, [first.trader_id], as_of=board.as_of, days=10)[first.trader_id]
    assert curve[0][1] == 1.0 and curve[-1][1] - 1 == pytest.approx(first.metrics["roi"])
    assert curve[-1][0] == board.as_of and len(cut) == 11 and cut[0][1] == 1.0


@pytest.mark.usefixtures("ranked")
def test_parts_add_up_to_the_scores() -> None:
    with session("traders", read_only=True) as opened:
        board = board_view(opened, "conservative")
    parts = components(board)
    assert list(parts)[:2] == ["drawdown", "win rate, at least"]
    for at, place in enumerate(board.places):
        assert sum(values[at] for values in parts.values()) == pytest.approx(place.score)


@pytest.mark.usefixtures("traders_ledger")
async def test_before_the_first_run_the_next_step_is_told() -> None:
    with pytest.raises(NoSuchRunError, match="prefect deployment run traders-leaderboard"):
        await show_leaderboard.fn()
    with session("traders", read_only=True) as opened, pytest.raises(NoSuchRunError, match="no run 7"):
        board_view(opened, "skill", run_id=7)


@pytest.mark.usefixtures("traders_ledger")
async def test_an_empty_board_says_what_fills_it() -> None:
    await calculate_leaderboard.fn()
    assert "Nobody can be ranked yet" in await show_leaderboard.fn()


def test_what_cannot_be_told_is_left_empty() -> None:
    assert written(None, "{:.2f}") == written(float("nan"), "{:.2f}") == ""


def test_a_stacked_plot_is_a_picture() -> None:
    drawn = stacked_plot("Scores", ["1 a", "2 b"], {"Sharpe": [0.5, 0.25], "drawdown": [0.25, 0.0]})
    with Image.open(BytesIO(drawn)) as opened:
        assert opened.width > 1000
    for wrong in ({"a": [1.0]}, {"a": [1.0, -1.0]}, {"a": [1.0, float("nan")]}, {key: [1.0, 2.0] for key in "abcdefg"}):
        with pytest.raises(ValueError, match=r"part|cannot be drawn"):
            stacked_plot("Scores", ["1 a", "2 b"], wrong)
    assert stacked_plot("Nothing", [], {})
