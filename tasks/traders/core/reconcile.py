"""Compares snapshots with what trades have made of the positions, and puts right what differs.

The first snapshot of a trader on a dex is its baseline (see `baseline`); each later one is compared. A snapshot waits
until the trades up to its time are applied, so that both tell of the same moment. Where no stream brings more trades
there is nothing to wait for: then what is stored is applied first, and the rest of the difference is what happened
unseen.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import delete, exists, update
from sqlalchemy import select as sa_select
from sqlmodel import Session, col, or_, select

from tasks.foundation.core.upsert import upsert_rows
from tasks.traders.core.baseline import start_from
from tasks.traders.core.book import Book
from tasks.traders.core.coins import dex_of, is_spot
from tasks.traders.core.comparison import Later, compare
from tasks.traders.core.coverage import whole_time
from tasks.traders.core.cursors import lock_cursor
from tasks.traders.core.fold import POSITIONS
from tasks.traders.core.leases import DISCOVERY
from tasks.traders.core.positions import Net, netted, total
from tasks.traders.core.snapshots import from_json
from tasks.traders.core.tables import Coin, Gap, GapState, Lease, Poll, PositionEvent, Snapshot, Source
from tasks.traders.core.tape import among, trades_of

#: A discovery that was killed is started again every half hour at the latest; the gap it left is then filled.
RESTART = timedelta(minutes=35)


class Reconciled(NamedTuple):
    """What one step did."""

    snapshots: int
    #: Positions of followed coins that were compared, and how many of them differed.
    compared: int
    drifted: int
    events: int
    #: There are snapshots to go on with.
    more: bool


class _Work(NamedTuple):
    """A snapshot that is to be taken, with the poll it belongs to."""

    snapshot: Snapshot
    poll: Poll
    #: Trades up to here are in the positions.
    applied: int

    @property
    def key(self) -> tuple[int, str]:
        return self.snapshot.trader_id, self.snapshot.dex


def reconcile(session: Session, *, now: datetime, limit: int, restart: timedelta = RESTART) -> Reconciled:
    """Take the snapshots whose time has come, oldest first.

    Of each trader and dex, one a step. A snapshot older than one that was taken before tells nothing more.

    Args:
        session: the transaction; nothing is committed. Others who fold or reconcile wait until it ends.
        now: the moment events are found, and by which it is told whether a stream is to be waited for.
        limit: snapshots at most.
        restart: for how long a discovery that died is waited for.
    """
    cursor = lock_cursor(session, POSITIONS)
    followed = _followed(session)
    wanted, whole = select(Snapshot), whole_time(session)
    unfolded = whole is not None and (cursor.time is None or cursor.time < whole)
    if unfolded or _stream_expected(session, now - restart):
        waiting = {dex_of(coin) for coin in followed}
        ready = col(Snapshot.dex).not_in(sorted(waiting))
        wanted = wanted.where(ready if cursor.time is None else or_(ready, col(Snapshot.time) <= cursor.time))
    found = session.exec(wanted.order_by(col(Snapshot.time), col(Snapshot.id)).limit(limit + 1)).all()
    snapshots: dict[tuple[int, str], Snapshot] = {}
    for snapshot in found[:limit]:
        snapshots.setdefault((snapshot.trader_id, snapshot.dex), snapshot)
    if not snapshots:
        return Reconciled(0, 0, 0, 0, False)
    compared, drifted, events = _take(session, list(snapshots.values()), cursor.time, followed, now)
    taken = [snapshot.id for snapshot in snapshots.values() if snapshot.id is not None]
    session.connection().execute(delete(Snapshot).where(col(Snapshot.id).in_(among(session, taken))))
    session.expire_all()
    return Reconciled(len(snapshots), compared, drifted, events, len(found) > len(snapshots))


def _stream_expected(session: Session, since: datetime) -> bool:
    lease = session.get(Lease, DISCOVERY, populate_existing=True)
    return lease is not None and lease.until_at > since


def _followed(session: Session) -> frozenset[str]:
    """Coins whose trades are, or will again be, applied without a hole."""
    has_gap = exists().where(col(Gap.coin) == col(Coin.coin), col(Gap.state) == GapState.OPEN)
    coins = session.exec(select(Coin.coin).where(or_(col(Coin.subscribed), has_gap)))
    return frozenset(coin for coin in coins if not is_spot(coin))


def _take(
    session: Session, snapshots: list[Snapshot], folded: int | None, followed: frozenset[str], now: datetime
) -> tuple[int, int, int]:
    # The poll of a snapshot that waited long may have been cleaned away.
    missing = [Poll(trader_id=one.trader_id, dex=one.dex, snapshot_time=one.time).model_dump() for one in snapshots]
    upsert_rows(session, Poll, missing, key=("trader_id", "dex"))
    traders = {snapshot.trader_id for snapshot in snapshots}
    of_traders = select(Poll).where(col(Poll.trader_id).in_(among(session, traders)))
    polls = session.exec(of_traders.execution_options(populate_existing=True)).all()
    by_key = {(poll.trader_id, poll.dex): poll for poll in polls}
    works = []
    for snapshot in snapshots:
        poll = by_key[snapshot.trader_id, snapshot.dex]
        if poll.reconciled_time is None or poll.reconciled_time < snapshot.time:
            applied = max(-1 if time is None else time for time in (folded, poll.reconciled_time))
            works.append(_Work(snapshot, poll, applied))
    book = Book(session, {work.snapshot.trader_id for work in works})
    first = [work for work in works if work.poll.baseline_time is None]
    known = [work for work in works if work.poll.baseline_time is not None]
    counts = []
    if first:
        _start(session, book, first, -1 if folded is None else folded, followed)
    if known:
        counts = _compare(session, book, known, followed)
    events = book.write(now)
    _note(session, works, counts)
    return sum(compared for _, compared, _ in counts), sum(drifted for _, _, drifted in counts), events


def _of_dexes(nets: Iterable[Net]) -> dict[tuple[int, str], list[Net]]:
    sorted_out: dict[tuple[int, str], list[Net]] = defaultdict(list)
    for net in nets:
        if not is_spot(net.coin):
            sorted_out[net.trader_id, dex_of(net.coin)].append(net)
    return sorted_out


def _start(session: Session, book: Book, works: list[_Work], folded: int, followed: frozenset[str]) -> None:
    firsts = {work.snapshot.trader_id: book.first_times[work.snapshot.trader_id] for work in works}
    # Who was only asked for has no trades.
    traders = [trader_id for trader_id, first in firsts.items() if first is not None]
    since = min((first for first in firsts.values() if first is not None), default=0)
    until = max(folded, *(work.snapshot.time for work in works))
    nets = _of_dexes(netted(trades_of(session, traders, since=since, until=until)))
    gaps = select(Gap.coin, Gap.from_time, Gap.to_time).where(col(Gap.state) == GapState.PARTIAL)
    holes: dict[str, list[tuple[int, int | None]]] = defaultdict(list)
    for coin, begins, ends in session.exec(gaps.where(or_(col(Gap.to_time).is_(None), col(Gap.to_time) >= since))):
        holes[coin].append((begins, ends))
    for work in works:
        start_from(
            book,
            *work.key,
            work.snapshot.time,
            from_json(work.snapshot.positions),
            [net for net in nets[work.key] if net.time <= max(folded, work.snapshot.time)],
            followed=followed if work.snapshot.time <= folded else frozenset(),
            holes=holes,
        )


def _compare(
    session: Session, book: Book, works: list[_Work], followed: frozenset[str]
) -> list[tuple[tuple[int, str], int, int]]:
    ahead = [work for work in works if work.snapshot.time > work.applied]
    nets = _of_dexes(
        netted(
            trades_of(
                session,
                {work.snapshot.trader_id for work in ahead},
                since=min((work.applied + 1 for work in ahead), default=0),
                until=max((work.snapshot.time for work in ahead), default=0),
            )
        )
    )
    later = _later(session, [work for work in works if work.snapshot.time < work.applied])
    counts = []
    for work in works:
        for net in nets[work.key]:
            if work.applied < net.time <= work.snapshot.time:
                book.apply(net)
        covered = followed if work.snapshot.time <= work.applied else frozenset()
        compared, drifted = compare(
            session,
            book,
            work.snapshot,
            reconciled_time=work.poll.reconciled_time or 0,
            later=later[work.key],
            followed=covered,
        )
        counts.append((work.key, compared, drifted))
    return counts


def _later(session: Session, works: list[_Work]) -> dict[tuple[int, str], dict[str, list[Later]]]:
    """What trades have changed since each snapshot, by coin."""
    later: dict[tuple[int, str], dict[str, list[Later]]] = defaultdict(lambda: defaultdict(list))
    if not works:
        return later
    times = {work.key: work.snapshot.time for work in works}
    table = PositionEvent.__table__  # type: ignore[attr-defined]
    wanted = (
        sa_select(*(table.c[name] for name in ("trader_id", "coin", "time", "size_before", "size_after", "px")))
        .where(
            table.c.trader_id.in_(among(session, {trader_id for trader_id, _ in times})),
            table.c.time > min(times.values()),
            table.c.source == Source.STREAM,
        )
        .order_by(table.c.time)
    )
    for trader_id, coin, time, size_before, size_after, px in session.connection().execute(wanted):
        key = trader_id, dex_of(coin)
        if key in times and time > times[key]:
            later[key][coin].append(Later(time, total((size_after, size_before.copy_negate())), px))
    return later


def _note(session: Session, works: list[_Work], counts: list[tuple[tuple[int, str], int, int]]) -> None:
    counted = {key: (compared, drifted) for key, compared, drifted in counts}
    for work in sorted(works, key=lambda work: work.key):
        compared, drifted = counted.get(work.key, (0, 0))
        of_poll = update(Poll).where(col(Poll.trader_id) == work.key[0], col(Poll.dex) == work.key[1])
        values = {
            "reconciled_time": work.snapshot.time,
            "baseline_time": work.poll.baseline_time or work.snapshot.time,
            "compared": Poll.compared + compared,
            "drifted": Poll.drifted + drifted,
        }
        session.connection().execute(of_poll.values(values))
