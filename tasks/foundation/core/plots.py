"""Plots for people, as PNG files of a few ten kilobytes: bars and lines on white, so that dark pages show them too.

Matplotlib is used without its global state (no pyplot), and imported only when a plot is drawn, since that takes a
second. Texts are drawn as they are, never as formulas; a character that no font here has is drawn as a box.
"""

import io
import math
import os
import tempfile
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.foundation.core.escaping import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Inches at 144 dots each: sharp on a dense screen, and half a page wide on others.
WIDTH, DOTS = 8.0, 144
#: Blue and orange keep apart for the colour-blind, and in grey.
COLOURS = ("#2f6db3", "#d9822b", "#3a8f5c", "#8b5fb0", "#b0413e", "#6b7280")
TEXT, QUIET, GRID = "#1f2933", "#6b7280", "#e3e7ec"
#: Inches for what stands left and right of bars, and in a legend; longer texts are cut.
LABEL, NOTE, LEGEND = 2.6, 2.2, 1.1
#: A box, which the font that comes with Matplotlib has.
MISSING = "\u25a1"
#: Fonts with many more characters, as systems name them; used where they are installed and needed.
WIDE_FONTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans CJK KR", "Noto Sans JP", "Noto Sans SC", "Noto Sans KR"),
    *("Source Han Sans", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback", "IPAexGothic"),
    *("Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "Noto Sans Thai", "Tahoma", "Unifont"),
)
_FONT = "DejaVu Sans"


@dataclass(frozen=True)
class Bar:
    """One bar, and what is written behind it beside its value."""

    label: str
    value: float
    note: str = ""


@dataclass(frozen=True)
class Line:
    """One line. Points need no order; their positions are all moments, or all numbers."""

    label: str
    points: Sequence[tuple[datetime | float, float]]


def bar_plot(
    title: str, bars: Sequence[Bar], *, unit: str = "", top: float | None = None, reference: float | None = None
) -> bytes:
    """Horizontal bars, the first on top.

    Args:
        title: above the plot.
        bars: values from zero up.
        unit: written behind each value.
        top: where the axis ends; a little beyond the longest bar where left out.
        reference: a dashed line at this value; bars below it have another colour.

    Returns:
        A PNG file.

    Raises:
        ValueError: a value is negative or no number.
    """
    _finite([bar.value for bar in bars])
    if any(bar.value < 0 for bar in bars):
        raise ValueError("a bar's value is negative")
    end = top or max((bar.value for bar in bars), default=0) * 1.02 or 1.0
    figure, height = _figure(max(1.7, 0.85 + 0.36 * len(bars)))
    labels = [_text(figure, 0, 0, bar.label, within=LABEL) for bar in bars]
    told = [" · ".join(filter(None, (f"{_number(bar.value)}{unit}", bar.note))) for bar in bars]
    notes = [_text(figure, 0, 0, text, within=NOTE, color=QUIET, size=9) for text in told]
    left, right = 0.4 + _widest(figure, labels), WIDTH - 0.4 - _widest(figure, notes)
    axes = figure.add_axes((left / WIDTH, 0.4 / height, (right - left) / WIDTH, (height - 0.95) / height))
    axes.set_xlim(0, end)
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.set_ylim(max(len(bars), 1) - 0.5, -0.5)
    axes.set_yticks([])
    _dress(axes, grid="x")
    _title(figure, title, height)
    below = [reference is not None and bar.value < reference for bar in bars]
    axes.barh(
        range(len(bars)), [min(bar.value, end) for bar in bars], 0.68, color=[COLOURS[low] for low in below], zorder=2
    )
    if reference is not None:
        axes.axvline(reference, color=QUIET, linewidth=1, linestyle=(0, (4, 3)), zorder=3)
    for row, (label, note) in enumerate(zip(labels, notes, strict=True)):
        _, up = figure.transFigure.inverted().transform(axes.transData.transform((0, row)))
        label.set_position((0.2 / WIDTH, up))
        # In a column of their own: behind the bars the lines would run through them.
        note.set_position(((right + 0.15) / WIDTH, up))
    if not bars:
        _nothing(figure)
    return _png(figure)


def stacked_plot(title: str, labels: Sequence[str], parts: Mapping[str, Sequence[float]], *, unit: str = "") -> bytes:
    """Horizontal bars made of parts, the first bar on top, with the parts' names in a legend.

    Args:
        title: above the plot.
        labels: one a bar.
        parts: name of a part -> its value in each bar, from zero up; at most as many as there are `COLOURS`.
        unit: written behind each bar's sum.

    Returns:
        A PNG file.

    Raises:
        ValueError: a value is negative or no number, a part has not a value for each bar, or there are too many parts.
    """
    if len(parts) > len(COLOURS):
        raise ValueError(f"{len(parts)} parts in one plot: at most {len(COLOURS)} can be told apart")
    _finite([value for values in parts.values() for value in values])
    if any(len(values) != len(labels) or any(value < 0 for value in values) for values in parts.values()):
        raise ValueError("each part needs a value from zero up for each bar")
    sums = [sum(values[row] for values in parts.values()) for row in range(len(labels))]
    end = max(sums, default=0) * 1.02 or 1.0
    figure, height = _figure(max(1.9, 1.05 + 0.36 * len(labels)))
    named = [_text(figure, 0, 0, label, within=LABEL) for label in labels]
    notes = [_text(figure, 0, 0, f"{total:.2f}{unit}", within=NOTE, color=QUIET, size=9) for total in sums]
    left, right = 0.4 + _widest(figure, named), WIDTH - 0.4 - _widest(figure, notes)
    axes = figure.add_axes((left / WIDTH, 0.4 / height, (right - left) / WIDTH, (height - 1.15) / height))
    axes.set_xlim(0, end)
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)
    axes.set_yticks([])
    _dress(axes, grid="x")
    _title(figure, title, height)
    begun = [0.0] * len(labels)
    for colour, values in zip(COLOURS, parts.values(), strict=False):
        axes.barh(range(len(labels)), values, 0.68, left=begun, color=colour, zorder=2)
        begun = [begin + value for begin, value in zip(begun, values, strict=True)]
    for row, (label, note) in enumerate(zip(named, notes, strict=True)):
        _, up = figure.transFigure.inverted().transform(axes.transData.transform((0, row)))
        label.set_position((0.2 / WIDTH, up))
        note.set_position(((right + 0.15) / WIDTH, up))
    _legend(figure, list(parts), height)
    if not labels:
        _nothing(figure)
    return _png(figure)


def line_plot(title: str, lines: Sequence[Line], *, unit: str = "", reference: float | None = None) -> bytes:
    """Lines over time (UTC) or over a number; the axis of values begins at zero, or below for negative ones.

    Args:
        title: above the plot.
        lines: at most as many as there are `COLOURS`; named in a legend where there are several.
        unit: what the values are, in words, at the axis.
        reference: a dashed line at this value.

    Returns:
        A PNG file.

    Raises:
        ValueError: a value is no number, or there are too many lines.
    """
    if len(lines) > len(COLOURS):
        raise ValueError(f"{len(lines)} lines in one plot: at most {len(COLOURS)} can be told apart")
    points = [point for line in lines for point in line.points]
    _finite([value for _, value in points])
    figure, height = _figure(3.4 if len(lines) < 2 else 3.6)
    axes = figure.add_axes(
        (0.75 / WIDTH, 0.5 / height, (WIDTH - 1.0) / WIDTH, (height - (1.05 if len(lines) < 2 else 1.25)) / height)
    )
    _dress(axes, grid="y")
    _title(figure, title, height)
    for colour, line in zip(COLOURS, lines, strict=False):
        ordered = sorted(line.points, key=lambda point: point[0])
        few = len(ordered) <= 40
        positions, values = _positions([at for at, _ in ordered]), [value for _, value in ordered]
        axes.plot(positions, values, color=colour, linewidth=1.6, marker="o" if few else "", markersize=3.5, zorder=3)
    if points:
        _scale(axes, [at for at, _ in points], [value for _, value in points], reference)
    if reference is not None:
        axes.axhline(reference, color=QUIET, linewidth=1, linestyle=(0, (4, 3)), zorder=2)
    _text(figure, 0.18 / WIDTH, 0.5, unit, rotation=90, ha="center", va="center", color=QUIET, size=9)
    if len(lines) > 1:
        _legend(figure, [line.label for line in lines], height)
    if not points:
        axes.set_axis_off()
        _nothing(figure)
    return _png(figure)


def _finite(values: Iterable[float]) -> None:
    wrong = [value for value in values if not math.isfinite(value)]
    if wrong:
        raise ValueError(f"{wrong[0]} cannot be drawn")


def _figure(height: float) -> "tuple[Figure, float]":
    _have_a_cache()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=DOTS, facecolor="white", edgecolor="white")
    FigureCanvasAgg(figure)
    return figure, height


@cache
def _have_a_cache() -> None:
    """Give Matplotlib a folder for its list of fonts where the home cannot be written, or it makes one each time."""
    if "MPLCONFIGDIR" in os.environ:
        return
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - `Path.home` raises where there is none
    wanted = [
        os.environ.get("XDG_CACHE_HOME") or home / ".cache",
        os.environ.get("XDG_CONFIG_HOME") or home / ".config",
    ]
    if all(_writable(Path(folder)) for folder in wanted):
        return
    folder = Path(tempfile.gettempdir()) / f"quintet-matplotlib-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    # In a folder that all may write, somebody else may have been there first.
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        folder = Path(tempfile.mkdtemp(prefix="quintet-matplotlib-"))
    os.environ["MPLCONFIGDIR"] = str(folder)


def _writable(folder: Path) -> bool:
    there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    return os.access(there, os.W_OK)


def _text(figure: "Figure", across: float, up: float, text: str, within: float = WIDTH - 0.4, **look: Any) -> Any:
    """A text at a place (fractions of the figure), cut to as many inches."""
    shown, families = _drawable(text)
    look = {"size": 10, "color": TEXT, "ha": "left", "va": "center_baseline", **look}
    drawn = figure.text(across, up, shown, family=families, parse_math=False, usetex=False, **look)
    while shown and (width := _widest(figure, [drawn])) > within:
        shown = shown[: min(len(shown) - 1, int(len(shown) * within / width))].rstrip()
        drawn.set_text(f"{shown}…")
    return drawn


def _legend(figure: "Figure", names: Sequence[str], height: float) -> None:
    """Names in their colours, in a line below the title."""
    across = 0.2
    share = (WIDTH - 0.4) / max(1, len(names)) - 0.15
    for colour, name in zip(COLOURS, names, strict=False):
        place = across / WIDTH, 1 - 0.56 / height
        named = _text(figure, *place, name, within=max(LEGEND, share), color=colour, size=9, weight="bold")
        across += _widest(figure, [named]) + 0.15


def _title(figure: "Figure", title: str, height: float) -> None:
    _text(figure, 0.2 / WIDTH, 1 - 0.3 / height, title, size=12, weight="bold")


def _nothing(figure: "Figure") -> None:
    _text(figure, 0.5, 0.5, "nothing to show", ha="center", color=QUIET)


def _dress(axes: "Axes", *, grid: str) -> None:
    axes.set_facecolor("white")
    axes.grid(axis="x" if grid == "x" else "y", color=GRID, linewidth=0.8, linestyle="-")
    axes.set_axisbelow(True)
    axes.tick_params(colors=QUIET, labelsize=8.5, length=0, labelfontfamily=_FONT)
    for name, spine in axes.spines.items():
        spine.set_visible(name == ("left" if grid == "x" else "bottom"))
        spine.set_color(GRID)


def _positions(found: Sequence[datetime | float]) -> list[float]:
    from matplotlib.dates import date2num

    return [date2num(at) if isinstance(at, datetime) else at for at in found]  # type: ignore[no-untyped-call]


def _scale(axes: "Axes", found: Sequence[datetime | float], values: Sequence[float], reference: float | None) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    across = _positions(found)
    first, last = min(across), max(across)
    margin = (last - first) * 0.02 or 1.0
    if isinstance(found[0], datetime):
        # Moments closer together than the ticks can tell are seconds apart for the axis.
        margin = max(margin, 10 / 86_400)
        locator = AutoDateLocator(tz=UTC, minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
        axes.xaxis.get_offset_text().set(family=_FONT, color=QUIET, size=8.5)
    axes.set_xlim(first - margin, last + margin)
    heights = [*values, *([] if reference is None else [reference]), 0.0]
    low, high = min(heights), max(heights)
    room = (high - low) * 0.08 or 1.0
    axes.set_ylim(low - room if low < 0 else 0, high + room)
    axes.yaxis.set_major_formatter("{x:,g}")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.1f}"


def _widest(figure: "Figure", texts: Sequence[Any]) -> float:
    """Inches, at least so many that an empty plot has its shape."""
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    return max((text.get_window_extent(renderer).width / DOTS for text in texts), default=0.3)


def _drawable(text: str) -> tuple[str, list[str]]:
    """A text as one line, and the fonts to draw it in; what none of them has becomes a box."""
    line = printable(unicodedata.normalize("NFC", text))
    plain = _characters(_FONT)
    if plain.issuperset(map(ord, line)):
        return line, [_FONT]
    families = [_FONT, *_wide_fonts()]
    known = frozenset[int]().union(*map(_characters, families))
    return "".join(character if ord(character) in known else MISSING for character in line), families


@cache
def _wide_fonts() -> tuple[str, ...]:
    from matplotlib.font_manager import fontManager

    here = set(fontManager.get_font_names())
    return tuple(name for name in WIDE_FONTS if name in here)


@cache
def _characters(family: str) -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(family)).get_charmap())


def _png(figure: "Figure") -> bytes:
    from PIL import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", facecolor="white", metadata={"Software": None})
    # Some thirty shades are in it: a palette is a third of the size of full colours.
    small = io.BytesIO()
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return small.getvalue()
