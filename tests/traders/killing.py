"""Processes that do the traders' work and are killed, each at a moment of its own, and started again.

They are forked from a server that has imported everything, so that a life begins in a tenth of a second.
"""

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from random import Random

from tests.traders.killed_work import LEADERBOARD, SECONDS, Moment, body, commits, draw

_KILLED, _TERMINATED = -9, -15
#: Far more than anything takes on a busy machine.
_PATIENCE = 120
#: A process that never comes to its moment is killed after so many seconds: not all publish, not all find work.
_LONGEST = 6.0
#: Which part of its kills a kind of work may be ahead of the slowest.
_AHEAD = 0.35


def _nursery() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.traders.killed_work"])
    return context


@dataclass
class Life:
    """One process."""

    number: int
    work: str
    moment: Moment | None
    log: Path
    process: ForkServerProcess
    #: By the monotonic clock; until then it may live.
    until: float

    @property
    def end(self) -> int:
        """How it ended, which has to be one of the ways that it may."""
        code = self.process.exitcode
        assert code in (0, _KILLED), f"{self.work} failed by itself ({code}):\n{self.log.read_text()[-4000:]}"
        return code


@dataclass
class Killer:
    """Starts work and kills it.

    Args:
        folder: for what the processes say.
        seed: draws the moments.
    """

    folder: Path
    seed: str
    #: How often each kind of work was killed, and how often it came to its end.
    killed: Counter[str] = field(default_factory=Counter)
    completed: Counter[str] = field(default_factory=Counter)
    #: Runs of the leaderboard whose commit was answered.
    boards: int = 0
    lives: int = 0

    def __post_init__(self) -> None:
        self._chance = Random(self.seed)
        self._context = _nursery()
        self._alive: dict[int, Life] = {}

    def __enter__(self) -> "Killer":
        return self

    def __exit__(self, *_: object) -> None:
        """Where a test failed, some are alive still."""
        for life in self._alive.values():
            life.process.kill()
            life.process.join(_PATIENCE)
            life.process.close()

    def start(self, work: str, moment: Moment | None = None, *, full: bool = False) -> Life:
        """Start work, to be killed at a moment or not at all."""
        self.lives += 1
        log = self.folder / f"{self.lives:03}-{work}.log"
        environment = {name: value for name, value in os.environ.items() if name.startswith("QUINTET_")}
        process = self._context.Process(target=body, args=(work, moment, environment, str(log), full))
        process.start()
        longest = moment.number if moment is not None and moment.what == SECONDS else _LONGEST
        life = self._alive[self.lives] = Life(self.lives, work, moment, log, process, time.monotonic() + longest)
        return life

    def run_to_end(self, work: str, *, full: bool = False) -> None:
        """Do work that nobody kills."""
        life = self.start(work, full=full)
        life.process.join(_PATIENCE)
        assert self._over(life) == 0

    def kill_all(self, wanted: Mapping[str, int]) -> None:
        """Have each kind of work killed so often, all of them side by side, and started again at once."""
        alive: dict[str, Life] = {}
        while (behind := max(self._left(wanted).values())) > 0:
            for work, left in self._left(wanted).items():
                # None gets far ahead of the others, so that each meets what these have done by then.
                if work not in alive and left > max(0.0, behind - _AHEAD):
                    alive[work] = self.start(work, draw(self._chance, work))
            now = time.monotonic()
            wait([life.process.sentinel for life in alive.values()], max(0, min(x.until for x in alive.values()) - now))
            for work, life in list(alive.items()):
                if life.process.is_alive() and time.monotonic() < life.until:
                    continue
                self._end(alive.pop(work))
        for life in alive.values():
            self._end(life)

    def kill_at(self, work: str, moment: Moment) -> None:
        """Start work that is killed at this moment, unless it comes to its end before, and wait for that."""
        life = self.start(work, moment)
        life.process.join(max(0.0, life.until - time.monotonic()))
        self._end(life)

    def _left(self, wanted: Mapping[str, int]) -> dict[str, float]:
        """Which part of its kills each kind of work has before it."""
        return {work: 1 - self.killed[work] / number for work, number in wanted.items()}

    def kill(self, life: Life) -> None:
        """Kill one now, beside all that `kill_all` does."""
        life.process.kill()
        life.process.join(_PATIENCE)
        assert life.end == _KILLED
        self._alive.pop(life.number).process.close()

    def stop(self, life: Life) -> None:
        """End one as whoever runs it does, and let it finish."""
        life.process.terminate()
        life.process.join(_PATIENCE)
        assert life.process.exitcode == _TERMINATED, life.log.read_text()[-4000:]
        self._alive.pop(life.number).process.close()

    def until(self, true: Callable[[], bool], life: Life) -> None:
        """Wait until something is true that this life brings about."""
        deadline = time.monotonic() + _PATIENCE
        while not true():
            life.process.join(0.05)
            assert life.process.is_alive(), f"{life.work} ended:\n{life.log.read_text()[-4000:]}"
            assert time.monotonic() < deadline, f"{life.work} did not do it:\n{life.log.read_text()[-4000:]}"

    def _end(self, life: Life) -> None:
        life.process.kill()
        life.process.join(_PATIENCE)
        code = self._over(life)
        print(f"  {life.work}, {life.moment}: {'killed' if code else 'had come to its end'}")

    def _over(self, life: Life) -> int:
        code = life.end
        (self.killed if code == _KILLED else self.completed)[life.work] += 1
        if life.work == LEADERBOARD:
            self.boards += commits(life.log)
        self._alive.pop(life.number).process.close()
        return code
