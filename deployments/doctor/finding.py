"""One line of `quintet doctor`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is well, how it is, and what to do where it is not."""

    name: str
    ok: bool
    state: str
    advice: str = ""
