"""Players who were asked for: their row, their ranked standing, their champion masteries."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import and_, case, delete, func, or_
from sqlmodel import Session, SQLModel, col, select

from tasks.foundation.core.upsert import upsert_rows
from tasks.league.core.tables import ChampionMastery, RankedEntry, Summoner


def _newer(new: Any) -> dict[str, Any]:
    old: Any = Summoner
    renamed = and_(new.game_name.is_not(None), or_(old.named_at.is_(None), new.named_at >= old.named_at))
    moved = or_(old.seen_at.is_(None), new.seen_at >= old.seen_at)
    kept = ("profile_icon_id", "summoner_level", "revision_date")
    return {
        **{
            name: case((renamed, new[name]), else_=getattr(old, name)) for name in ("game_name", "tag_line", "named_at")
        },
        **{name: case((moved, new[name]), else_=getattr(old, name)) for name in ("platform", "seen_at")},
        **{name: func.coalesce(new[name], getattr(old, name)) for name in kept},
        "tracked": True,
    }


def upsert_player(
    session: Session,
    *,
    puuid: str,
    game_name: str | None,
    tag_line: str | None,
    platform: str,
    now: datetime,
    profile_icon_id: int | None = None,
    summoner_level: int | None = None,
    revision_date: datetime | None = None,
) -> None:
    """Write what account and summoner endpoints say of a player, who is tracked from now on.

    Args:
        session: the transaction; nothing is committed.
        puuid: the player.
        game_name: of the Riot ID; None leaves what is known.
        tag_line: of the Riot ID.
        platform: where the player was asked for.
        now: when the account was fetched; a name that a later game told is kept.
        profile_icon_id: None leaves what is known.
        summoner_level: None leaves what is known.
        revision_date: when Riot last changed the player's data; None leaves what is known.
    """
    whole = bool(game_name and tag_line)
    row = {
        "puuid": puuid,
        "game_name": game_name if whole else None,
        "tag_line": tag_line if whole else None,
        "named_at": now if whole else None,
        "platform": platform.lower(),
        "seen_at": now,
        "profile_icon_id": profile_icon_id,
        "summoner_level": summoner_level,
        "revision_date": revision_date,
        "tracked": True,
        "synced_at": None,
    }
    upsert_rows(session, Summoner, [row], key=("puuid",), update=_newer)


def mark_synced(session: Session, puuid: str, *, now: datetime) -> None:
    """All that was listed for the player has been dealt with.

    Raises:
        LookupError: no such player is stored.
    """
    player = session.get(Summoner, puuid, populate_existing=True)
    if player is None:
        raise LookupError(f"no player {puuid[:8]} is stored")
    player.synced_at = now
    session.flush()


def _replace(session: Session, model: type[SQLModel], puuid: str, rows: Iterable[SQLModel], key: str) -> int:
    table: Any = model
    by_key = {getattr(row, key): row.model_dump() for row in rows}
    if any(row["puuid"] != puuid for row in by_key.values()):
        raise ValueError(f"rows of another player than {puuid[:8]}")
    gone = delete(model).where(table.puuid == puuid, table.__table__.c[key].not_in(list(by_key)))
    session.connection().execute(gone)
    columns = tuple(name for name in model.model_fields if name not in ("puuid", key))
    upsert_rows(session, model, by_key.values(), key=("puuid", key), update=columns)
    return len(by_key)


def replace_ranked_entries(session: Session, puuid: str, entries: Iterable[RankedEntry]) -> int:
    """Write a player's ranked standing; queues that are no longer told are deleted. Says how many there are.

    Raises:
        ValueError: an entry is another player's.
    """
    return _replace(session, RankedEntry, puuid, entries, "queue_type")


def replace_masteries(session: Session, puuid: str, masteries: Iterable[ChampionMastery]) -> int:
    """Write a player's champion masteries; champions that are no longer told are deleted. Says how many there are.

    Raises:
        ValueError: a mastery is another player's.
    """
    return _replace(session, ChampionMastery, puuid, masteries, "champion_id")


def _folded(name: str | None) -> str:
    # Riot tells Riot IDs apart by neither case nor spaces.
    return "".join((name or "").split()).casefold()


def find_player(session: Session, game_name: str, tag_line: str) -> Summoner | None:
    """The player whose newest known Riot ID this is, written in any case.

    Of several (one gave the name up, another took it) the one that was last known by it.
    """
    exact = select(Summoner).where(col(Summoner.game_name) == game_name, col(Summoner.tag_line) == tag_line)
    found = list(session.exec(exact).all())
    if not found:
        wanted = (_folded(game_name), _folded(tag_line))
        everybody = session.exec(select(Summoner.puuid, Summoner.game_name, Summoner.tag_line)).all()
        alike = [puuid for puuid, name, tag in everybody if (_folded(name), _folded(tag)) == wanted]
        found = list(session.exec(select(Summoner).where(col(Summoner.puuid).in_(alike))).all())
    return max(
        found,
        key=lambda player: (player.named_at is not None, player.named_at, player.tracked, player.puuid),
        default=None,
    )
