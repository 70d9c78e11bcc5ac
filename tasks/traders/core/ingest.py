"""Storing trades: every one that is received is stored, a duplicate or rejected, and counted in that transaction.

A trade is known by its block's time, its coin and its `tid`. What comes again (a stream replays trades when it is
subscribed, a gap is filled with more than was missing) is a duplicate. A user's fill tells one party of a trade only;
the row is completed when the other party's fill comes, or the public trade.

Rows are written in one order by everybody (traders by address, then trades by key, then polls and coins), so that
writers wait for each other instead of ending in a deadlock.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, cast

from sqlalchemy import bindparam, delete, func, insert, select, text, update
from sqlmodel import Session, col

from tasks.foundation.core.escaping import printable
from tasks.traders.core import ingest_postgresql, ingest_sqlite
from tasks.traders.core.dexes import note_dexes
from tasks.traders.core.tables import Coin, Cursor, Rejection, Stream, StreamKind
from tasks.traders.core.trade_rows import TradeRow, Written

#: Cursor of the positions: trades up to its time have been applied.
POSITIONS_CURSOR = "positions"
#: A stream keeps so many of its newest rejections.
REJECTIONS_KEPT = 100

_APPLIED = select(col(Cursor.time)).where(col(Cursor.name) == POSITIONS_CURSOR)


class Rejected(NamedTuple):
    """A trade or frame that could not be taken, and the beginning of it."""

    reason: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What one stream received since its last batch.

    Attributes:
        stream_id: the `Stream` row that it is counted in.
        trades: good ones, in any order and with any repetitions.
        rejected: how many trades more were received and not taken.
        rejections: why, the newest of them; those of frames that could not be read as well.
        frames: received, whatever they were.
        empty_frames: of these, such without any trade.
        control_frames: such that are about the connection.
        error_frames: such that tell of an error.
        unreadable_frames: such that could not be read.
    """

    stream_id: int
    trades: Sequence[TradeRow] = ()
    rejected: int = 0
    rejections: Sequence[Rejected] = ()
    frames: int = 0
    empty_frames: int = 0
    control_frames: int = 0
    error_frames: int = 0
    unreadable_frames: int = 0


class Stored(NamedTuple):
    """What became of a batch's trades; `stored + duplicates + rejected` is all that were received."""

    stored: int = 0
    duplicates: int = 0
    rejected: int = 0
    #: Of these, such that positions had gone past already: new ones, and completed ones.
    late: int = 0


def open_stream(session: Session, kind: StreamKind, coins: Iterable[str], now: datetime) -> int:
    """Begin the account of a connection, or of what a gap is filled with; gives its id."""
    stream = Stream(kind=kind, coins=",".join(coins), started_at=now)
    session.add(stream)
    session.flush()
    return cast(int, stream.id)


def end_stream(session: Session, stream_id: int, reason: str, now: datetime) -> None:
    """Say when and why a stream ended."""
    ended = update(Stream).where(col(Stream.id) == stream_id)
    session.connection().execute(ended.values(ended_at=now, ended_for=printable(reason, length=200)))


def store(session: Session, batch: Batch, now: datetime) -> Stored:
    """Store a batch: its trades, their traders, and in the same transaction the counts of its stream.

    Args:
        session: the transaction; nothing is committed.
        batch: what was received.
        now: our own clock.

    Raises:
        ValueError: there is no such stream.
    """
    merged = _merge(batch.trades)
    written = Written()
    if merged:
        rows = sorted(merged.values())
        write = ingest_postgresql.write if session.get_bind().dialect.name == "postgresql" else ingest_sqlite.write
        written = write(session.connection(), rows, applied=_applied(session, rows[0].time), now=now)
        note_dexes(session, rows)
        _see_coins(session, rows)
    received = len(batch.trades)
    stored = Stored(written.stored, received - written.stored, batch.rejected, written.late)
    counted = session.connection().execute(
        _COUNT, {"id": batch.stream_id, "now": now, "received": received, **_counts(batch), **stored._asdict()}
    )
    if counted.rowcount != 1:
        raise ValueError(f"there is no stream {batch.stream_id}")
    if batch.rejections:
        _keep_rejections(session, batch.stream_id, batch.rejections, now)
    return stored


_COUNT = text(
    "UPDATE traders_stream SET written_at = :now, frames = frames + :frames, empty_frames = empty_frames + "
    ":empty_frames, control_frames = control_frames + :control_frames, error_frames = error_frames + :error_frames, "
    "unreadable_frames = unreadable_frames + :unreadable_frames, trades = trades + :received + :rejected, "
    "stored = stored + :stored, duplicates = duplicates + :duplicates, rejected = rejected + :rejected, "
    "late = late + :late WHERE id = :id"
).bindparams(bindparam("now", type_=Stream.__table__.c.written_at.type))  # type: ignore[attr-defined]


def _counts(batch: Batch) -> dict[str, int]:
    names = ("frames", "empty_frames", "control_frames", "error_frames", "unreadable_frames")
    return {name: getattr(batch, name) for name in names}


def _merge(trades: Sequence[TradeRow]) -> dict[tuple[int, str, int], TradeRow]:
    """Each trade once; the parties of those that are known by halves put together."""
    merged = {trade[:3]: trade for trade in trades}
    if len(merged) < len(trades):
        merged = {}
        for trade in trades:
            other = merged.setdefault(trade[:3], trade)
            if other is not trade and (other.buyer is None or other.seller is None):
                merged[trade[:3]] = other._replace(
                    buyer=other.buyer or trade.buyer, seller=other.seller or trade.seller
                )
    return merged


def _applied(session: Session, earliest: int) -> int | None:
    """Up to where trades have been applied to positions; None where no trade of the batch can be so old.

    Positions go no further than some coin is whole. Where a trade may be late, the cursor is held until the end of the
    transaction: a trade is then either counted as late or seen by who applies it.
    """
    connection = session.connection()
    whole = connection.execute(select(func.max(col(Coin.whole_time)))).scalar()
    applied = connection.execute(_APPLIED).scalar()
    furthest = max((time for time in (whole, applied) if time is not None), default=None)
    if furthest is None or earliest > furthest:
        return None
    return connection.execute(_APPLIED.with_for_update(read=True)).scalar()


_SEE = text("UPDATE traders_coin SET seen_time = :seen WHERE coin = :coin AND (seen_time IS NULL OR seen_time < :seen)")


def _see_coins(session: Session, rows: Sequence[TradeRow]) -> None:
    # Ordered by time: the last one of a coin is its newest.
    newest = {row.coin: row.time for row in rows}
    session.connection().execute(_SEE, [{"coin": coin, "seen": newest[coin]} for coin in sorted(newest)])


def _keep_rejections(session: Session, stream_id: int, rejections: Sequence[Rejected], now: datetime) -> None:
    connection = session.connection()
    newest = rejections[-REJECTIONS_KEPT:]
    connection.execute(
        insert(Rejection),
        [
            {
                "stream_id": stream_id,
                "received_at": now,
                "reason": printable(each.reason, length=300),
                "excerpt": printable(each.excerpt, length=500),
            }
            for each in newest
        ],
    )
    of_stream = select(col(Rejection.id)).where(col(Rejection.stream_id) == stream_id)
    oldest_kept = of_stream.order_by(col(Rejection.id).desc()).offset(REJECTIONS_KEPT - 1).limit(1).scalar_subquery()
    connection.execute(delete(Rejection).where(col(Rejection.stream_id) == stream_id, col(Rejection.id) < oldest_kept))
