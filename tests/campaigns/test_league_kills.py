"""Campaign: syncs that are killed at thirty random points and run again end in the rows of one clean run."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.engine import dispose_engines
from deployments.sandbox.riot.server import RunningSandbox
from tests.league.conftest import home_in, league_databases, riot
from tests.league.killing import fetched, killed_sync, rows
from tests.league.test_players import sync

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(1800)]

KILLS, MATCHES = 30, 40
#: Account, summoner, ranked entries, masteries, ids; then 40 matches and 40 timelines.
REQUESTS = 5 + 2 * MATCHES
#: Seconds in which an answer is on its way, read, and written.
AFTER_THE_REQUEST = 0.08

__all__ = ["league_databases"]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    """Payloads of the real ones' size, in no hurry, so that kills meet writing."""
    with riot(matches=MATCHES, timeline_frames=30, latency=(0.005, 0.03)) as running:
        yield running


@pytest.fixture(scope="module")
def clean(sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The rows of one clean run."""
    with home_in(tmp_path_factory.mktemp("clean") / "home"):
        result = sync(sandbox)
        assert result.standing.pending == 0 < result.missing
        return rows()


def test_killed_once_and_run_again(sandbox: RunningSandbox, clean: str, tmp_path: Path) -> None:
    chance, reached = random.Random(3101), list[int]()
    for number in range(KILLS):
        point, later = chance.randint(1, REQUESTS), chance.uniform(0, AFTER_THE_REQUEST)
        with home_in(tmp_path / f"home-{number}"):
            killed = killed_sync(sandbox, at_request=point, later=later)
            reached.append(fetched())
            sync(sandbox)
            assert rows() == clean, f"kill {number}: {later:.3f} s after request {point}"
        print(f"  kill {number + 1}: {later:.3f} s after request {point}, {reached[-1]} done, killed: {killed}")
        assert killed or point > REQUESTS - 15
    # They met every part of the job.
    assert len(set(reached)) > KILLS / 2


def test_one_sync_killed_again_and_again(sandbox: RunningSandbox, clean: str, league_databases: str) -> None:
    chance, began = random.Random(f"3102 {league_databases}"), time.monotonic()
    kills = 0
    while kills < KILLS:
        # Each begins with what the last one left: account, listing, and some matches further.
        if not killed_sync(sandbox, at_request=chance.randint(1, 20), later=chance.uniform(0, AFTER_THE_REQUEST)):
            break
        kills += 1
    print(f"\n{kills} kills in {time.monotonic() - began:.0f} s; {fetched()} of {2 * MATCHES} done by then")
    assert kills >= 10
    sync(sandbox)
    assert rows() == clean
    dispose_engines()
