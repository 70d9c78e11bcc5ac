"""`portfolio`: what an account was worth and what it brought, at moments that are no even grid.

The moments are spaced as the exchange spaces them: a day by about two hours, a week by two to four, a month by about
a day, and all time by a week. Spot is left out, so that the windows of perpetuals say the same as the others.
"""

from decimal import Decimal
from random import Random
from typing import Any

from deployments.sandbox.exchange.coins import plain
from deployments.sandbox.exchange.fills import ZERO, rounded
from deployments.sandbox.exchange.past import DAY, HOUR
from deployments.sandbox.exchange.past_truth import SPOT_DIRECTIONS
from deployments.sandbox.exchange.world import World

#: How far each window goes back, and what lies between two of its points, in hours.
WINDOWS: tuple[tuple[str, int | None, tuple[float, ...]], ...] = (
    ("day", DAY, (2.0, 2.33)),
    ("week", 7 * DAY, (2.0, 2.33, 4.0, 4.33)),
    ("month", 30 * DAY, (23.33, 23.67, 23.67, 24.0, 24.33, 25.67)),
    ("allTime", None, (168.0, 168.0, 168.0, 168.33)),
)


def portfolio(world: World, index: int | None) -> list[list[Any]]:
    """A trader's, or that of nobody."""
    windows = {name: _window(world, index, back, gaps) for name, back, gaps in WINDOWS}
    perpetuals = {f"perp{name[0].upper()}{name[1:]}": window for name, window in windows.items()}
    return [[name, window] for name, window in (windows | perpetuals).items()]


def _window(world: World, index: int | None, back: int | None, gaps: tuple[float, ...]) -> dict[str, Any]:
    created = world.created(index) if index is not None else None
    if index is None or created is None:
        return {"accountValueHistory": [], "pnlHistory": [], "vlm": "0.0"}
    end = world.time
    # The exchange knows an account from just before its first money.
    begin = max(created - 1, end - back) if back is not None else created - 1
    random = Random(f"{index}/{back}")  # noqa: S311 - no secret depends on it
    times, time = [begin], begin
    while (time := time + _gap(random, gaps, first=back is None and time == begin)) < end:
        times.append(time)
    times += [end] if end > begin else []
    points = [(time, *world.worth(index, time)) for time in times]
    first = points[0][2]
    volume = sum(
        (fill.notional for fill in world.fills(index) if begin <= fill.time and fill.dir not in SPOT_DIRECTIONS), ZERO
    )
    return {
        "accountValueHistory": [[time, _amount(value)] for time, value, _ in points],
        "pnlHistory": [[time, _amount(pnl - first)] for time, _, pnl in points],
        "vlm": _amount(volume),
    }


def _gap(random: Random, gaps: tuple[float, ...], *, first: bool) -> int:
    """Milliseconds; all time has a second point an hour after its first."""
    return int((1.0 if first else random.choice(gaps)) * HOUR) + random.randrange(100)


def _amount(amount: Decimal) -> str:
    return plain(rounded(amount))
