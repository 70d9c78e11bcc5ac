"""Which processes hold permits, and whether they are still there."""

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import Connection, text

# A process elsewhere that has not beaten for so long is taken for dead...
LEASE_SECONDS = 15.0
# ... and beats this often.
BEAT_SECONDS = 4.0
# A process that was killed elsewhere with nothing in flight is looked for by nobody: its row goes after a day.
_FORGET_SECONDS = 86_400.0

_READ = text("SELECT id, place, pid, started, beats FROM rate_owner")
_WRITE = text(
    "INSERT INTO rate_owner (id, place, pid, started, beats, beaten_at) "
    "VALUES (:id, :place, :pid, :started, 1, :beaten_at) "
    "ON CONFLICT (id) DO UPDATE SET beats = rate_owner.beats + 1, beaten_at = excluded.beaten_at"
)
_FORGET = text("DELETE FROM rate_owner WHERE beaten_at < :before")
_REMOVE = text("DELETE FROM rate_owner WHERE id = :id")


def this_place() -> str:
    """Where this process's id means something: a boot of a machine, and a process namespace (a container) in it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{socket.gethostname()} {int(psutil.boot_time())}"


def start_of(pid: int) -> str | None:
    """When a process of this place started, as a mark that no later one of its id has; None where there is none."""
    try:
        # Ticks since boot: unlike a time of day, no change of the clock moves them.
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except (ProcessLookupError, ValueError):
        return None
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.NoSuchProcess:
        return None


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that holds permits."""

    id: int
    place: str
    pid: int
    started: str

    @classmethod
    def here(cls) -> "Owner":
        """This process, under a new id."""
        pid = os.getpid()
        return cls(int.from_bytes(os.urandom(7)), this_place(), pid, start_of(pid) or "")

    def beat(self, connection: Connection, clock: float) -> None:
        """Say that this process lives; the row is made where somebody took it for dead and removed it.

        Args:
            connection: the transaction.
            clock: the database's.
        """
        values = {"id": self.id, "place": self.place, "pid": self.pid, "started": self.started, "beaten_at": clock}
        connection.execute(_WRITE, values)

    def remove(self, connection: Connection) -> None:
        """It will hold no permit any more."""
        connection.execute(_REMOVE, {"id": self.id})


class OwnerWatch:
    """Tells which owners are dead, as seen from one process.

    A process of this place is asked for by its id and its start. One elsewhere is dead when its beats stand still for
    `LEASE_SECONDS` of this process's own clock: clocks of two machines are never compared.
    """

    def __init__(self, me: Owner, lease_seconds: float = LEASE_SECONDS) -> None:
        self._me = me
        self._lease = lease_seconds
        # Owner elsewhere -> its beats, and when they were first seen.
        self._seen: dict[int, tuple[int, float]] = {}

    def dead(self, connection: Connection, owners: set[int]) -> set[int]:
        """Those of `owners` that are dead. Their rows are removed."""
        rows = {row.id: row for row in connection.execute(_READ)}
        self._seen = {owner: seen for owner, seen in self._seen.items() if owner in rows}
        now = time.monotonic()
        found = set()
        for owner in owners - {self._me.id}:
            row = rows.get(owner)
            if row is None:
                # Closed, or found dead by somebody who looked at another route.
                found.add(owner)
            elif row.place == self._me.place:
                if start_of(row.pid) != row.started:
                    found.add(owner)
            else:
                beats, since = self._seen.get(owner, (None, now))
                if beats != row.beats:
                    self._seen[owner] = (row.beats, now)
                elif now - since > self._lease:
                    found.add(owner)
        # In one order for all, so that no two transactions wait for each other.
        for owner in sorted(found & set(rows)):
            connection.execute(_REMOVE, {"id": owner})
            self._seen.pop(owner, None)
        return found

    def remove_strays(self, connection: Connection, clock: float) -> None:
        """Remove the rows of dead processes of this place; their requests are then seen to be nobody's."""
        connection.execute(_FORGET, {"before": clock - _FORGET_SECONDS})
        for row in sorted(connection.execute(_READ), key=lambda row: row.id):
            if row.place == self._me.place and start_of(row.pid) != row.started:
                connection.execute(_REMOVE, {"id": row.id})
