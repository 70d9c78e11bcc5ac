"""Yearly statistics compared with the games that they are sums of, and set right."""

import asyncio
from pathlib import Path

import pytest

from blocks.engine import session
from tasks.foundation.core.columns import utc_now
from tasks.league.core.card import UnknownPlayerError
from tasks.league.core.players import upsert_player
from tasks.league.core.storing import store_match
from tasks.league.core.tables import DOMAIN
from tasks.league.statistics import StatisticsReport, recompute_statistics
from tests.league.damage import everything, execute, rows
from tests.league.made_games import Game, Player, day

ANNA, BERT = "anna", "bert"
WRONG = (
    "UPDATE league_yearly_stats SET wins = 40, kda_ratio = 9.5 WHERE puuid = 'anna' AND year = 2024",
    "DELETE FROM league_yearly_breakdown WHERE puuid = 'bert' AND dimension = 'QUEUE'",
)


def recompute(**options: object) -> StatisticsReport:
    return asyncio.run(recompute_statistics.fn(**options))  # type: ignore[arg-type]


@pytest.fixture
def played(league_ledger: str) -> str:
    """Two players, three games in two years; one of the players was asked for."""
    with session(DOMAIN) as opened:
        upsert_player(opened, puuid=ANNA, game_name="Anna", tag_line="EUW", platform="euw1", now=utc_now())
        for number, year in enumerate((2023, 2024, 2024), 1):
            players = [Player(ANNA, kills=number), Player(BERT, win=False)]
            store_match(opened, Game(f"EUW1_{number}", day(number, year), players).body(), now=utc_now())
    return league_ledger


def test_what_is_right_is_left_alone(played: str) -> None:
    before = everything()
    assert recompute() == StatisticsReport(dry_run=True, players=2)
    assert recompute(dry_run=False) == StatisticsReport(dry_run=False, players=2)
    assert everything() == before


def test_a_dry_run_tells_what_is_wrong_and_changes_nothing_and_a_real_one_sets_it_right(played: str) -> None:
    clean = rows()
    execute(*WRONG)
    before = everything()
    report = recompute()
    assert everything() == before
    assert (report.players, report.wrong_players, report.differences) == (2, 2, 4)
    told = {(item.player, item.year, item.of, item.column): (item.stored, item.expected) for item in report.listed}
    assert told == {
        (ANNA, 2024, "", "wins"): ("40", "2"),
        (ANNA, 2024, "", "kda_ratio"): ("9.5", "3.5"),
        (BERT, 2023, "QUEUE 420", "*"): ("no such row", "a row"),
        (BERT, 2024, "QUEUE 420", "*"): ("no such row", "a row"),
    }
    assert recompute(dry_run=False).differences == 4
    assert rows() == clean
    assert recompute().differences == 0


def test_one_player_is_found_by_the_riot_id_in_any_case(played: str) -> None:
    execute(*WRONG)
    report = recompute(game_name="ANNA", tag_line="euw", dry_run=False)
    assert (report.players, report.wrong_players, report.differences) == (1, 1, 2)
    assert recompute().wrong_players == 1


def test_pages_of_players_are_all_compared(played: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.league.statistics.PLAYERS", 1)
    execute(*WRONG)
    assert (recompute().players, recompute(dry_run=False).differences) == (2, 4)


def test_statistics_of_games_that_are_gone_go_as_well(played: str) -> None:
    execute("DELETE FROM league_participant WHERE match_id = 'EUW1_1'")
    assert recompute(dry_run=False).wrong_players == 2
    assert "2023" not in "".join(line for line in rows().splitlines() if "yearly" in line)


def test_half_a_riot_id_and_an_unknown_one_are_errors(league_files: Path) -> None:
    with pytest.raises(ValueError, match="both game_name and tag_line"):
        recompute(game_name="Anna")
    with pytest.raises(ValueError, match="both game_name and tag_line"):
        recompute(tag_line="EUW")
    with pytest.raises(UnknownPlayerError):
        recompute(game_name="Anna", tag_line="EUW")
