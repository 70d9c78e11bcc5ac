"""What of a player's games is missing, damaged or contradictory, found by comparing contents.

A stored **payload** is the authority where it is what was stored: rows that differ from what it gives are derived anew,
without a request. Where it is gone or damaged the game is fetched again. About a match, and about its timeline, there
is at most one finding:

- FETCH: ask the API; nothing usable is stored, or what another application's key was answered.
- DERIVE: write the rows anew from the stored payload.
- MEND: only the fetch row contradicts what is stored.
- LEAVE: answered 404 and not due yet, or cleaned away; listed, so that nobody wonders.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from tasks.league.core import fetches, statistics, storing
from tasks.league.core.absence import ABSENT, is_without
from tasks.league.core.participants import MatchRows, UnreadablePayloadError, read_match, read_timeline
from tasks.league.core.payloads import DamagedPayloadError, content_of, load
from tasks.league.core.tables import (
    BOT_PUUID,
    DERIVATION,
    Fetch,
    FetchKind,
    FetchState,
    Listing,
    Match,
    Participant,
    Payload,
    Summoner,
    Timeline,
    Watermark,
)

#: Games compared at once: their payloads are in memory together, some 60 KB each.
CHUNK = 50
#: Players whose statistics are compared at once.
PLAYERS = 500


class Action(StrEnum):
    """What is to be done about a finding."""

    FETCH = "FETCH"
    DERIVE = "DERIVE"
    MEND = "MEND"
    LEAVE = "LEAVE"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one match or timeline, and what is to be done about it."""

    match_id: str
    kind: FetchKind
    action: Action
    #: For people.
    reason: str
    #: Where its fetch stands; None where there is no such row.
    state: FetchState | None
    #: A payload is stored that is not what was stored; it must go, or it would be taken for the answer.
    damaged: bool = False
    #: The player whose games are compared is not in it.
    absent: bool = False


@dataclass(frozen=True)
class RecoveryPlan:
    """All that is to be done for one player."""

    #: Match ids compared, newest first.
    match_ids: tuple[str, ...]
    findings: tuple[Finding, ...]
    #: Puuids whose yearly statistics are not what the stored games add up to.
    statistics: tuple[str, ...]

    def of(self, action: Action) -> list[Finding]:
        """The findings that call for one action, in the order they were found: newest games first."""
        return [finding for finding in self.findings if finding.action is action]

    @property
    def undone(self) -> list[Finding]:
        """What a recovery should have done and has not; what Riot does not give it cannot do."""
        beyond = (FetchState.MISSING, FetchState.FAILED)
        # Who is not in a game that was just fetched is not in it at Riot's.
        findings = (item for item in self.findings if not item.absent)
        return [item for item in findings if item.action is not Action.LEAVE and item.state not in beyond]


@dataclass(frozen=True)
class _Stored:
    """All that is stored about some matches."""

    fetches: dict[tuple[str, FetchKind], Fetch]
    payloads: dict[tuple[str, FetchKind], Payload]
    matches: dict[str, Match]
    participants: dict[str, list[Participant]]
    timelines: dict[str, Timeline]


def ids_to_check(session: Session, puuid: str, listed_ids: Sequence[str], *, year: int | None = None) -> list[str]:
    """All match ids to compare: those listed now, then those that are known of the player but not listed (any more).

    Args:
        session: an open transaction.
        puuid: the player.
        listed_ids: what the API lists, newest first.
        year: only games of this UTC year; `listed_ids` has only such.
    """
    known = {
        *session.exec(select(Listing.match_id).where(Listing.puuid == puuid)),
        *session.exec(select(Participant.match_id).where(Participant.puuid == puuid)),
    }
    extra = sorted(known.difference(listed_ids), reverse=True)
    if year is not None:
        of_year = set(session.exec(select(Match.match_id).where(Match.year == year)))
        extra = [match_id for match_id in extra if match_id in of_year]
    return [*dict.fromkeys(listed_ids), *extra]


def check(
    session: Session,
    match_ids: Sequence[str],
    *,
    now: datetime,
    include_removed: bool = False,
    puuid: str | None = None,
) -> list[Finding]:
    """Compare some matches with what is stored about them; at most `CHUNK` at once keep the memory flat.

    Args:
        session: an open transaction; nothing is changed.
        match_ids: the matches.
        now: the present moment, which tells what is due.
        include_removed: fetch again what was cleaned away.
        puuid: the player whose games these are; None where nobody need be in them.
    """
    stored = _load(session, match_ids)
    known = _known_puuids(session, stored)
    findings: list[Finding | None] = []
    for match_id in match_ids:
        for kind in FetchKind:
            findings.append(_check_one(stored, known, match_id, kind, now, include_removed, puuid))
    # What was compared is in nobody's way any more; else a session would keep every payload.
    session.expunge_all()
    return [finding for finding in findings if finding is not None]


def players_of(session: Session, match_ids: Sequence[str]) -> set[str]:
    """Everybody, without bots, who took part in one of the matches."""
    wanted = select(Participant.puuid).where(col(Participant.match_id).in_(match_ids), Participant.puuid != BOT_PUUID)
    return set(session.exec(wanted.distinct()))


def wrong_statistics(session: Session, puuids: Iterable[str]) -> list[str]:
    """Those of the players whose statistics are not what their stored games add up to.

    Players without a row are left out: theirs are written when their games are derived anew.

    Args:
        session: a transaction that may write; what is written in between is taken back.
        puuids: some hundred players.
    """
    known = session.exec(select(Summoner.puuid).where(col(Summoner.puuid).in_(list(puuids)))).all()
    if not known:
        return []
    return sorted({str(found.key[0]) for found in statistics.differences(session, puuid=known)})


def open_items(session: Session, *, now: datetime, quiet_since: datetime) -> list[tuple[str, FetchKind]]:
    """What is to be fetched now and is not being fetched by a sync, of all players; newest games first.

    Args:
        session: an open transaction.
        now: the present moment.
        quiet_since: PENDING rows of players who were listed, or had a game tried, after this are their sync's.
    """
    tried = (
        select(Listing.puuid)
        .join(Fetch, col(Fetch.match_id) == col(Listing.match_id))
        .where(col(Fetch.tried_at) > quiet_since)
    )
    listed = select(Watermark.puuid).where(Watermark.listed_at > quiet_since)
    busy = {*session.exec(tried.distinct()), *session.exec(listed)}
    theirs = set(session.exec(select(Listing.match_id).where(col(Listing.puuid).in_(busy))))
    return [
        (row.match_id, row.kind)
        for row in fetches.pending(session, now=now)
        if row.state is not FetchState.PENDING or row.match_id not in theirs
    ]


def prepare_fetch(session: Session, findings: Sequence[Finding]) -> None:
    """Let what is said to be stored be fetched again. A fetch that failed or was missing keeps its history.

    Args:
        session: the transaction; nothing is committed.
        findings: those to be fetched.
    """
    for kind in FetchKind:
        of_kind = [finding for finding in findings if finding.kind is kind]
        closed = [item.match_id for item in of_kind if item.state in (FetchState.STORED, None)]
        fetches.reopen(session, closed, kinds=[kind])
        # Whoever plans to fetch what was cleaned away means it.
        removed = [item.match_id for item in of_kind if item.state is FetchState.REMOVED]
        session.connection().execute(
            update(Fetch)
            .where(col(Fetch.match_id).in_(removed), col(Fetch.kind) == kind)
            .values(state=FetchState.PENDING)
        )
        damaged = [item.match_id for item in of_kind if item.damaged]
        session.connection().execute(
            delete(Payload).where(col(Payload.match_id).in_(damaged), col(Payload.kind) == kind)
        )


def derive(session: Session, finding: Finding, *, now: datetime) -> None:
    """Write the rows of one match or timeline anew from its stored payload, and its fetch row with them.

    Args:
        session: the transaction; nothing is committed. One match to a transaction, as in `storing`.
        finding: what to derive.
        now: the present moment.
    """
    match_id = finding.match_id
    if finding.kind is FetchKind.MATCH:
        storing.rederive_match(session, match_id)
        fetches.mark_stored(session, match_id, FetchKind.MATCH, now=now)
        return
    content = load(session, match_id, FetchKind.TIMELINE)
    session.connection().execute(delete(Timeline).where(col(Timeline.match_id) == match_id))
    storing.store_timeline(session, content, match_id, now=now)


def _load(session: Session, match_ids: Sequence[str]) -> _Stored:
    participants: dict[str, list[Participant]] = defaultdict(list)
    rows = select(Participant).where(col(Participant.match_id).in_(match_ids))
    for row in session.exec(rows.order_by(col(Participant.match_id), col(Participant.participant_id))):
        participants[row.match_id].append(row)
    return _Stored(
        fetches={
            (row.match_id, row.kind): row
            for row in session.exec(select(Fetch).where(col(Fetch.match_id).in_(match_ids)))
        },
        payloads={
            (row.match_id, row.kind): row
            for row in session.exec(select(Payload).where(col(Payload.match_id).in_(match_ids)))
        },
        matches={row.match_id: row for row in session.exec(select(Match).where(col(Match.match_id).in_(match_ids)))},
        participants=participants,
        timelines={
            row.match_id: row for row in session.exec(select(Timeline).where(col(Timeline.match_id).in_(match_ids)))
        },
    )


def _known_puuids(session: Session, stored: _Stored) -> set[str]:
    wanted = {row.puuid for rows in stored.participants.values() for row in rows}
    return set(session.exec(select(Summoner.puuid).where(col(Summoner.puuid).in_(wanted))))


def _check_one(
    stored: _Stored,
    known: set[str],
    match_id: str,
    kind: FetchKind,
    now: datetime,
    include_removed: bool,
    puuid: str | None,
) -> Finding | None:
    fetch, payload = stored.fetches.get((match_id, kind)), stored.payloads.get((match_id, kind))
    state = fetch.state if fetch else None

    wrong: str | None = None
    damage: str | None
    damaged = absent = False

    def finding(action: Action, reason: str) -> Finding:
        return Finding(match_id, kind, action, reason, state, damaged, absent)

    try:
        if payload is None:
            damage = "its payload is gone" if state is FetchState.STORED else _why_open(fetch)
        else:
            wrong, absent = _compare(stored, known, match_id, kind, content_of(payload), puuid)
            damage = ABSENT if absent else None
    except DamagedPayloadError:
        damage, damaged = "its payload is damaged", True
    except UnreadablePayloadError as error:
        damage = f"its payload cannot be read: {error}"
    if damage is not None:
        if state is FetchState.REMOVED and not include_removed:
            return finding(Action.LEAVE, "was cleaned away")
        if fetch is not None and state is FetchState.MISSING and fetch.due_at is not None and fetch.due_at > now:
            return finding(Action.LEAVE, f"answered 404; asked again after {fetch.due_at:%Y-%m-%d %H:%M} UTC")
        return finding(Action.FETCH, damage)
    if wrong is not None:
        return finding(Action.DERIVE, wrong)
    if fetch is None:
        return finding(Action.MEND, "is stored, but has no fetch row")
    if fetch.state is not FetchState.STORED:
        return finding(Action.MEND, f"is stored, but its fetch is {fetch.state}")
    if fetch.failures or fetch.reason is not None or fetch.due_at is not None:
        return finding(Action.MEND, "is stored, but its fetch tells of failures")
    return None


def _why_open(fetch: Fetch | None) -> str:
    match fetch.state if fetch else None:
        case FetchState.FAILED:
            return "failed when last tried"
        case FetchState.MISSING:
            return "answered 404 when last asked for; due again"
        case FetchState.REMOVED:
            return "was cleaned away"
        case _:
            return "was never fetched"


def _compare(
    stored: _Stored, known: set[str], match_id: str, kind: FetchKind, content: bytes, puuid: str | None
) -> tuple[str | None, bool]:
    """What about the rows is not as their payload gives it, and whether the payload is without the player."""
    if kind is FetchKind.TIMELINE:
        given = read_timeline(content, asked=match_id)
        timeline = stored.timelines.get(match_id)
        wrong = "its row is gone" if timeline is None else _changed("its row", timeline.model_dump(), given)
        return wrong, puuid is not None and is_without(puuid, content=content)
    rows = read_match(content, asked=match_id)
    absent = puuid is not None and is_without(puuid, content=content, rows=rows)
    return _difference(stored, known, match_id, rows), absent


def _difference(stored: _Stored, known: set[str], match_id: str, rows: MatchRows) -> str | None:
    match, participants = stored.matches.get(match_id), stored.participants
    if match is None:
        return "its row is gone"
    if match.derivation != DERIVATION:
        return f"its rows are of derivation {match.derivation}; this is {DERIVATION}"
    if changed := _changed("its row", match.model_dump(), rows.match):
        return changed
    stored_numbers = [row.participant_id for row in participants.get(match_id, [])]
    given = sorted(rows.participants, key=lambda row: int(row["participant_id"]))
    if stored_numbers != [row["participant_id"] for row in given]:
        return f"it has {len(stored_numbers)} of {len(given)} participants"
    for row, wanted in zip(participants.get(match_id, []), given, strict=True):
        if changed := _changed(f"participant {row.participant_id}", row.model_dump(), wanted):
            return changed
    if unknown := set(rows.puuids) - known:
        return f"{len(unknown)} of its players have no row"
    return None


def _changed(name: str, stored: dict[str, Any], given: dict[str, Any]) -> str | None:
    columns = [column for column, value in given.items() if stored[column] != value]
    return f"{name} differs in {', '.join(columns)}" if columns else None


def parts(ids: Sequence[str], size: int = CHUNK) -> list[Sequence[str]]:
    """The ids in parts of at most this size."""
    return [ids[start : start + size] for start in range(0, len(ids), size)]
