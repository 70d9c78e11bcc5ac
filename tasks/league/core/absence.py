"""Games that the API lists for a player and that are stored without this player.

Riot encrypts puuids for each application, so a game that was fetched with another application's key has none of the
puuids that this key knows. It is stored all the same, and no sync would ask for it again.
"""

from typing import Any

from sqlmodel import Session, col, func, select

from tasks.league.core.participants import MatchRows
from tasks.league.core.tables import Listing, Match, Participant

#: What a recovery says of such a game.
ABSENT = "the player it is listed for is not in it: it was fetched with another application's key"


def is_without(puuid: str, *, content: bytes, rows: MatchRows | None = None) -> bool:
    """Whether an answer names players, and not this one; a game in which nobody took part lacks nobody.

    Args:
        puuid: the player.
        content: what the API answered.
        rows: what was read from it, where it is a match; else it is a timeline.
    """
    if rows is not None:
        return bool(rows.participants) and puuid not in rows.puuids
    # A puuid is written in JSON as it is. Timelines of old games tell no players.
    return b'"puuid"' in content and puuid.encode() not in content


def listed_without(session: Session, puuid: str) -> int:
    """How many stored matches are listed for a player who is not among their participants.

    Args:
        session: an open transaction.
        puuid: the player.
    """
    wanted: Any = (
        select(func.count())
        .select_from(Listing)
        .join(Match, col(Match.match_id) == col(Listing.match_id))
        .where(
            Listing.puuid == puuid,
            Match.participant_count > 0,
            ~select(Participant.match_id)
            .where(col(Participant.match_id) == col(Listing.match_id), Participant.puuid == puuid)
            .exists(),
        )
    )
    return int(session.exec(wanted).one())
