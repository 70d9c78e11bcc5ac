"""Plots: valid files, small, without a warning whatever the texts, and without Matplotlib's global state."""

import io
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tasks.foundation.core import plots
from tasks.foundation.core.plots import DOTS, WIDTH, Bar, Line, bar_plot, line_plot

START = datetime(2024, 1, 1, tzinfo=UTC)
MOST = 60_000


def opened(png: bytes) -> Image.Image:
    """The picture, after its checksums have been read."""
    with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
        picture.verify()
    return Image.open(io.BytesIO(png)).convert("RGB")


def share(picture: Image.Image, colour: str) -> int:
    """How many dots have a colour."""
    wanted = tuple(bytes.fromhex(colour.removeprefix("#")))
    return sum(count for count, found in picture.getcolors(1 << 24) or [] if found == wanted)


def test_bars_below_the_reference_have_the_other_colour() -> None:
    high = opened(bar_plot("t", [Bar("a", 60)], top=100, reference=50))
    low = opened(bar_plot("t", [Bar("a", 40)], top=100, reference=50))
    assert share(high, plots.COLOURS[0]) > 0 and share(high, plots.COLOURS[1]) == 0
    assert share(low, plots.COLOURS[0]) == 0 and share(low, plots.COLOURS[1]) > 0


def test_a_bar_twice_as_long_has_twice_the_dots() -> None:
    one = share(opened(bar_plot("t", [Bar("a", 25)], top=100)), plots.COLOURS[0])
    two = share(opened(bar_plot("t", [Bar("a", 50)], top=100)), plots.COLOURS[0])
    assert two / one == pytest.approx(2, rel=0.05)


def test_the_background_is_white_and_the_width_fixed() -> None:
    for png in (bar_plot("t", [Bar("a", 1)]), line_plot("t", [Line("a", [(1, 2.0), (2, 3.0)])])):
        picture = opened(png)
        assert picture.width == WIDTH * DOTS
        assert {picture.getpixel((x, y)) for x in (0, -1) for y in (0, -1)} == {(255, 255, 255)}


def test_many_bars_and_points_stay_small() -> None:
    bars = [Bar(f"Champion {n}", n * 3.7 % 100, f"{n} games") for n in range(25)]
    assert len(bar_plot("t", bars, unit=" %", top=100, reference=50)) < MOST
    points = [(START + timedelta(hours=n * 3), n * 7.3 % 11) for n in range(5000)]
    assert len(line_plot("t", [Line("a", points)], unit="KDA")) < MOST


def test_the_order_of_points_is_of_no_account() -> None:
    points = [(START + timedelta(days=n), n % 3.0) for n in range(50)]
    assert line_plot("t", [Line("a", points)]) == line_plot("t", [Line("a", points[::-1])])


def test_where_nothing_is_known_no_axis_pretends_to_tell() -> None:
    assert share(opened(line_plot("t", [Line("a", [])])), plots.GRID) == 0
    assert share(opened(line_plot("t", [Line("a", [(1, 1)])])), plots.GRID) > 0


def test_several_lines_have_colours_of_their_own() -> None:
    picture = opened(line_plot("t", [Line("a", [(1, 1), (2, 1)]), Line("b", [(1, 2), (2, 2)])]))
    assert all(share(picture, colour) > 0 for colour in plots.COLOURS[:2])


@pytest.mark.parametrize(
    "text",
    [
        "대상혁 허수",
        "白い猫",
        "العربية שלום",
        "🎮🏆",
        "$\\frac{1}$ ^_{}",
        "x" * 300,
        "\x00\x1b[1m\n\t",
        "W" * 60,
        "漢" * 99,
        "",
    ],
)
def test_any_text_is_drawn_without_a_warning(text: str) -> None:
    opened(bar_plot(text, [Bar(text, 5, text)], unit=text))
    opened(line_plot(text, [Line(text, [(1, 5)])] * 6, unit=text))


def test_a_font_that_has_more_is_used_and_what_none_has_is_a_box(monkeypatch: pytest.MonkeyPatch) -> None:
    # It comes with Matplotlib and has this arc, which the usual font has not.
    monkeypatch.setattr(plots, "WIDE_FONTS", ("No Such Font", "DejaVu Sans Mono"))
    plots._wide_fonts.cache_clear()
    assert plots._drawable("arc \u2312 漢") == ("arc \u2312 \u25a1", ["DejaVu Sans", "DejaVu Sans Mono"])
    assert plots._drawable("plain") == ("plain", ["DejaVu Sans"])
    opened(bar_plot("\u2312", [Bar("\u2312漢", 1)]))
    plots._wide_fonts.cache_clear()


@settings(max_examples=15, deadline=None)
@given(st.text(max_size=40), st.lists(st.floats(0, 1e12), max_size=4))
def test_any_bars_are_drawn(text: str, values: list[float]) -> None:
    opened(bar_plot(text, [Bar(text, value, text) for value in values]))


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(st.timedeltas(timedelta(days=-9000), timedelta(days=9000)), st.floats(-1e9, 1e9)), max_size=4)
)
def test_any_points_are_drawn(points: list[tuple[timedelta, float]]) -> None:
    opened(line_plot("t", [Line("a", [(START + after, value) for after, value in points])], reference=1))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="cannot be drawn"):
        bar_plot("t", [Bar("a", value)])
    with pytest.raises(ValueError, match="cannot be drawn"):
        line_plot("t", [Line("a", [(1, value)])])


def test_a_negative_bar_and_too_many_lines_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        bar_plot("t", [Bar("a", -1)])
    with pytest.raises(ValueError, match="at most 6"):
        line_plot("t", [Line("a", [])] * 7)


def test_a_home_that_cannot_be_written_and_no_pyplot(tmp_path: Path) -> None:
    """In a process of its own: nothing of Matplotlib at import, no global state, no warning, its list of fonts kept."""
    script = (
        "import sys, logging\n"
        "logging.basicConfig(level=logging.WARNING)\n"
        "from tasks.foundation.core import plots\n"
        "assert not [m for m in sys.modules if m.startswith(('matplotlib', 'PIL'))]\n"
        # Root may write everywhere, so that it has to be told that it may not.
        "plots._writable = lambda folder: False\n"
        "plots.bar_plot('t', [plots.Bar('a', 1)])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "import os; print(os.environ['MPLCONFIGDIR'])\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "MPLCONFIGDIR"} | {"TMPDIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], env=environment, capture_output=True, text=True, timeout=120
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    folder = Path(ran.stdout.strip())
    assert folder.parent == tmp_path and folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.glob("fontlist*.json"))
