"""A player's statistics by year and platform, as sums over the participants of stored matches.

`add_match` adds one match's participants to the sums and is called once for each match, in the transaction that
inserted it (`core.storing`). `recompute` derives the same rows from all participants. Both are SQL over the same
selection, and the averages and counts that follow from the sums are derived by one statement that both use.

Bots have no statistics, and a game that never began belongs to no year.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Float,
    Integer,
    String,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    literal,
    select,
    true,
    union_all,
    update,
)
from sqlmodel import Session, col

from tasks.foundation.core.upsert import execute_prepared, insert_for
from tasks.league.core.tables import BOT_PUUID, Dimension, Match, Participant, Summoner, YearlyBreakdown, YearlyStats

_KEY = ("puuid", "year", "platform")
_BREAKDOWN_KEY = (*_KEY, "dimension", "value")
#: Sums of the participant columns of these names.
_SUMS = {
    "total_kills": "kills",
    "total_deaths": "deaths",
    "total_assists": "assists",
    "total_gold_earned": "gold_earned",
    "total_minions_killed": "total_minions_killed",
    "total_neutral_minions_killed": "neutral_minions_killed",
    "total_damage_dealt_to_champions": "total_damage_dealt_to_champions",
}
_ADDED = ("total_matches", "wins", "losses", *_SUMS)
_DERIVED_COUNTS = ("unique_champions", "unique_roles", "unique_lanes", "most_played_champion_count")
_AVERAGES = (
    "win_rate",
    "kda_ratio",
    "average_kills",
    "average_deaths",
    "average_assists",
    "average_gold",
    "average_cs",
)
_BREAKDOWN_ADDED = ("games", "wins", "kills", "deaths", "assists")
#: A statement names the players up to four times, and SQLite takes 32,766 parameters.
_PLAYERS_AT_ONCE = 2_000


@dataclass(frozen=True)
class Scope:
    """Whose statistics, of which year and platform; None is all of them."""

    puuids: Sequence[str] | None = None
    year: int | None = None
    platform: str | None = None

    def parts(self) -> "list[Scope]":
        """The same players in groups, since a statement has only so many parameters."""
        if self.puuids is None:
            return [self]
        starts = range(0, len(self.puuids), _PLAYERS_AT_ONCE)
        return [replace(self, puuids=self.puuids[start : start + _PLAYERS_AT_ONCE]) for start in starts]

    def of(self, table: Any, source: Any) -> ColumnElement[bool]:
        """The condition on a table with a puuid and one with year and platform."""
        return and_(
            true() if self.puuids is None else table.puuid.in_(self.puuids),
            true() if self.year is None else source.year == self.year,
            true() if self.platform is None else source.platform == self.platform,
        )


@dataclass(frozen=True)
class Difference:
    """A stored value that is not what the participants say; a whole row that is missing or too many has column `*`."""

    table: str
    key: tuple[Any, ...]
    column: str
    stored: Any
    expected: Any


def _won() -> Any:
    return func.sum(case((col(Participant.win), 1), else_=0))


def _counted(where: ColumnElement[bool]) -> tuple[ColumnElement[bool], ColumnElement[bool], ColumnElement[bool]]:
    return where, col(Participant.puuid) != BOT_PUUID, col(Match.year).is_not(None)


def _sums(where: ColumnElement[bool]) -> Any:
    """One row for each player, year and platform."""
    group = (col(Participant.puuid), col(Match.year), col(Match.platform))
    return (
        select(
            *group,
            func.count().label("total_matches"),
            _won().label("wins"),
            (func.count() - _won()).label("losses"),
            *(func.sum(getattr(Participant, of)).label(name) for name, of in _SUMS.items()),
            # What `_derive` writes.
            *(literal(0).label(name) for name in _DERIVED_COUNTS),
            *(literal(0.0).label(name) for name in _AVERAGES),
        )
        .join(Match, col(Match.match_id) == col(Participant.match_id))
        .where(*_counted(where))
        .group_by(*group)
    )


def _values() -> dict[Dimension, Any]:
    return {
        Dimension.CHAMPION: cast(col(Participant.champion_id), String),
        Dimension.ROLE: col(Participant.role),
        Dimension.LANE: col(Participant.lane),
        Dimension.QUEUE: cast(col(Match.queue_id), String),
    }


def _breakdown(where: ColumnElement[bool]) -> Any:
    """One row for each player, year, platform, dimension and value; an empty role or lane is none."""
    parts = []
    for dimension, value in _values().items():
        group = (col(Participant.puuid), col(Match.year), col(Match.platform))
        parts.append(
            select(
                *group,
                literal(dimension.value, String).label("dimension"),
                value.label("value"),
                func.count().label("games"),
                _won().label("wins"),
                *(func.sum(getattr(Participant, name)).label(name) for name in ("kills", "deaths", "assists")),
            )
            .join(Match, col(Match.match_id) == col(Participant.match_id))
            .where(*_counted(where), value != "")
            .group_by(*group, value)
        )
    return union_all(*parts)


def _upsert(session: Session, model: Any, key: tuple[str, ...], added: tuple[str, ...], rows: Any, *, add: bool) -> Any:
    """The statement that adds selected sums to what a table says, or puts them in its place."""
    source = rows.subquery()
    # SQLite takes the ON of ON CONFLICT for a join's, unless the SELECT before it has a WHERE.
    chosen = select(source).where(true()).order_by(*(source.c[name] for name in key))
    statement = insert_for(session, model).from_select(list(source.c.keys()), chosen)
    changes = {name: statement.excluded[name] for name in added}
    if add:
        changes = {name: getattr(model, name) + new for name, new in changes.items()}
    return statement.on_conflict_do_update(index_elements=list(key), set_=changes)


def _derivation() -> Any:
    """The statement that writes what follows from the sums and the breakdown."""

    def of(dimension: Dimension) -> Any:
        return and_(
            col(YearlyBreakdown.puuid) == col(YearlyStats.puuid),
            col(YearlyBreakdown.year) == col(YearlyStats.year),
            col(YearlyBreakdown.platform) == col(YearlyStats.platform),
            col(YearlyBreakdown.dimension) == dimension,
        )

    def distinct(dimension: Dimension) -> Any:
        return select(func.count()).where(of(dimension)).select_from(YearlyBreakdown).scalar_subquery()

    champion = cast(col(YearlyBreakdown.value), Integer)
    favourite = (
        select(champion)
        .where(of(Dimension.CHAMPION))
        .order_by(col(YearlyBreakdown.games).desc(), champion)
        .limit(1)
        .scalar_subquery()
    )
    most = select(func.max(YearlyBreakdown.games)).where(of(Dimension.CHAMPION)).scalar_subquery()
    games = cast(col(YearlyStats.total_matches), Float)
    deaths = col(YearlyStats.total_deaths)
    takedowns = cast(col(YearlyStats.total_kills) + col(YearlyStats.total_assists), Float)
    creeps = col(YearlyStats.total_minions_killed) + col(YearlyStats.total_neutral_minions_killed)
    return update(YearlyStats).values(
        unique_champions=distinct(Dimension.CHAMPION),
        unique_roles=distinct(Dimension.ROLE),
        unique_lanes=distinct(Dimension.LANE),
        most_played_champion=favourite,
        most_played_champion_count=func.coalesce(most, 0),
        win_rate=cast(col(YearlyStats.wins), Float) * 100 / games,
        # A division is carried out even where another branch is chosen, if the database likes.
        kda_ratio=takedowns / case((deaths == 0, 1), else_=deaths),
        average_kills=cast(col(YearlyStats.total_kills), Float) / games,
        average_deaths=cast(deaths, Float) / games,
        average_assists=cast(col(YearlyStats.total_assists), Float) / games,
        average_gold=cast(col(YearlyStats.total_gold_earned), Float) / games,
        average_cs=cast(creeps, Float) / games,
    )


def _derive(session: Session, scope: Scope) -> None:
    session.connection().execute(_derivation().where(scope.of(YearlyStats, YearlyStats)))


def _this_match() -> Any:
    return bindparam("this_match", type_=String)


def _add_to_breakdown(session: Session) -> Any:
    rows = _breakdown(col(Participant.match_id) == _this_match())
    return _upsert(session, YearlyBreakdown, _BREAKDOWN_KEY, _BREAKDOWN_ADDED, rows, add=True)


def _add_to_statistics(session: Session) -> Any:
    rows = _sums(col(Participant.match_id) == _this_match())
    return _upsert(session, YearlyStats, _KEY, _ADDED, rows, add=True)


def _derive_of_match() -> Any:
    def of_match(column: Any) -> Any:
        return select(column).where(col(Match.match_id) == _this_match()).scalar_subquery()

    players = select(col(Participant.puuid)).where(col(Participant.match_id) == _this_match())
    return _derivation().where(
        col(YearlyStats.puuid).in_(players),
        col(YearlyStats.year) == of_match(col(Match.year)),
        col(YearlyStats.platform) == of_match(col(Match.platform)),
    )


def add_match(session: Session, match_id: str) -> None:
    """Add one match to the statistics of those who took part: once for each match, or it is counted twice.

    Three statements, however many players there are and whatever they played before.

    Args:
        session: the transaction that inserted the match and its participants, and thereby locked the players' rows.
        match_id: the match.
    """
    given = [{"this_match": match_id}]
    execute_prepared(session, "add a match to the breakdown", lambda: _add_to_breakdown(session), given)
    execute_prepared(session, "add a match to the statistics", lambda: _add_to_statistics(session), given)
    execute_prepared(session, "derive the statistics of a match", _derive_of_match, given)


def lock(session: Session, puuids: Sequence[str] | None) -> None:
    """Let nobody else change these players' statistics (or anybody's) until the transaction ends.

    Whoever changes statistics has locked the players' rows first, in the order of their puuids.
    """
    wanted = select(col(Summoner.puuid)).order_by(col(Summoner.puuid)).with_for_update(key_share=True)
    if puuids is not None:
        wanted = wanted.where(col(Summoner.puuid).in_(puuids))
    if session.get_bind().dialect.name == "postgresql":
        session.connection().execute(wanted).all()


def _recompute(session: Session, scope: Scope) -> None:
    for part in scope.parts():
        lock(session, part.puuids)
        _recompute_part(session, part)


def _recompute_part(session: Session, scope: Scope) -> None:
    where = scope.of(Participant, Match)
    session.connection().execute(delete(YearlyBreakdown).where(scope.of(YearlyBreakdown, YearlyBreakdown)))
    session.connection().execute(delete(YearlyStats).where(scope.of(YearlyStats, YearlyStats)))
    # A match of a new player may have been committed since the deletion: then its rows are there already.
    connection = session.connection()
    rows = _breakdown(where)
    connection.execute(_upsert(session, YearlyBreakdown, _BREAKDOWN_KEY, _BREAKDOWN_ADDED, rows, add=False))
    connection.execute(_upsert(session, YearlyStats, _KEY, _ADDED, _sums(where), add=False))
    _derive(session, scope)


def recompute(
    session: Session, *, puuid: str | Iterable[str] | None = None, year: int | None = None, platform: str | None = None
) -> None:
    """Derive statistics anew from the participants of the stored matches, whatever they said before.

    Args:
        session: the transaction; nothing is committed.
        puuid: one player, or several; None for everybody.
        year: one UTC year; None for all.
        platform: one platform; None for all.
    """
    _recompute(session, _scope(puuid, year, platform))


def _scope(puuid: str | Iterable[str] | None, year: int | None, platform: str | None) -> Scope:
    puuids = (puuid,) if isinstance(puuid, str) else None if puuid is None else tuple(sorted(set(puuid)))
    return Scope(puuids, year, platform)


_Rows = dict[tuple[str, tuple[Any, ...]], dict[str, Any]]


def _stored(session: Session, scope: Scope) -> _Rows:
    found: _Rows = {}
    for model, key in ((YearlyStats, _KEY), (YearlyBreakdown, _BREAKDOWN_KEY)):
        table: Any = model
        for part in scope.parts():
            wanted = select(*table.__table__.columns).where(part.of(table, table))
            for row in session.connection().execute(wanted).mappings():
                values = dict(row)
                found[str(table.__tablename__), tuple(values.pop(name) for name in key)] = values
    return found


def _derived(session: Session, scope: Scope) -> _Rows:
    """What `recompute` would write, by letting it write and taking that back."""
    session.flush()
    attempt = session.begin_nested()
    _recompute(session, scope)
    rows = _stored(session, scope)
    attempt.rollback()
    return rows


def expected(
    session: Session, puuid: str | Iterable[str] | None = None, *, year: int | None = None, platform: str | None = None
) -> list[YearlyStats]:
    """What the yearly statistics ought to be, in the order of their keys. Stored rows stay as they are.

    Args:
        session: a transaction that may write; what is written in between is taken back.
        puuid: one player, or several; None for everybody.
        year: one UTC year; None for all.
        platform: one platform; None for all.
    """
    rows = _derived(session, _scope(puuid, year, platform))
    return [
        YearlyStats(**dict(zip(_KEY, key, strict=True)), **values)
        for (table, key), values in sorted(rows.items(), key=lambda item: item[0])
        if table == YearlyStats.__tablename__
    ]


def differences(
    session: Session, *, puuid: str | Iterable[str] | None = None, year: int | None = None, platform: str | None = None
) -> list[Difference]:
    """Where stored statistics are not what the participants say; none is what it should be. Nothing is changed.

    Args:
        session: a transaction that may write; what is written in between is taken back.
        puuid: one player, or several; None for everybody.
        year: one UTC year; None for all.
        platform: one platform; None for all.
    """
    scope = _scope(puuid, year, platform)
    before, after = _stored(session, scope), _derived(session, scope)
    found = []
    for place in sorted(before.keys() | after.keys()):
        table, key = place
        if place not in before or place not in after:
            found.append(Difference(table, key, "*", before.get(place), after.get(place)))
            continue
        for name, value in after[place].items():
            if before[place][name] != value:
                found.append(Difference(table, key, name, before[place][name], value))
    return found
