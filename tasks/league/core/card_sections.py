"""The player card as tables, for a page of Markdown and for a terminal alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from tasks.foundation.core.escaping import markdown_table, markdown_text
from tasks.league.core.card_model import Game, PlayerCard, Tally
from tasks.league.core.queues import queue_name, ranked_queue_name

Row = TypeVar("Row")

#: What `markdown` has room for, by name: the files of `tasks.league.core.plots`, as Markdown.
WIN_RATE, KDA = "win-rate", "kda"


@dataclass(frozen=True)
class Section:
    """One table of the card."""

    title: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    #: Headings of columns of numbers.
    numbers: frozenset[str] = frozenset()


_TALLY = ("games", "won", "win rate", "K / D / A", "KDA")
_NUMBERS = frozenset({*_TALLY, "LP", "lost", "CS", "gold", "level", "points", "minutes"})


def moment(at: datetime | None) -> str:
    """A moment for people, in UTC."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M}Z"


def summary(card: PlayerCard) -> str:
    """One line below the name: level, platform, how many games and how they ended."""
    told = [card.platform.upper()]
    if card.summoner_level is not None:
        told.append(f"level {card.summoner_level}")
    if card.total.games:
        games = f"{_count(card.total.games, 'game')}" + ("" if card.year is None else f" in {card.year}")
        told += [games, f"{card.total.win_rate:.1f} % won", f"KDA {card.total.kda:.2f}"]
    if abs(card.streak) > 1:
        told.append(f"{abs(card.streak)} {'wins' if card.streak > 0 else 'losses'} in a row")
    return " · ".join(told)


def remarks(card: PlayerCard) -> list[str]:
    """What a reader should know of how whole the card is."""
    said = []
    if card.synced_at is None:
        said.append("This player was never synced: the games are those of players that were.")
    else:
        said.append(f"Synced {moment(card.synced_at)}.")
    if not card.total.games:
        said.append("No games are stored" + ("." if card.year is None else f" for {card.year}."))
    if card.unstored:
        kinds = ", ".join(f"{count:,} {state.lower()}" for state, count in card.unstored.items())
        said.append(f"Not stored of what Riot lists (matches and timelines): {kinds}.")
    if card.without_player:
        said.append(
            f"{_count(card.without_player, 'match', 'matches')} that Riot lists for this player "
            f"{'is' if card.without_player == 1 else 'are'} stored without them, as fetched with another "
            "application's key: run league-recover-player."
        )
    return said


def sections(card: PlayerCard) -> list[Section]:
    """The card's tables, those without a row left out."""
    made = [
        _section(
            "Ranked",
            ("queue", "standing", "LP", "won", "lost", "win rate"),
            card.standings,
            lambda row: (
                ranked_queue_name(row.queue_type),
                row.title + (", hot streak" if row.hot_streak else ""),
                f"{row.league_points:,}",
                f"{row.wins:,}",
                f"{row.losses:,}",
                f"{row.win_rate:.1f} %",
            ),
        ),
        _section(
            "Years",
            ("year", *_TALLY, "CS", "gold", "most played"),
            card.years,
            lambda row: (
                f"{row.year} {row.platform.upper()}",
                *_tally(row),
                f"{row.average_cs:.0f}",
                f"{row.average_gold:,.0f}",
                row.most_played or "",
            ),
        ),
        _section("Champions", ("champion", *_TALLY), card.champions, lambda row: (row.name, *_tally(row))),
        _section("Queues", ("queue", *_TALLY), card.queues, lambda row: (row.name, *_tally(row))),
        _section(
            "Mastery",
            ("champion", "level", "points"),
            card.masteries,
            lambda row: (row.champion, str(row.level), f"{row.points:,}"),
        ),
        _section(
            "Last games",
            ("began", "queue", "champion", "result", "K / D / A", "minutes"),
            card.last_games,
            lambda row: (
                moment(row.started),
                queue_name(row.queue_id),
                row.champion or f"champion {row.champion_id}",
                result(row),
                f"{row.kills} / {row.deaths} / {row.assists}",
                f"{row.seconds / 60:.0f}",
            ),
        ),
    ]
    return [section for section in made if section.rows]


def result(game: Game) -> str:
    """How a game ended, for the player: `won`, `lost`, `remake`, `won, place 2`."""
    if game.remake:
        return "remake"
    return ("won" if game.win else "lost") + (f", place {game.placement}" if game.placement else "")


def markdown(card: PlayerCard, pictures: Mapping[str, str]) -> str:
    """The card as a page of Markdown.

    Args:
        card: what is told; names are shown as they are and do nothing else.
        pictures: finished Markdown by `WIN_RATE` and `KDA`, put below the tables they are about.
    """
    parts = [f"# {markdown_text(card.riot_id)}", f"**{markdown_text(summary(card))}**"]
    parts += [markdown_text(remark) for remark in remarks(card)]
    for section in sections(card):
        parts.append(f"## {section.title}")
        parts.append(markdown_table(section.headings, section.rows, numbers=section.numbers))
        if section.title == "Champions" and WIN_RATE in pictures:
            parts.append(pictures[WIN_RATE])
    if KDA in pictures:
        parts += ["## KDA over time", pictures[KDA]]
    return "\n\n".join(parts) + "\n"


def _section(
    title: str, headings: tuple[str, ...], rows: list[Row], cells: Callable[[Row], tuple[str, ...]]
) -> Section:
    return Section(title, headings, [cells(row) for row in rows], _NUMBERS.intersection(headings))


def _tally(row: Tally) -> tuple[str, ...]:
    each = (f"{number / row.games:.1f}" for number in (row.kills, row.deaths, row.assists))
    return f"{row.games:,}", f"{row.wins:,}", f"{row.win_rate:.1f} %", " / ".join(each), f"{row.kda:.2f}"


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
