"""The two pictures of the player card."""

from tasks.foundation.core.plots import Bar, Line, bar_plot, line_plot
from tasks.league.core.card_model import PlayerCard


def win_rate_plot(card: PlayerCard) -> bytes:
    """Win rate by champion, the most played on top, those below half in another colour; a PNG file."""
    bars = [
        Bar(row.name, row.win_rate, f"{row.games:,} {'game' if row.games == 1 else 'games'} · KDA {row.kda:.1f}")
        for row in card.champions
    ]
    return bar_plot(_titled("Win rate by champion", card), bars, unit=" %", top=100, reference=50)


def kda_plot(card: PlayerCard) -> bytes:
    """KDA over time, each point of the games just before, with all of them as a dashed line; a PNG file."""
    line = Line("KDA", [(point.at, point.kda) for point in card.kda_over_time])
    title = _titled(f"KDA of {card.rolling_games} games at a time", card)
    overall = card.total.kda if card.total.games else None
    return line_plot(title, [line], unit="(kills + assists) / deaths", reference=overall)


def _titled(text: str, card: PlayerCard) -> str:
    return text if card.year is None else f"{text}, {card.year}"
