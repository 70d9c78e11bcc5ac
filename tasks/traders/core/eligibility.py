"""Who may be ranked: enough days, round trips and volume that a rank says something. The score has no say in it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Eligibility:
    """What a trader needs to be ranked.

    Attributes:
        minimum_days: days with a return.
        minimum_round_trips: positions opened and closed.
        minimum_volume: USD traded.
    """

    minimum_days: int
    minimum_round_trips: int
    minimum_volume: float

    def mask(
        self, days: NDArray[np.int64], round_trips: NDArray[np.int64], volume: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Who has enough of everything; NaN is not enough."""
        return (
            (days >= max(self.minimum_days, 2))
            & (round_trips >= self.minimum_round_trips)
            & (np.nan_to_num(volume, nan=-1.0) >= self.minimum_volume)
        )

    def reason(self, days: int, round_trips: int, volume: float | None) -> str | None:
        """Why one trader may not be ranked, as a person reads it; None for one who may."""
        needed = max(self.minimum_days, 2)
        if days < needed:
            return f"{days} of {needed} days with a return"
        if round_trips < self.minimum_round_trips:
            return f"{round_trips} of {self.minimum_round_trips} round trips"
        if volume is None or not volume >= self.minimum_volume:
            return f"volume of {volume or 0:,.0f} of {self.minimum_volume:,.0f} USD"
        return None


#: Of a trader whose past was not fetched yet, or could not be.
NO_HISTORY = "no history yet"
NO_RETURNS = "no day with a return"
IGNORED = "ignored by the operator"
