"""What a demo found: the counts of one domain, and whether they add up."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: Told the step, how far it is, and of how much (0 where that is not known).
Report = Callable[[str, int, int], None]
#: Where one thing went wrong, hundreds of counts do not add up.
PROBLEMS_SHOWN = 20


@dataclass
class DemoResult:
    """One domain's demo.

    `lost` counts expected effects that are absent at the end, `duplicates` effects beyond one; both are found by
    comparing with the truth that the sandbox keeps in its own process and store.
    """

    domain: str
    lost: int
    duplicates: int
    seconds: float
    #: Where to look at it in the Prefect UI.
    ui: str
    #: The domain's own counts, in the order they are shown.
    counts: dict[str, Any] = field(default_factory=dict)
    #: What does not add up, for people; empty when all is well.
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything adds up."""
        return not self.problems and self.lost == 0 and self.duplicates == 0

    @property
    def shown_problems(self) -> list[str]:
        """The first problems, and how many more there are."""
        shown, more = self.problems[:PROBLEMS_SHOWN], len(self.problems) - PROBLEMS_SHOWN
        return [*shown, f"and {more} more"] if more > 0 else shown

    def as_json(self) -> dict[str, Any]:
        """The object of this domain in `quintet demo --json`."""
        return {
            "ok": self.ok,
            **self.counts,
            "lost": self.lost,
            "duplicates": self.duplicates,
            "seconds": round(self.seconds, 1),
            "ui": self.ui,
            **({"problems": self.shown_problems} if self.problems else {}),
        }
