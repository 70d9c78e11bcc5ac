"""Who may be ranked, and what the others are told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.traders.core.eligibility import Eligibility

RULES = Eligibility(minimum_days=30, minimum_round_trips=5, minimum_volume=1000)


@pytest.mark.parametrize(
    ("days", "trips", "volume", "reason"),
    [
        (30, 5, 1000.0, None),
        (29, 5, 1000.0, "29 of 30 days with a return"),
        (30, 4, 1000.0, "4 of 5 round trips"),
        (30, 5, 999.4, "volume of 999 of 1,000 USD"),
        (30, 5, None, "volume of 0 of 1,000 USD"),
        (30, 5, float("nan"), "volume of nan of 1,000 USD"),
    ],
)
def test_the_reason_names_what_is_missing(days: int, trips: int, volume: float | None, reason: str | None) -> None:
    assert RULES.reason(days, trips, volume) == reason


def test_one_day_tells_nothing_whatever_the_rules_are() -> None:
    assert Eligibility(0, 0, 0).reason(1, 0, 0) == "1 of 2 days with a return"


@given(st.integers(0, 60), st.integers(0, 10), st.none() | st.floats(0, 2000))
def test_mask_and_reason_agree(days: int, trips: int, volume: float | None) -> None:
    mask = RULES.mask(np.array([days]), np.array([trips]), np.array([np.nan if volume is None else volume]))
    assert bool(mask[0]) == (RULES.reason(days, trips, volume) is None)
