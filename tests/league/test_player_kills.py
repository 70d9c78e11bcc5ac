"""A sync that is killed and run again: the short form of `tests/campaigns/test_league_kills.py`."""

import random
from pathlib import Path

from blocks.engine import dispose_engines
from tests.league.conftest import home_in, riot
from tests.league.killing import fetched, killed_sync, rows
from tests.league.test_players import sync

MATCHES = 14
#: Account, summoner, ranked entries, masteries, ids; then matches and timelines.
BEFORE_THE_FIRST_MATCH = 5


def test_killed_anywhere_and_run_again_gives_the_rows_of_one_clean_run(league_databases: str, tmp_path: Path) -> None:
    chance = random.Random(f"kills {league_databases}")
    # One before anything is listed, one among the matches.
    points = [chance.randint(1, BEFORE_THE_FIRST_MATCH), chance.randint(BEFORE_THE_FIRST_MATCH + MATCHES, 2 * MATCHES)]
    with riot(matches=MATCHES, latency=(0.01, 0.03)) as sandbox:
        reached = []
        for point in points:
            assert killed_sync(sandbox, at_request=point, later=chance.uniform(0, 0.03))
            reached.append(fetched())
        result = sync(sandbox)
        after = rows()
        # What was asked for is not yet stored, so how much is depends on the machine.
        assert reached[0] == 0
        assert reached[1] < 2 * MATCHES
        assert result.standing.pending == 0
        dispose_engines()
        with home_in(tmp_path / "clean"):
            sync(sandbox)
            assert after == rows()
