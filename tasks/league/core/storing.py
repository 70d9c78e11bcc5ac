"""Stores matches and timelines: everything that one answer of the API says, in the caller's transaction.

A match is its row, its participants, its players, the statistics it adds to, the payload it was read from, and the
fetch that is thereby done. Who inserts the match's row adds the statistics, and nobody else: of two transactions that
store one match at once the second waits for the first, and then finds nothing to do. Storing is idempotent.

One transaction stores one match: players are locked in the order of their puuids, which two transactions that each
store several matches would not keep to (PostgreSQL would end one of them with a deadlock).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, case, delete, func, or_
from sqlmodel import Session, col, select

from tasks.foundation.core.upsert import insert_unless_present, upsert_rows
from tasks.league.core import fetches, payloads, statistics
from tasks.league.core.participants import MatchRows, Sighting, read_match, read_timeline
from tasks.league.core.tables import (
    BOT_PUUID,
    DERIVATION,
    FetchKind,
    Match,
    Participant,
    Payload,
    Summoner,
    Timeline,
)

_MATCH_COLUMNS = tuple(name for name in Match.model_fields if name != "match_id")
_TIMELINE_COLUMNS = tuple(name for name in Timeline.model_fields if name != "match_id")


@dataclass(frozen=True)
class StoredMatch:
    """What storing a match came to."""

    match_id: str
    platform: str
    #: None for a game that never began.
    year: int | None
    #: All, bots included.
    participants: int
    #: The players, without bots.
    puuids: tuple[str, ...] = field(repr=False)
    #: It was not stored before.
    created: bool
    #: It was stored before, but from another answer, by other rules, or not whole; its rows were replaced.
    corrected: bool


@dataclass(frozen=True)
class StoredTimeline:
    """What storing a timeline came to."""

    match_id: str
    created: bool
    corrected: bool


def _newest(new: Any) -> dict[str, ColumnElement[Any]]:
    """How a player's row changes by a game: the later game tells, and of two of one moment the greater name."""
    old: Any = Summoner

    def later(old_moment: Any, new_moment: Any, greater: Any) -> Any:
        """Whether the new row tells; a moment that is not known is before all others."""
        after = and_(new_moment.is_not(None), or_(old_moment.is_(None), new_moment > old_moment))
        return or_(after, and_(new_moment.is_not_distinct_from(old_moment), greater))

    same_name = and_(new.game_name == old.game_name, new.tag_line > old.tag_line)
    greater = or_(old.game_name.is_(None), new.game_name > old.game_name, same_name)
    renamed = and_(new.game_name.is_not(None), later(old.named_at, new.named_at, greater))
    moved = later(old.seen_at, new.seen_at, new.platform > old.platform)
    return {
        "game_name": case((renamed, new.game_name), else_=old.game_name),
        "tag_line": case((renamed, new.tag_line), else_=old.tag_line),
        "named_at": case((renamed, new.named_at), else_=old.named_at),
        "platform": case((moved, new.platform), else_=old.platform),
        "seen_at": case((moved, new.seen_at), else_=old.seen_at),
    }


def _meet(session: Session, sightings: Iterable[Sighting]) -> None:
    """Write the players' rows, and thereby lock them."""
    rows = [
        {
            "puuid": sighting.puuid,
            "game_name": sighting.game_name,
            "tag_line": sighting.tag_line,
            "named_at": sighting.seen if sighting.game_name else None,
            "platform": sighting.platform,
            "seen_at": sighting.seen,
            "tracked": False,
        }
        for sighting in sightings
    ]
    upsert_rows(session, Summoner, rows, key=("puuid",), update=_newest)


def _insert_participants(session: Session, rows: MatchRows) -> None:
    upsert_rows(session, Participant, rows.participants, key=("match_id", "participant_id"))


def _is_whole(session: Session, rows: MatchRows, digest: str) -> bool:
    """Whether the match is stored from these very bytes, by today's rules, with all its participants."""
    participants = (
        select(func.count())
        .select_from(Participant)
        .where(col(Participant.match_id) == rows.match_id)
        .scalar_subquery()
    )
    found = session.connection().execute(
        select(col(Payload.content_sha256), col(Match.derivation), participants)
        .join(Match, col(Match.match_id) == col(Payload.match_id))
        .where(col(Payload.match_id) == rows.match_id, col(Payload.kind) == FetchKind.MATCH)
    )
    return tuple(found.one_or_none() or ()) == (digest, DERIVATION, len(rows.participants))


def _replace(session: Session, rows: MatchRows) -> None:
    """Put these rows in place of those that are stored, and set the statistics of all concerned right."""
    before = session.connection().execute(
        select(Match.year, Match.platform).where(col(Match.match_id) == rows.match_id).with_for_update()
    )
    years = {tuple(row) for row in before} | {(rows.match["year"], rows.match["platform"])}
    former = _players(session, [rows.match_id])
    # Those who only the former rows name are written as well, without a name: all are locked in one order.
    gone = [Sighting(puuid, rows.match["platform"], None, None, None) for puuid in former - set(rows.puuids)]
    _meet(session, [*rows.sightings, *gone])
    session.connection().execute(delete(Participant).where(col(Participant.match_id) == rows.match_id))
    upsert_rows(session, Match, [rows.match], key=("match_id",), update=_MATCH_COLUMNS)
    _insert_participants(session, rows)
    for year, platform in sorted(years, key=str):
        if year is not None:
            statistics.recompute(session, puuid=former | set(rows.puuids), year=year, platform=platform)


def _players(session: Session, match_ids: list[str]) -> set[str]:
    wanted = select(col(Participant.puuid)).where(
        col(Participant.match_id).in_(match_ids), col(Participant.puuid) != BOT_PUUID
    )
    return set(session.connection().execute(wanted.distinct()).scalars())


def _stored(rows: MatchRows, *, created: bool, corrected: bool) -> StoredMatch:
    return StoredMatch(
        match_id=rows.match_id,
        platform=rows.match["platform"],
        year=rows.match["year"],
        participants=len(rows.participants),
        puuids=rows.puuids,
        created=created,
        corrected=corrected,
    )


def store_match(session: Session, body: bytes, *, now: datetime, match_id: str | None = None) -> StoredMatch:
    """Store a match: rows, players, statistics, payload and fetch.

    Args:
        session: the transaction; nothing is committed.
        body: what the API answered.
        now: when that was.
        match_id: what was asked for.

    Returns:
        Whether it is new; a match that is stored already is left alone, or replaced if Riot has corrected it.

    Raises:
        UnreadablePayloadError: it is no match, or not the one that was asked for; nothing was written.
    """
    rows = read_match(body, asked=match_id)
    created = insert_unless_present(session, Match, rows.match, key=("match_id",))
    replaced = False
    # A payload without its match is left of one whose rows were lost: it may be in the statistics still.
    if created and payloads.add(session, rows.match_id, FetchKind.MATCH, body):
        _meet(session, rows.sightings)
        _insert_participants(session, rows)
        statistics.add_match(session, rows.match_id)
    elif not _is_whole(session, rows, payloads.content_sha256(body)):
        _replace(session, rows)
        payloads.save(session, rows.match_id, FetchKind.MATCH, body)
        replaced = True
    fetches.mark_stored(session, rows.match_id, FetchKind.MATCH, now=now)
    return _stored(rows, created=created, corrected=replaced and not created)


def rederive_match(session: Session, match_id: str) -> StoredMatch:
    """Write a match's rows, players and statistics anew from its stored payload, without a request.

    Raises:
        MissingPayloadError: no payload is stored.
        DamagedPayloadError: it is not what was stored.
        UnreadablePayloadError: it is no match.
    """
    rows = read_match(payloads.load(session, match_id, FetchKind.MATCH), asked=match_id)
    created = insert_unless_present(session, Match, rows.match, key=("match_id",))
    # Also where the row was gone: what it had added to the statistics may not be.
    _replace(session, rows)
    return _stored(rows, created=created, corrected=not created)


def store_timeline(session: Session, body: bytes, match_id: str, *, now: datetime) -> StoredTimeline:
    """Store a timeline, whether or not its match is: Riot has timelines of matches that it answers 404 for.

    Args:
        session: the transaction; nothing is committed.
        body: what the API answered.
        match_id: what was asked for.
        now: when that was.

    Raises:
        UnreadablePayloadError: it is no timeline, or not the one that was asked for; nothing was written.
    """
    row = read_timeline(body, asked=match_id)
    created = insert_unless_present(session, Timeline, row, key=("match_id",))
    stored = select(Payload.content_sha256).where(
        col(Payload.match_id) == match_id, col(Payload.kind) == FetchKind.TIMELINE
    )
    corrected = not created and (
        session.connection().execute(stored).scalar_one_or_none() != payloads.content_sha256(body)
    )
    if corrected:
        upsert_rows(session, Timeline, [row], key=("match_id",), update=_TIMELINE_COLUMNS)
    if created or corrected:
        payloads.save(session, match_id, FetchKind.TIMELINE, body)
    fetches.mark_stored(session, match_id, FetchKind.TIMELINE, now=now)
    return StoredTimeline(match_id, created, corrected)


def remove_matches(session: Session, match_ids: Iterable[str]) -> int:
    """Remove matches and their timelines, and what they added to the statistics; they are not fetched again.

    Players and listings stay.

    Args:
        session: the transaction; nothing is committed.
        match_ids: stored or not; a few hundred at most.

    Returns:
        How many of them were stored as matches.
    """
    ids = sorted(set(match_ids))
    found = (
        session.connection()
        .execute(
            select(Match.match_id, Match.year, Match.platform)
            .where(col(Match.match_id).in_(ids))
            .order_by(col(Match.match_id))
            .with_for_update()
        )
        .all()
    )
    players = {
        (year, platform): _players(session, [row[0] for row in found if (row[1], row[2]) == (year, platform)])
        for year, platform in {(row[1], row[2]) for row in found}
    }
    statistics.lock(session, sorted(set().union(*players.values())))
    for model in (Participant, Timeline, Payload, Match):
        session.connection().execute(delete(model).where(col(model.match_id).in_(ids)))
    for (year, platform), puuids in sorted(players.items(), key=str):
        if year is not None and puuids:
            statistics.recompute(session, puuid=puuids, year=year, platform=platform)
    fetches.mark_removed(session, ids)
    return len(found)


def remove_match(session: Session, match_id: str) -> bool:
    """Remove one match as `remove_matches` does; says whether it was stored."""
    return remove_matches(session, [match_id]) == 1
