"""What a process knows of one key on one route, and the transactions that bring it up to date and grant requests.

A transaction locks the route's row, reads what others wrote since the last one, and writes under a new version; so it
costs what is new, not what is in the windows. `RouteState` is used by one thread at a time.

**Time** is the database's, so that all processes agree: on SQLite the machine's monotonic clock, on PostgreSQL the
server's. A route's clock never goes back and never runs faster than that of the process that reads it: where the
database's does (it was set, or the machine restarted), the difference goes into the route's `clock_offset`. Ages always
come out as the truth or less, so an error can only cost time, never a request too many.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, text

from blocks.engine import engine, ledger_errors
from blocks.rate_mirror import DOMAIN, Mirror, Request, database_clock
from blocks.rate_owners import BEAT_SECONDS, Owner, OwnerWatch
from blocks.rate_precedence import CLAIM_WEIGHT, Precedence, claim_on
from blocks.rate_window import DRIFT, MARGIN_SECONDS, Window, format_windows
from blocks.rate_wish import Finish, Outcome, Wish

# A request that nobody hears the answer of (its process was killed, its connection lost) may be on its way still: it
# counts as received this much later.
GONE_SECONDS = 2.0
# Between two looks whether those who hold requests are alive, and between two removals of old rows.
_WATCH_SECONDS = 0.25
_CLEAN_SECONDS = 1.0
# Received then: it counts nowhere.
_NEVER = 0.0
# Rows are kept this much longer than any window needs them.
_KEEP_SECONDS = 30.0
# The clock is that far back: the machine or the database restarted, and with it the last commits may be lost.
_RESTART_SECONDS = 1.0

_MAKE = text(
    "INSERT INTO rate_route (key_name, route, version, clock, clock_offset) VALUES (:key_name, :route, 0, 0, 0) "
    "ON CONFLICT (key_name, route) DO NOTHING"
)
_FIND = "SELECT id, version, clock, clock_offset FROM rate_route WHERE key_name = :key_name AND route = :route"
_LOCK = {"sqlite": text(_FIND), "postgresql": text(f"{_FIND} FOR UPDATE")}
_SAVE = text("UPDATE rate_route SET version = :version, clock = :clock, clock_offset = :clock_offset WHERE id = :id")
_WRITE_REQUEST = text(
    "INSERT INTO rate_request (owner, number, route_id, method, granted_at, received_at, seconds, weight, version) "
    "VALUES (:owner, :number, :id, :method, :granted_at, :received_at, :seconds, :weight, :version) "
    "ON CONFLICT (owner, number) DO UPDATE SET granted_at = excluded.granted_at, received_at = excluded.received_at, "
    "weight = excluded.weight, version = excluded.version"
)
_FIND_REQUEST = text("SELECT received_at FROM rate_request WHERE owner = :owner AND number = :number")
_WRITE_BUCKET = text(
    "INSERT INTO rate_bucket (route_id, method, windows, doubted, blocked_until, version) "
    "VALUES (:id, :method, :windows, :doubted, :blocked_until, :version) ON CONFLICT (route_id, method) DO UPDATE SET "
    "windows = excluded.windows, doubted = excluded.doubted, blocked_until = excluded.blocked_until, "
    "version = excluded.version"
)
# What was never sent has no receipt, and is kept as long for the others to read that.
_CLEAN = text("DELETE FROM rate_request WHERE route_id = :id AND received_at < :before AND granted_at < :before")


class RouteState:
    """One key on one route, as this process knows it.

    Args:
        key_name: the key's fingerprint.
        route: Riot's name of the route.
        assumed: the application's windows until they are learned.
        me: this process.
        watch: tells which other processes are dead.
        numbers: gives this process's requests their numbers.
        fixed: the windows where no answer tells any.
    """

    def __init__(
        self,
        key_name: str,
        route: str,
        assumed: tuple[Window, ...],
        me: Owner,
        watch: OwnerWatch,
        numbers: Iterator[int],
        fixed: tuple[Window, ...] = (),
    ) -> None:
        self.where = {"key_name": key_name, "route": route}
        self.assumed = assumed
        self.fixed = fixed
        self.me = me
        self.watch = watch
        self.numbers = numbers
        self.precedence = Precedence()
        self.mirror = Mirror(assumed, fixed)
        # The version that the mirror is at; None: to be read whole.
        self.version: int | None = None
        # The newest version that this process ever saw.
        self.newest = 0
        # The route's clock at the last transaction, and this process's just before it.
        self.last: tuple[float, float] | None = None
        self.beaten = self.watched = self.cleaned = -math.inf
        # Bucket -> when the request was granted whose answer told its windows: older answers may tell older ones.
        self.told: dict[str, float] = {}

    def transact(self, finishes: Sequence[Finish], wishes: Sequence[Wish], held: frozenset[int]) -> Outcome:
        """Write what has ended and grant what may be sent now.

        Args:
            finishes: this process's requests that have ended.
            wishes: what is waited for, first come first.
            held: the numbers of the requests that this process has in flight.

        Raises:
            LedgerError: the database cannot be used. Nothing is granted, and the same finishes may be given again.
        """
        with self._turn(held.union(finish.number for finish in finishes)) as turn:
            for finish in finishes:
                turn.finish(finish)
            return turn.grant(wishes)

    def close(self, finishes: Sequence[Finish]) -> None:
        """Write what has ended, and let go of whatever else this process has in flight."""
        with self._turn(None) as turn:
            for finish in finishes:
                turn.finish(finish)
            turn.let_go({self.me.id})

    @contextmanager
    def _turn(self, held: frozenset[int] | None) -> Iterator["_Turn"]:
        try:
            with ledger_errors(DOMAIN), engine(DOMAIN).begin() as connection:
                turn = _Turn(self, connection)
                if held is not None and turn.reread:
                    turn.withdraw_all_but(held)
                yield turn
                turn.save()
        except BaseException:
            # Whether it was committed or not: the next transaction reads everything anew.
            self.version = None
            raise
        self.version = self.newest = turn.version


class _Turn:
    """One transaction: what it has read, and what it is to write."""

    def __init__(self, state: RouteState, connection: Connection) -> None:
        self._state = state
        self._connection = connection
        self._requests: list[dict[str, Any]] = []
        # Buckets whose windows or block changed.
        self._changed: set[str] = set()
        row = self._lock()
        self._id = row.id
        # A database server that crashed, or was restored, may come back without its last commits; others may have
        # written other ones in their place.
        fell_back = row.version < state.newest
        if fell_back:
            state.version = None
        self._before = time.monotonic()
        if state.last is not None and self._before - state.last[1] > _KEEP_SECONDS:
            # Ends of requests that are in flight here may have been removed since.
            state.version = None
        self.reread = state.version is None
        self._clock, self._offset, lost = self._read_clock(row)
        self.version: int = row.version
        if state.version is None:
            state.mirror = Mirror(state.assumed, state.fixed)
        if state.version != row.version:
            state.mirror.read(connection, self._id, -1 if state.version is None else state.version)
        self._mirror = state.mirror
        for _, log in self._mirror.everything():
            log.prune(self._clock)
        if lost or fell_back:
            self._doubt()
        self._look_after_owners()

    def _lock(self) -> Any:
        statement = _LOCK[self._connection.dialect.name]
        row = self._connection.execute(statement, self._state.where).one_or_none()
        if row is None:
            self._connection.execute(_MAKE, self._state.where)
            row = self._connection.execute(statement, self._state.where).one()
        return row

    def _read_clock(self, row: Any) -> tuple[float, float, bool]:
        """The route's clock now, what it is ahead of the database's, and whether that has lost time."""
        raw = database_clock(self._connection)
        clock = raw + row.clock_offset
        if self._state.last is not None:
            then, before = self._state.last
            clock = min(clock, then + time.monotonic() - before)
        lost = row.clock - clock > _RESTART_SECONDS
        clock = max(clock, row.clock)
        self._state.last = clock, self._before
        return clock, clock - raw, lost

    def _doubt(self) -> None:
        """After a restart the log may lack its last requests: let one answer tell before the next is sent.

        Where answers tell nothing, all that may be missing is waited for.
        """
        for method, log in self._mirror.everything():
            if self._state.fixed:
                log.block(self._clock + log.horizon)
            else:
                log.doubt()
            self._changed.add(method)

    def _look_after_owners(self) -> None:
        state = self._state
        if self._before - state.beaten > BEAT_SECONDS:
            state.me.beat(self._connection, database_clock(self._connection))
            state.beaten = self._before
        owners = {owner for owner, _, _ in self._mirror.application.requests()} - {state.me.id}
        if owners and self._before - state.watched > _WATCH_SECONDS:
            state.watched = self._before
            self.let_go(state.watch.dead(self._connection, owners))

    def let_go(self, owners: set[int]) -> None:
        """Count what these processes have in flight as received soon: they will not say so."""
        for request in self._mirror.application.requests():
            if request[0] in owners:
                self._end(request, self._clock + GONE_SECONDS)

    def withdraw_all_but(self, held: frozenset[int]) -> None:
        """Requests that were granted to this process in a transaction whose end it did not hear of were never sent."""
        for request in self._mirror.application.requests():
            if request[0] == self._state.me.id and request[1] not in held:
                self._end(request, _NEVER)

    def finish(self, finish: Finish) -> None:
        """Write the end of one of this process's requests, and learn what its answer says."""
        request = (self._state.me.id, finish.number, finish.method)
        # Its age by this process's clock, reckoned from before the database's was read: the truth or less.
        received = self._clock - (self._before - finish.at)
        if finish.limits is None:
            received += GONE_SECONDS
        granted = self._mirror.application.granted_at(request)
        if granted is not None or not self._ended(request, received):
            self._end(request, received if finish.sent else _NEVER, finish.weight)
        limits = finish.limits
        if limits is None:
            return
        since = received if granted is None else granted
        self._learn("", limits.application, limits.application_counts, since, received)
        self._learn(finish.method, limits.method, limits.method_counts, since, received)
        if limits.blocked_seconds is not None:
            bucket = "" if limits.blocked_scope == "application" or self._state.fixed else finish.method
            self._mirror.log(bucket).block(received + limits.blocked_seconds * (1 + DRIFT) + MARGIN_SECONDS)
            self._changed.add(bucket)

    def _ended(self, request: Request, received: float) -> bool:
        """Whether the end is written already, so that it must not count twice.

        That is so when the end of the transaction that wrote it was not heard of. Or this process was taken for dead,
        wrongly: then the later of the two counts.
        """
        where = {"owner": request[0], "number": request[1]}
        written = self._connection.execute(_FIND_REQUEST, where).scalar_one_or_none()
        return written is not None and written > received - MARGIN_SECONDS / 2

    def _learn(
        self,
        bucket: str,
        windows: tuple[Window, ...] | None,
        counts: Mapping[float, int] | None,
        granted: float,
        received: float,
    ) -> None:
        log = self._mirror.log(bucket)
        if windows and granted >= self._state.told.get(bucket, -math.inf):
            self._state.told[bucket] = granted
            before = log.learned, log.doubted
            log.learn(windows)
            if (log.learned, log.doubted) != before:
                self._changed.add(bucket)
        for phantom in log.unknown_requests(counts or {}, granted, received):
            log.add(phantom)
            request = (self._state.me.id, next(self._state.numbers), bucket)
            self._write(request, received, received, phantom.number, phantom.seconds)

    def grant(self, wishes: Sequence[Wish]) -> Outcome:
        """Grant what may be sent now."""
        granted: list[int | None] = [None] * len(wishes)
        application, waits = self._mirror.application, {"": math.inf}
        claim = claim_on(application) if self._state.fixed else None
        if claim is not None and claim[0] != self._state.me.id:
            # Its room comes no sooner than any room; from then on it can be looked for only.
            room = application.earliest(self._clock)
            return Outcome(granted, room - self._clock if room > self._clock else math.inf, True)
        # The weight of the first in line, once it must wait.
        first: int | None = None
        for place, (method, weight) in enumerate(wishes):
            if method in waits:
                continue
            if first is not None and not self._passes(first, weight):
                continue
            if not application.admits(self._clock, weight):
                waits[""] = application.earliest(self._clock, weight)
                if not self._state.fixed:
                    break
                first = weight
                self._state.precedence.waits(self._clock, waits[""])
                continue
            log = self._mirror.log(method)
            if log is not application and not log.admits(self._clock, weight):
                waits[method] = log.earliest(self._clock, weight)
                continue
            request = (self._state.me.id, next(self._state.numbers), method)
            self._mirror.grant(request, self._clock, weight)
            self._write(request, self._clock, None, weight)
            granted[place] = request[1]
            if place == 0:
                self._state.precedence.served()
        if not wishes:
            self._state.precedence.served()
        if self._state.fixed:
            self._take_turns(claim, served=not wishes or granted[0] is not None)
        others = any(owner != self._state.me.id for owner, _, _ in application.requests())
        return Outcome(granted, min(waits.values()) - self._clock, others)

    def _passes(self, first: int, weight: int) -> bool:
        """Whether a lighter request may go before the first in line, of weight `first`: it must hardly delay it."""
        application = self._mirror.application
        if weight >= first or not application.admits(self._clock, weight):
            return False
        return self._state.precedence.allows(application.earliest(self._clock, first + weight))

    def _take_turns(self, claim: Request | None, *, served: bool) -> None:
        """Claim the next room where the first in line was overtaken; give up the claim when it was served."""
        if served and claim is not None:
            self._end(claim, _NEVER)
        elif not served and claim is None and self._state.precedence.overtaken(self._clock):
            claim = (self._state.me.id, next(self._state.numbers), "")
            self._mirror.grant(claim, self._clock, CLAIM_WEIGHT)
            self._write(claim, self._clock, None, CLAIM_WEIGHT)

    def _end(self, request: Request, at: float, weight: int | None = None) -> None:
        granted = self._mirror.application.granted_at(request)
        if weight is None:
            known = self._mirror.application.weight_of(request)
            weight = 1 if known is None else known
        self._mirror.finish(request, at, weight)
        if at == _NEVER:
            # Until then others may take it for one in flight.
            granted = self._clock
        self._write(request, at if granted is None else granted, at, weight)

    def _write(
        self, request: Request, granted: float, received: float | None, weight: int, seconds: float | None = None
    ) -> None:
        owner, number, method = request
        row = {"owner": owner, "number": number, "id": self._id, "method": method}
        row |= {"granted_at": granted, "received_at": received, "version": self.version + 1}
        row |= {"seconds": seconds, "weight": weight}
        self._requests.append(row)

    def save(self) -> None:
        """Write everything, under a new version if it is news to others."""
        if self._requests or self._changed:
            self.version += 1
            if self._requests:
                self._connection.execute(_WRITE_REQUEST, self._requests)
            if self._changed:
                self._connection.execute(_WRITE_BUCKET, [self._bucket(method) for method in self._changed])
            values = {"id": self._id, "version": self.version, "clock": self._clock, "clock_offset": self._offset}
            self._connection.execute(_SAVE, values)
        if self._before - self._state.cleaned > _CLEAN_SECONDS:
            self._state.cleaned = self._before
            keep = max(log.horizon for _, log in self._mirror.everything()) + _KEEP_SECONDS
            self._connection.execute(_CLEAN, {"id": self._id, "before": self._clock - keep})

    def _bucket(self, method: str) -> dict[str, Any]:
        log = self._mirror.log(method)
        row = {"id": self._id, "method": method, "version": self.version}
        row["doubted"] = log.doubted
        row["windows"] = None if log.learned is None else format_windows(log.learned)
        row["blocked_until"] = None if log.blocked_until == -math.inf else log.blocked_until
        return row
