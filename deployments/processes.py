"""Which process is which: a pid alone is not enough, because pids are used again."""

import functools
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

# Linux tells the start in ticks since boot, which do not move when the clock is set.
PROC = Path("/proc")


@functools.cache
def host_name() -> str:
    """The name of this machine, as it stands in records and in `infrastructure_pid`."""
    return socket.gethostname()


@functools.cache
def boot_id() -> str:
    """A value that changes when the machine restarts."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return str(int(psutil.boot_time()))


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, told apart from another one that later got the same pid.

    Attributes:
        host: name of its machine.
        boot: `boot_id` of that machine when the process started.
        pid: its process id.
        started: its start, in clock ticks since boot on Linux, seconds elsewhere.
    """

    host: str
    boot: str
    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity | None":
        """The identity of a living process of this machine; None when there is none."""
        started = _start_of(pid)
        return None if started is None else cls(host_name(), boot_id(), pid, started)

    @classmethod
    def own(cls) -> "ProcessIdentity":
        """The identity of this process."""
        identity = cls.of(os.getpid())
        if identity is None:
            raise RuntimeError("this process is not in the process table")
        return identity

    @property
    def here(self) -> bool:
        """Whether it belongs to this machine, so that `alive` can be asked."""
        return self.host == host_name()

    def alive(self) -> bool:
        """Whether this very process still runs on this machine; a zombie does not."""
        return self.here and self.boot == boot_id() and _start_of(self.pid) == self.started


def _start_of(pid: int) -> float | None:
    if (PROC / "self/stat").exists():
        try:
            # The name in parentheses may hold blanks and parentheses of its own.
            fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else float(fields[19])
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None
