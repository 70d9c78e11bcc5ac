"""Which requests go wrong, and how: drawn from the seed, so that a run can be repeated."""

from dataclasses import dataclass
from random import Random
from typing import Literal

from deployments.sandbox.riot.options import SandboxOptions

FaultKind = Literal["error", "service_429", "broken", "truncated", "trickle"]

#: What stands in front of the API answers in HTML when it has nobody to ask.
HTML = (
    "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>{status} {reason}</h1></center>"
    "\r\n<hr><center>gateway</center>\r\n</body>\r\n</html>\r\n"
)
REASONS = {500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Temporarily Unavailable"}


@dataclass(frozen=True)
class Fault:
    """One that is to be shown."""

    kind: FaultKind
    #: Of an `error`.
    status: int = 0
    html: bool = False
    #: Of a `broken` connection: reset, instead of closed in good order.
    reset: bool = False

    def body(self) -> str:
        """The HTML of a 5xx."""
        return HTML.format(status=self.status, reason=REASONS[self.status])


class Faults:
    """Draws faults and latencies."""

    def __init__(self, seed: int) -> None:
        self._random = Random(f"{seed}/faults")  # noqa: S311 - no secret depends on it

    def draw(self, options: SandboxOptions) -> Fault | None:
        """The next request's fault; kinds exclude each other."""
        rates: tuple[tuple[FaultKind, float], ...] = (
            ("error", options.error_rate),
            ("service_429", options.service_429_rate),
            ("broken", options.broken_rate),
            ("truncated", options.truncated_rate),
            ("trickle", options.trickle_rate),
        )
        drawn = self._random.random()
        for kind, rate in rates:
            if drawn < rate:
                if kind == "error":
                    status = self._random.choice((500, 502, 503))
                    return Fault(kind, status, status != 500 and self._random.random() < 0.5)
                return Fault(kind, reset=kind == "broken" and self._random.random() < 0.5)
            drawn -= rate
        return None

    def latency(self, options: SandboxOptions) -> float:
        """Seconds one way."""
        low, high = options.latency
        return self._random.uniform(low, high) if high > 0 else 0.0

    def order(self, count: int, options: SandboxOptions) -> list[int]:
        """In which order headers name that many windows."""
        places = list(range(count))
        if options.header_order == "reversed":
            places.reverse()
        elif options.header_order == "shuffled":
            self._random.shuffle(places)
        return places
