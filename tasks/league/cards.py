"""What a run of the player system leaves for people: the player card, and a table of what failed and why.

Needs the league ledger. The card is the only place where players are named.
"""

import asyncio
from collections import Counter

from blocks.engine import session
from tasks.foundation.artifacts import MAXIMUM_ROWS, markdown, picture, table
from tasks.foundation.core.escaping import printable
from tasks.foundation.retries import MAINTENANCE
from tasks.league.core import card_sections
from tasks.league.core.card import player_card
from tasks.league.core.card_model import PlayerCard
from tasks.league.core.card_sections import KDA, WIN_RATE, moment
from tasks.league.core.failures import Failure, failure_counts, failures, told
from tasks.league.core.plots import kda_plot, win_rate_plot
from tasks.league.core.tables import DOMAIN, FetchKind, FetchState

CARD_KEY = "league-player-card"
FAILURES_KEY = "league-failures"


@MAINTENANCE.task
async def show_player_card(puuid: str, year: int | None = None) -> PlayerCard:
    """Leave a player's card on the flow run, with win rate by champion and KDA over time as pictures.

    Args:
        puuid: whose.
        year: only games of this UTC year.

    Returns:
        What stands on the card.

    Raises:
        UnknownPlayerError: the ledger has no such player.
    """
    # Reading five thousand games and drawing takes a second, in which progress must still be reported.
    card, text = await asyncio.to_thread(_drawn, puuid, year)
    await markdown(CARD_KEY, text)
    return card


def _drawn(puuid: str, year: int | None) -> tuple[PlayerCard, str]:
    with session(DOMAIN, read_only=True) as opened:
        card = player_card(opened, puuid, year)
    pictures = {}
    if card.champions:
        pictures[WIN_RATE] = picture(win_rate_plot(card), "win rate by champion, as in the table above")
    if card.kda_over_time:
        pictures[KDA] = picture(kda_plot(card), "KDA over time")
    return card, card_sections.markdown(card, pictures)


@MAINTENANCE.task
async def show_failures(puuid: str | None = None) -> dict[str, int]:
    """Leave a table of the matches and timelines that could not be fetched on the flow run, with reason and next try.

    Args:
        puuid: only matches listed for this player; all where left out.

    Returns:
        How many failed and how many are missing.
    """
    found, counts = await asyncio.to_thread(_failed, puuid)
    text = told(counts)
    total = sum(counts.values())
    if total > len(found):
        text += f". The first {len(found):,} are shown"
    await table(FAILURES_KEY, [_row(failure) for failure in found], f"{text[0].upper()}{text[1:]}.")
    by_state: Counter[str] = Counter()
    for (state, _), count in counts.items():
        by_state[state.value.lower()] += count
    return dict(by_state)


def _failed(puuid: str | None) -> tuple[list[Failure], dict[tuple[FetchState, FetchKind], int]]:
    with session(DOMAIN, read_only=True) as opened:
        return list(failures(opened, puuid=puuid, limit=MAXIMUM_ROWS)), failure_counts(opened, puuid=puuid)


def _row(failure: Failure) -> dict[str, str]:
    return {
        "match": failure.match_id,
        "kind": failure.kind.lower(),
        "state": failure.state.lower(),
        "tries": str(failure.failures),
        "reason": printable(failure.reason),
        "next try": moment(failure.due_at),
    }
