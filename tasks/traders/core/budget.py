"""How much weight the exchange permitted in a time, and whether histories or positions are to have the next part."""

from collections.abc import Iterable


def permitted(limit: int, window_seconds: float, seconds: float, used: Iterable[tuple[float, int]]) -> int:
    """The most weight that a sliding window permits within a time.

    Weight that is free at the beginning can be spent then, and again whenever the window has passed since; weight that
    was spent before, from the moment on at which it counts no more.

    Args:
        limit: weight in one window.
        window_seconds: of the window.
        seconds: of the time.
        used: what had been spent before: how many seconds before the beginning, and how much.
    """
    counting = [(window_seconds - ago, weight) for ago, weight in used if ago < window_seconds]
    free = max(0, limit - sum(weight for _, weight in counting))
    chances = [(0.0, free), *counting]
    return sum(weight * (int((seconds - after) / window_seconds) + 1) for after, weight in chances if after <= seconds)


class Shares:
    """Divides the weight between histories and positions while both wait.

    Args:
        share: of histories, 0 to 1.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self.polls = 0
        self.histories = 0

    @property
    def history_is_next(self) -> bool:
        """Whether histories have had less than their share; what was begun counts as what it is expected to weigh."""
        return self.histories < self._share * (self.polls + self.histories) or self._share >= 1
