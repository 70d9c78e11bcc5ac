"""Discovery, tracking and scoring as the body of a process that kills itself at a moment that was drawn for it."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from sqlalchemy import event

from blocks.engine import engine
from blocks.redis_channel import RedisChannel
from blocks.settings import settings
from tasks.traders.core import outbox
from tasks.traders.core.tables import DOMAIN
from tasks.traders.discovery import manage_discovery_stream
from tasks.traders.leaderboard import calculate_leaderboard
from tasks.traders.tracking import track_traders_batch

DISCOVERY, TRACKING, LEADERBOARD = "discovery", "tracking", "leaderboard"
#: From outside, after so many seconds.
SECONDS = "seconds"
#: By itself, as this happens for so many a time: statements and commits are those of the traders ledger.
STATEMENT, BEFORE_COMMIT, AFTER_COMMIT = "statement", "before commit", "after commit"
BEFORE_PUBLISH, WITHIN_PUBLISH, AFTER_PUBLISH, MARK = "before publish", "within publish", "after publish", "mark"

#: The moments of each kind of work, and how far into it they go.
_REACH: Mapping[str, Mapping[str, float]] = {
    DISCOVERY: {
        SECONDS: 3.5,
        STATEMENT: 200,
        BEFORE_COMMIT: 30,
        AFTER_COMMIT: 30,
        BEFORE_PUBLISH: 1,
        WITHIN_PUBLISH: 1,
        AFTER_PUBLISH: 1,
        MARK: 1,
    },
    TRACKING: {
        SECONDS: 2,
        STATEMENT: 300,
        BEFORE_COMMIT: 25,
        AFTER_COMMIT: 25,
        BEFORE_PUBLISH: 2,
        WITHIN_PUBLISH: 2,
        AFTER_PUBLISH: 2,
        MARK: 2,
    },
    LEADERBOARD: {STATEMENT: 10, BEFORE_COMMIT: 1, AFTER_COMMIT: 1},
}


@dataclass(frozen=True)
class Moment:
    """When a process is killed."""

    what: str
    number: float

    def __str__(self) -> str:
        return f"{self.what} {self.number:.3g}"


def draw(chance: Random, work: str) -> Moment:
    """Any moment of a kind of work."""
    what = chance.choice(list(_REACH[work]))
    most = _REACH[work][what]
    return Moment(what, chance.uniform(0, most) if what == SECONDS else chance.randint(1, round(most)))


def body(work: str, moment: Moment | None, environment: Mapping[str, str], log: str, full: bool) -> None:
    """Do the work in this process; what it says goes to the log, and of each commit a line."""
    os.environ.update(environment)
    settings.cache_clear()
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(said, stream)
    # Whoever started us may have put streams of its own in their place.
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    _watch(moment, said)
    asyncio.run(_task(work, full))


#: What a process writes to its log once a commit was answered.
COMMITTED = "committed"


def commits(log: Path) -> int:
    """How many commits of a process were answered."""
    return log.read_text().splitlines().count(COMMITTED)


async def _task(work: str, full: bool) -> None:
    todo: dict[str, Coroutine[Any, Any, Any]] = {
        DISCOVERY: manage_discovery_stream.fn(),
        TRACKING: track_traders_batch.fn(seconds=60 if full else 4, full=full),
        LEADERBOARD: calculate_leaderboard.fn(),
    }
    chosen = todo.pop(work)
    for other in todo.values():
        other.close()
    print(await chosen)


def _watch(moment: Moment | None, said: int) -> None:
    seen: Counter[str] = Counter()

    def happened(what: str) -> bool:
        """Count it; whether its moment has come."""
        seen[what] += 1
        return moment is not None and moment.what == what and seen[what] >= moment.number

    def pass_by(what: str) -> None:
        if happened(what):
            _die()

    traders = engine(DOMAIN)
    commit, publish, mark = traders.dialect.do_commit, RedisChannel.publish, outbox.mark_published

    def do_commit(connection: Any) -> None:
        pass_by(BEFORE_COMMIT)
        commit(connection)
        os.write(said, f"{COMMITTED}\n".encode())
        pass_by(AFTER_COMMIT)

    async def publishing(channel: RedisChannel, messages: Sequence[str]) -> int:
        pass_by(BEFORE_PUBLISH)
        if happened(WITHIN_PUBLISH):
            await publish(channel, messages[: len(messages) // 2])
            _die()
        heard = await publish(channel, messages)
        pass_by(AFTER_PUBLISH)
        return heard

    def marking(*given: Any, **named: Any) -> None:
        mark(*given, **named)
        pass_by(MARK)

    event.listen(traders, "after_cursor_execute", lambda *_: pass_by(STATEMENT))
    replacements = ((traders.dialect, "do_commit", do_commit), (RedisChannel, "publish", publishing))
    for owner, name, replacement in (*replacements, (outbox, "mark_published", marking)):
        patch.object(owner, name, replacement).start()


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
