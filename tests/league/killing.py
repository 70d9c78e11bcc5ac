"""Syncs in a process of their own that are killed when the Riot API was asked so many times."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest
from sqlmodel import select

from blocks.engine import session
from deployments.sandbox.riot.server import RunningSandbox
from tasks.league.core.dump import dump
from tasks.league.core.tables import DOMAIN, Fetch, FetchState

_SYNC = """
import asyncio, sys
from tasks.league.players import sync_player_data
asyncio.run(sync_player_data.fn(*sys.argv[1:]))
"""
#: Far more than a process takes to start on a busy machine.
_PATIENCE = 120


@contextmanager
def told_at(sandbox: RunningSandbox, request: int) -> Iterator[Event]:
    """An event that is set when the API is about to answer this request, counted from 1."""
    reached, answered, seen = Event(), sandbox.app._answers.of, 0

    def count(method: str, call: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == request:
            reached.set()
        return answered(method, call)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox.app._answers, "of", count)
        yield reached


def killed_sync(sandbox: RunningSandbox, *, at_request: int, later: float) -> bool:
    """Run a sync of the main player and kill it.

    Args:
        sandbox: the API, set as the one in use.
        at_request: when the API was asked so often.
        later: seconds after that, in which answers are on their way or being written.

    Returns:
        Whether it was killed; else it had come to its end.
    """
    player = sandbox.player
    with told_at(sandbox, at_request) as reached:
        child = subprocess.Popen([sys.executable, "-c", _SYNC, player["game_name"], player["tag_line"]])
        try:
            while child.poll() is None and not reached.wait(0.05):
                continue
            child.wait(later if reached.is_set() else _PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
        finally:
            child.kill()
            code = child.wait(_PATIENCE)
    assert code in (0, -9), f"the sync failed by itself: {code}"
    return code == -9


def rows() -> str:
    """The whole ledger as text."""
    with session(DOMAIN, read_only=True) as opened:
        return dump(opened)


def fetched() -> int:
    """How many matches and timelines are dealt with."""
    with session(DOMAIN, read_only=True) as opened:
        return len(opened.exec(select(Fetch.match_id).where(Fetch.state != FetchState.PENDING)).all())
