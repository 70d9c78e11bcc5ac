"""One thing that `apply` made, changed or removed, or that `check` says it would."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Change:
    """One change; its text is the line that is printed."""

    action: Literal["created", "changed", "removed"]
    kind: str
    name: str
    #: Which fields, or from what to what.
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.action} {self.kind} {self.name}" + (f" ({self.detail})" if self.detail else "")
