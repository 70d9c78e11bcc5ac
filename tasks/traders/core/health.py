"""What the traders ledger itself tells of its health: stream, gaps, positions, polls, what waits to be published."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlmodel import Session, col, func, select

from tasks.traders.core import outbox
from tasks.traders.core.coverage import whole_time
from tasks.traders.core.due import queue
from tasks.traders.core.leases import DISCOVERY
from tasks.traders.core.tables import Coin, Gap, GapState, Lease, Snapshot, TrackingRun, Trade

#: Trades are counted over so long.
_RATE = timedelta(minutes=5)
#: Runs of the tracking are looked at over so long.
_RUNS = timedelta(hours=1)
_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)
#: Fewer compared positions say nothing about drift.
_COMPARED = 100


class Level(StrEnum):
    """How something is; FAILING needs a person."""

    OK = "OK"
    DEGRADED = "DEGRADED"
    FAILING = "FAILING"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    level: Level
    what: str
    #: Empty where nothing is.
    what_to_do: str = ""


def fine(name: str, what: str) -> Finding:
    """Something that is as it should be."""
    return Finding(name, Level.OK, what)


def ledger_findings(session: Session, now: datetime) -> Iterator[Finding]:
    """Look at all that the ledger tells.

    Args:
        session: a transaction; nothing is changed.
        now: our own clock; the exchange's is taken for the same.
    """
    lease = session.get(Lease, DISCOVERY)
    alive = lease is not None and lease.until_at > now
    yield _stream(session, lease, now)
    yield _whole(session, alive, now)
    yield _gaps(session, now)
    yield _snapshots(session, now)
    yield _published(session, now)
    yield _due(session, now)
    yield from _tracking(session, now)


def _stream(session: Session, lease: Lease | None, now: datetime) -> Finding:
    if lease is None:
        return Finding(
            "stream", Level.DEGRADED, "nobody follows it", "start traders-discover, or switch its schedule on"
        )
    if lease.until_at <= now:
        what = f"who followed it was killed {_span(now - lease.until_at)} ago"
        return Finding("stream", Level.FAILING, what, "start traders-discover: it fills the gap as far as it can")
    since = _milliseconds(now - _RATE)
    trades = session.exec(select(func.count()).select_from(Trade).where(col(Trade.time) > since)).one()
    coins = session.exec(select(func.count()).select_from(Coin).where(col(Coin.subscribed))).one()
    what = f"{trades / _RATE.total_seconds():.1f} trades a second of {coins} coins, over {_span(_RATE)}"
    if not coins or not trades:
        return Finding("stream", Level.DEGRADED, what, "see the log of traders-discover for what the exchange says")
    return fine("stream", what)


def _whole(session: Session, alive: bool, now: datetime) -> Finding:
    whole = whole_time(session)
    if whole is None:
        return fine("whole up to", "no coin is followed yet")
    lag = timedelta(milliseconds=max(0, _milliseconds(now) - whole))
    what = f"positions can be told up to {_span(lag)} ago"
    if not alive or lag <= _MINUTE:
        return fine("whole up to", what)
    level = Level.FAILING if lag > _HOUR else Level.DEGRADED
    return Finding("whole up to", level, what, "a coin without trades holds all back: see the coins and gaps")


def _gaps(session: Session, now: datetime) -> Finding:
    of_state = select(Gap.state, func.count(), func.min(Gap.opened_at)).group_by(col(Gap.state))
    known = {GapState(state): (number, oldest) for state, number, oldest in session.exec(of_state)}
    number, oldest = known.get(GapState.OPEN, (0, now))
    filled, partial = (known.get(state, (0, now))[0] for state in (GapState.FILLED, GapState.PARTIAL))
    what = f"{number} open, {filled} filled, {partial} filled in part"
    if number and now - oldest > 10 * _MINUTE:
        what += f"; the oldest is open for {_span(now - oldest)}"
        return Finding("gaps", Level.DEGRADED, what, "they are filled while traders-discover runs and weight is left")
    return fine("gaps", what)


def _snapshots(session: Session, now: datetime) -> Finding:
    number, oldest = session.exec(select(func.count(), func.min(Snapshot.fetched_at))).one()
    what = f"{number} wait until the stream has come to their time"
    if oldest is not None and now - oldest > 10 * _MINUTE:
        what += f", the oldest for {_span(now - oldest)}"
        return Finding("snapshots", Level.DEGRADED, what, "see the stream and its gaps above")
    return fine("snapshots", what)


def _published(session: Session, now: datetime) -> Finding:
    waits = outbox.waiting(session)
    if waits.oldest is None:
        return fine("events", "all are published")
    age = now - waits.oldest
    what = f"{waits.events:,} wait to be published, the oldest for {_span(age)}"
    if age <= 5 * _MINUTE:
        return fine("events", what)
    level = Level.FAILING if age > _HOUR else Level.DEGRADED
    return Finding("events", level, what, "see Redis below, and whether discovery or tracking runs")


def _due(session: Session, now: datetime) -> Finding:
    due = queue(session, now=now)
    what = f"{due.polls:,} due, {due.never:,} of them never polled; {due.waiting:,} failed and wait"
    if due.oldest_time is None:
        return fine("polls", what)
    age = timedelta(milliseconds=max(0, _milliseconds(now) - due.oldest_time))
    what += f"; the oldest snapshot is {_span(age)} old"
    # Who had not traded for long is due with an old snapshot, and polled soon: the queue alone is no fault.
    if age > _HOUR and due.polls > _polled(session, now):
        return Finding("polls", Level.DEGRADED, what, "more is due than the weight permits: follow fewer coins")
    return fine("polls", what)


def _polled(session: Session, now: datetime) -> int:
    recent = select(func.sum(TrackingRun.polled)).where(col(TrackingRun.started_at) > now - _RUNS)
    return int(session.exec(recent).one() or 0)


def _tracking(session: Session, now: datetime) -> Iterator[Finding]:
    last = session.exec(select(func.max(TrackingRun.ended_at))).one()
    if last is None:
        yield Finding("tracking", Level.DEGRADED, "it never ran", "start traders-track, or switch its schedule on")
        return
    what = f"the last run ended {_span(now - last)} ago"
    if now - last > 10 * _MINUTE:
        yield Finding("tracking", Level.DEGRADED, what, "start traders-track, or switch its schedule on")
    else:
        yield fine("tracking", what)
    sums = select(func.sum(TrackingRun.weight), func.sum(TrackingRun.permitted_weight), func.sum(TrackingRun.http_429))
    recent = (col(TrackingRun.started_at) > now - _RUNS, col(TrackingRun.ended_at).is_not(None))
    weight, permitted, http_429 = (int(each or 0) for each in session.exec(sums.where(*recent)).one())
    share = f", {100 * weight / permitted:.0f} %" if permitted else ""
    what = f"{weight:,} of {permitted:,} permitted in the runs of {_span(_RUNS)}{share}; {http_429} answers 429"
    if http_429:
        advice = "another program calls from this address: stop it, or name another address in QUINTET_TRADERS__EGRESS"
        yield Finding("weight", Level.DEGRADED, what, advice)
    else:
        yield fine("weight", what)
    yield _drift(session, now)


def _drift(session: Session, now: datetime) -> Finding:
    sums = select(func.sum(TrackingRun.compared), func.sum(TrackingRun.drifted))
    compared, drifted = (
        int(each or 0) for each in session.exec(sums.where(col(TrackingRun.started_at) > now - _RUNS)).one()
    )
    what = f"{drifted:,} of {compared:,} compared positions differed in {_span(_RUNS)}"
    if compared < _COMPARED or drifted * 100 <= compared:
        return fine("drift", what)
    level = Level.FAILING if drifted * 10 > compared else Level.DEGRADED
    return Finding("drift", level, what, "trades were missed: see the gaps; snapshots put positions right meanwhile")


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _span(time: timedelta) -> str:
    seconds = time.total_seconds()
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} hours" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
