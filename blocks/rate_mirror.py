"""A process's picture of one key on one route, read from the database `rates`; and what `read_rates` shows of it."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text

from blocks.engine import engine, ledger_errors
from blocks.rate_window import Phantom, RateLog, Window, parse_windows

DOMAIN = "rates"

#: Owner, number and method of a request.
Request = tuple[int, int, str]

_SERVER_CLOCK = text("SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)")
_NEW_BUCKETS = text(
    "SELECT method, windows, doubted, blocked_until FROM rate_bucket WHERE route_id = :id AND version > :version"
)
# In the order of receipt, which spares the log sorting them when it is read whole.
_NEW_REQUESTS = text(
    "SELECT owner, number, method, granted_at, received_at, seconds, weight FROM rate_request "
    "WHERE route_id = :id AND version > :version ORDER BY received_at"
)
_USES = text(
    "SELECT rate_request.received_at, rate_request.weight FROM rate_request JOIN rate_route "
    "ON rate_route.id = rate_request.route_id WHERE rate_route.key_name = :key_name AND rate_route.route = :route "
    "AND (rate_request.received_at IS NULL OR rate_request.received_at > 0)"
)
_ROUTES = text("SELECT id, route, clock, clock_offset FROM rate_route WHERE key_name = :key_name ORDER BY route")


@dataclass(frozen=True, slots=True)
class BucketUse:
    """What one bucket is at. `method` is None for the application's; not `learned`: its windows are not known."""

    route: str
    method: str | None
    learned: bool
    used: tuple[tuple[Window, int], ...]
    in_flight: int
    blocked_seconds: float


class Mirror:
    """The buckets of one key on one route in memory.

    Args:
        assumed: the application's windows until they are learned.
        fixed: the application's windows where no answer tells any; methods have none of their own then.
    """

    def __init__(self, assumed: tuple[Window, ...] = (), fixed: tuple[Window, ...] = ()) -> None:
        self.fixed = fixed
        self.application: RateLog[Request] = RateLog(fixed or None, assumed)
        self.methods: dict[str, RateLog[Request]] = {}

    def log(self, method: str) -> RateLog[Request]:
        """A method's bucket; the application's where the method is empty, or has none."""
        if not method or self.fixed:
            return self.application
        return self.methods.setdefault(method, RateLog())

    def logs(self, method: str) -> tuple[RateLog[Request], ...]:
        """The buckets that a request of a method counts in."""
        return (self.application,) if self.fixed else (self.application, self.log(method))

    def everything(self) -> Iterator[tuple[str, RateLog[Request]]]:
        """All buckets by their methods."""
        yield "", self.application
        yield from self.methods.items()

    def grant(self, request: Request, at: float, weight: int) -> None:
        """A request is in flight."""
        for log in self.logs(request[2]):
            log.grant(request, at, weight)

    def finish(self, request: Request, at: float, weight: int) -> None:
        """It has ended; at zero: it was never sent."""
        for log in self.logs(request[2]):
            if at > 0:
                log.finish(request, at, weight)
            else:
                log.withdraw(request)

    def read(self, connection: Connection, route_id: int, version: int) -> None:
        """Take what was written after `version`."""
        since = {"id": route_id, "version": version}
        for row in connection.execute(_NEW_BUCKETS, since):
            log = self.log(row.method)
            if not self.fixed:
                log.learn(parse_windows(row.windows) if row.windows else None)
            if row.doubted:
                log.doubt()
            if row.blocked_until is not None:
                log.block(row.blocked_until)
        for row in connection.execute(_NEW_REQUESTS, since):
            if row.seconds is not None:
                self.log(row.method).add(Phantom(row.seconds, row.weight, row.received_at))
            elif row.received_at is None:
                self.grant((row.owner, row.number, row.method), row.granted_at, row.weight)
            else:
                self.finish((row.owner, row.number, row.method), row.received_at, row.weight)


def database_clock(connection: Connection) -> float:
    """The clock that all processes of the database share, in seconds."""
    if connection.dialect.name == "sqlite":
        # The same for all processes of a machine, and it never goes back before the machine restarts.
        return time.monotonic()
    return float(connection.execute(_SERVER_CLOCK).scalar_one())


def read_rates(key_name: str, fixed: Mapping[str, tuple[Window, ...]] | None = None) -> list[BucketUse]:
    """What each bucket of a key is at, on all its routes.

    Args:
        key_name: the key's fingerprint, as given to `RateLedger`.
        fixed: its windows by route, likewise.

    Raises:
        LedgerOutdatedError: the database has no tables yet; the text says what to run.
        LedgerUnreadableError: it cannot be reached.
    """
    found = []
    with ledger_errors(DOMAIN), engine(DOMAIN).execution_options(read_only=True).connect() as connection:
        for row in connection.execute(_ROUTES, {"key_name": key_name}).all():
            mirror = Mirror(fixed=(fixed or {}).get(row.route, ()))
            mirror.read(connection, row.id, -1)
            now = max(database_clock(connection) + row.clock_offset, row.clock)
            for method, log in mirror.everything():
                blocked = max(0.0, log.blocked_until - now)
                used = tuple(log.used(now))
                found.append(
                    BucketUse(row.route, method or None, log.learned is not None, used, log.in_flight, blocked)
                )
    return found


def read_uses(key_name: str, route: str) -> list[tuple[float, int]]:
    """The requests of one route that may still count in a window: how many seconds ago each came, and its weight.

    Args:
        key_name: the key's fingerprint, as given to `RateLedger`.
        route: which; for requests in flight the time is 0.

    Raises:
        LedgerOutdatedError: the database has no tables yet; the text says what to run.
        LedgerUnreadableError: it cannot be reached.
    """
    with ledger_errors(DOMAIN), engine(DOMAIN).execution_options(read_only=True).connect() as connection:
        rows = connection.execute(_ROUTES, {"key_name": key_name}).all()
        here = next((row for row in rows if row.route == route), None)
        if here is None:
            return []
        now = max(database_clock(connection) + here.clock_offset, here.clock)
        uses = connection.execute(_USES, {"key_name": key_name, "route": route})
        return [(0.0 if at is None else max(0.0, now - at), weight) for at, weight in uses]
