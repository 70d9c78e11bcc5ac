"""What a score is made of, as data: a profile is a list of metrics, what each weighs, and how they are made alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isclose
from types import MappingProxyType


class Scale(StrEnum):
    """How a metric becomes a number from 0 to 1: by its rank, or by its way from the least to the greatest."""

    PERCENTILE = "PERCENTILE"
    MIN_MAX = "MIN_MAX"


@dataclass(frozen=True, slots=True)
class Component:
    """One metric's part of a score.

    Attributes:
        metric: a column of `MetricTable`.
        weight: what the best in it earns.
        lower_is_better: a small value earns most.
    """

    metric: str
    weight: float
    lower_is_better: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """A way to score.

    Attributes:
        name: as commands and rows have it.
        about: for whom it is, in a sentence.
        components: their weights add up to 1.
        scale: how metrics are made alike.
        digits: decimals that scores are rounded to; None: not rounded.

    Raises:
        ValueError: weights that do not add up to 1, or a metric that stands in it twice.
    """

    name: str
    about: str
    components: tuple[Component, ...]
    scale: Scale = Scale.PERCENTILE
    digits: int | None = None

    def __post_init__(self) -> None:
        if not isclose(sum(part.weight for part in self.components), 1.0) or any(
            part.weight <= 0 for part in self.components
        ):
            raise ValueError(f"the weights of profile {self.name} must be positive and add up to 1")
        if len({part.metric for part in self.components}) < len(self.components):
            raise ValueError(f"profile {self.name} weighs a metric twice")


_ALL = (
    Profile(
        name="skill",
        about="The Sharpe ratio that is left when luck is allowed for. Deposits and size count for nothing.",
        components=(Component("sharpe_shrunk", 1.0),),
    ),
    Profile(
        name="balanced",
        about="Skill first; then how often, how safely and how well a trader wins.",
        components=(
            Component("sharpe_shrunk", 0.40),
            Component("win_rate_low", 0.20),
            Component("max_drawdown", 0.20, lower_is_better=True),
            Component("profit_factor_shrunk", 0.20),
        ),
    ),
    # The former weights. In the place of volume and the largest profit, which grow with the account and not with the
    # trader, stand consistency and profit factor.
    Profile(
        name="conservative",
        about="Small losses before all: drawdown, a win rate that is certain, steady weeks.",
        components=(
            Component("max_drawdown", 0.35, lower_is_better=True),
            Component("win_rate_low", 0.25),
            Component("sharpe_shrunk", 0.20),
            Component("consistency", 0.15),
            Component("profit_factor_shrunk", 0.05),
        ),
    ),
    # The former weights again. Return stands in the place of the largest profit.
    Profile(
        name="aggressive",
        about="High returns of active traders; drawdowns hardly count.",
        components=(
            Component("sharpe_shrunk", 0.40),
            Component("roi", 0.25),
            Component("volume", 0.20),
            Component("profit_factor_shrunk", 0.10),
            Component("max_drawdown", 0.05, lower_is_better=True),
        ),
    ),
    Profile(
        name="origin",
        about="The former system's weights and scale, over true metrics; one whale can crush all others.",
        components=(
            Component("win_rate", 0.30),
            Component("max_drawdown", 0.25, lower_is_better=True),
            Component("volume", 0.20),
            Component("risk_ratio", 0.15),
            Component("max_profit", 0.10),
        ),
        scale=Scale.MIN_MAX,
        digits=4,
    ),
)
DEFAULT_PROFILE = "skill"
PROFILES: Mapping[str, Profile] = MappingProxyType({profile.name: profile for profile in _ALL})


def profile_named(name: str) -> Profile:
    """The profile of that name.

    Raises:
        ValueError: there is none; the message names those there are.
    """
    if name not in PROFILES:
        raise ValueError(f"no profile {name!r}: there are {', '.join(PROFILES)}")
    return PROFILES[name]
